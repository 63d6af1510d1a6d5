"""Text from outside for display: every character can be seen, long texts and long lists are cut.

Names and values of a file, paths, addresses and messages of other programs go through this module before they are
written into an error, a log, a page, a tag or a table. It imports the standard library only.
"""

import re
import unicodedata
from collections.abc import Iterable

LENGTH = 40  # characters of a name or value in a message
ITEMS = 10  # names or values in a list
LONG = 300  # characters of an address, a path or another program's message

_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
_FORMULA = "=+-@\t\r\n＝＋－＠"  # a spreadsheet reads the wide forms as formulas, too

# Letters of other scripts that look like a Latin one in common fonts, and signs that look like ASCII ones.
_LOOK_ALIKES = str.maketrans(
    "аеорсухіјѕԁһӏАВЕКМНОРСТУХІЈЅοαρνικυΑΒΕΖΗΙΚΜΝΟΡΤΥΧ−‐‑‒–—‘’“”′″⁄∕，．",
    "aeopcyxijsdhlABEKMHOPCTYXIJSoapvikuABEZHIKMNOPTYX------''\"\"'\"//,.",
)
_INVISIBLE = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp", "Zs"}  # Unicode's categories without a visible form
_VISIBLE_SPACE = " "
_MAX_NOTES = 3


def escaped(text: str, *, keep: str = "") -> str:
    r"""Return a text in which each invisible character (control, bidi, zero width, odd space) is a ``\u`` escape.

    Args:
        text: from outside.
        keep: characters that stay as they are, such as the line breaks of a message.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(_escape(sign) if _is_invisible(sign) and sign not in keep else sign for sign in text)


def visible(text: object, limit: int = LENGTH) -> str:
    r"""Return a text on one line, cut to ``limit`` characters, with a note on characters that mislead.

    Invisible characters are escaped. So are look-alikes, such as a Cyrillic letter in a Latin word. Both are named:
    ``ch\u200bol (contains U+200B ZERO WIDTH SPACE)``. Words in another script are left as they are.
    """
    return _shown(str(text), limit, "")


def path(text: object) -> str:
    """Return a path or an address as ``visible`` does, cut to ``LONG`` characters."""
    return visible(text, LONG)


def quoted(text: str, limit: int = LENGTH) -> str:
    """Return a text as ``visible`` does, in quotes; a note stands behind them."""
    return _shown(text, limit, "'")


def is_number(text: str) -> bool:
    """Return whether a text is a plain number, with a decimal point or comma."""
    return _NUMBER.fullmatch(text.replace(",", ".", 1)) is not None


def _shown(whole: str, limit: int, quote: str) -> str:
    head = whole[:limit]
    shown = head
    odd: list[str] = []
    if not (head.isascii() and head.isprintable()):
        alike = _look_alikes(head)
        odd = [sign for sign in dict.fromkeys(head) if _is_invisible(sign) or sign in alike]
        shown = "".join(_escape(sign) if sign in odd else sign for sign in head)
    if len(whole) > limit:
        shown = f"{shown}…"
    shown = f"{quote}{shown}{quote}"
    return f"{shown} (contains {_named(odd)})" if odd else shown


def listed(texts: Iterable[object], *, items: int = ITEMS, limit: int = LENGTH) -> str:
    """Return texts as a list, ``a, b … and 312 more`` if there are more than ``items`` of them."""
    every = list(texts)
    shown = ", ".join(visible(one, limit) for one in every[:items])
    return f"{shown} … and {len(every) - items:,} more" if len(every) > items else shown


def plain(name: str) -> str:
    """Return a name in which look-alikes are replaced and invisible characters removed, for comparing."""
    return "".join(sign for sign in _folded(name) if sign == _VISIBLE_SPACE or not _is_invisible(sign))


def spreadsheet_cell(text: str) -> str:
    """Return a text that a spreadsheet shows instead of running it as a formula.

    A text that begins with ``=``, ``+``, ``-``, ``@``, a tab or a line break gets an apostrophe in front. Numbers such
    as -1.5 stay as they are. Invisible characters are escaped.
    """
    starts = text.lstrip(_VISIBLE_SPACE)[:1]
    safe = escaped(text)
    return f"'{safe}" if starts and starts in _FORMULA and not _NUMBER.fullmatch(text.strip()) else safe


def markdown_code(text: str, limit: int = LONG) -> str:
    """Return a text as inline code of Markdown, in which nothing is a link, an image or HTML."""
    shown = visible(text, limit)
    fence = "`" * (max((len(run) for run in re.findall("`+", shown)), default=0) + 1)
    return f"{fence} {shown} {fence}" if "`" in shown else f"`{shown}`"


def _is_invisible(sign: str) -> bool:
    return sign != _VISIBLE_SPACE and unicodedata.category(sign) in _INVISIBLE


def _escape(sign: str) -> str:
    short = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}.get(sign)
    point = ord(sign)
    return short or (f"\\x{point:02x}" if point < 256 else f"\\u{point:04x}" if point < 1 << 16 else f"\\U{point:08x}")


def _folded(text: str) -> str:
    """Return the text with wide and mathematical letters, and look-alikes, as the ASCII characters they resemble."""
    return "".join(unicodedata.normalize("NFKC", sign) if _is_styled(sign) else sign for sign in text).translate(
        _LOOK_ALIKES
    )


def _is_styled(sign: str) -> bool:
    return "\uff01" <= sign <= "\uff5e" or "\U0001d400" <= sign <= "\U0001d7ff"


def _look_alikes(text: str) -> set[str]:
    """Return the characters that make a text look like ASCII though it is not; none in words of another script."""
    found = set()
    for word in re.split(r"\s+", text):
        folded = _folded("".join(sign for sign in word if not _is_invisible(sign)))
        if folded.isascii():
            found |= {sign for sign in word if not sign.isascii() and not _is_invisible(sign)}
    return found


def _named(signs: list[str]) -> str:
    names = [
        f"U+{ord(sign):04X} {unicodedata.name(sign, 'CONTROL CHARACTER')}"
        if sign not in _CONTROLS
        else f"U+{ord(sign):04X} {_CONTROLS[sign]}"
        for sign in signs[:_MAX_NOTES]
    ]
    return ", ".join(names) + (f" and {len(signs) - _MAX_NOTES} more" if len(signs) > _MAX_NOTES else "")


_CONTROLS = {  # unicodedata has no names for these
    "\0": "NULL",
    "\t": "TAB",
    "\n": "LINE FEED",
    "\r": "CARRIAGE RETURN",
    "\x1b": "ESCAPE",
    "\x7f": "DELETE",
}
