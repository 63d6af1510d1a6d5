"""The format of the service's log: one entry cannot hide another, or change a terminal, by what it quotes."""

import logging
import unicodedata
from collections.abc import Iterable

LINE = "%(asctime)s [%(process)d] [%(levelname)s] %(message)s"
DATE = "[%Y-%m-%d %H:%M:%S %z]"

_INVISIBLE = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}  # Unicode's categories without a visible form
_KEPT = "\n\t"  # of tracebacks


class VisibleFormatter(logging.Formatter):
    """Formats entries like its base class, with control, bidi and zero-width characters as escapes.

    Further lines of an entry are indented, so that none looks like an entry of its own.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the text of an entry."""
        text = super().format(record)
        if text.isascii() and text.isprintable():
            return text
        return "".join(_escaped(sign) for sign in text).replace("\n", "\n    ")


def use(handlers: Iterable[logging.Handler]) -> None:
    """Let handlers write entries in this format."""
    for handler in handlers:
        handler.setFormatter(VisibleFormatter(LINE, DATE))


def _escaped(sign: str) -> str:
    hidden = unicodedata.category(sign) in _INVISIBLE and sign not in _KEPT
    return sign.encode("unicode_escape").decode() if hidden else sign
