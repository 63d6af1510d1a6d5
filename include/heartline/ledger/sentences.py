"""An entry of the ledger in one sentence, for people."""

from collections.abc import Callable, Mapping

from heartline import visible
from heartline.ledger.entry import Entry

UNKNOWN = "unknown"


def sentence(entry: Entry) -> str:
    """Return what an entry says: who did what, and the reason that was given."""
    said = _SENTENCES.get(entry.kind, _of_a_newer_release)(entry)
    reason = _fact(entry, "reason")
    return f"{said}: {reason}" if reason else said


def _fact(entry: Entry, name: str) -> str:
    """Return a fact as text on one line, "" where there is none."""
    value = entry.facts.get(name)
    return "" if value is None else visible.visible(value, visible.LONG)


def _by(entry: Entry) -> str:
    return visible.visible(entry.by, visible.LONG) if entry.by and entry.by != UNKNOWN else "an unknown user"


def _version(text: str) -> str:
    return f"version {visible.visible(text)}" if text else "no version"


def _registered(entry: Entry) -> str:
    # the verdict is that of the run, about the version that it chose
    said = "not chosen" if entry.facts.get("winner") is False else _fact(entry, "verdict")
    more = [one for one in (_fact(entry, "family"), said) if one]
    return f"{_by(entry)} registered {_version(entry.version)}" + (f" ({', '.join(more)})" if more else "")


def _asked(entry: Entry) -> str:
    return f"{_by(entry)} asked for the approval of {_version(entry.version)}"


def _answered(word: str) -> Callable[[Entry], str]:
    return lambda entry: f"{_by(entry)} {word} {_version(entry.version)}"


def _withdrawn(entry: Entry) -> str:
    return f"{_by(entry)} withdrew the request for the approval of {_version(entry.version)}"


def _expired(entry: Entry) -> str:
    return f"nobody answered the request for the approval of {_version(entry.version)} in time"


def _move(word: str) -> Callable[[Entry], str]:
    def said(entry: Entry) -> str:
        alias, before, after = (_fact(entry, name) for name in ("alias", "from", "to"))
        how = [one for one in (_fact(entry, "how"), "forced" if entry.facts.get("forced") else "") if one]
        places = f"{alias or 'production'} from {_version(before)} to {_version(after)}"
        return f"{_by(entry)} {word} {places}" + (f" ({', '.join(how)})" if how else "")

    return said


def _refused(entry: Entry) -> str:
    return f"{_by(entry)} refused {_version(entry.version)}"


def _served(entry: Entry) -> str:
    return f"{_by(entry)} serves {_version(entry.version)}"


def _rows(number: str) -> str:
    return f"{number} {'row' if number == '1' else 'rows'}"


def _scored(entry: Entry) -> str:
    rows = _fact(entry, "rows")
    return f"{_by(entry)} scored {_rows(rows) if rows else 'records'} with {_version(entry.version)}"


def _alarm(entry: Entry) -> str:
    about = f" about {_version(entry.version)}" if entry.version else ""
    what = _fact(entry, "sentence")
    return f"{_by(entry)} raised an alarm{about}" + (f" ({what.rstrip('.')})" if what else "")


def _acknowledged(entry: Entry) -> str:
    about = f" about {_version(entry.version)}" if entry.version else ""
    return f"{_by(entry)} acknowledged the alarm of entry {_fact(entry, 'alarm')}{about}"


def _forgotten(entry: Entry) -> str:
    predictions, outcomes = (_fact(entry, name) or "unknown" for name in ("predictions", "outcomes"))
    return f"{_by(entry)} erased what was logged of a person (predictions: {predictions}, outcomes: {outcomes})"


def _pruned(entry: Entry) -> str:
    return (
        f"{_by(entry)} removed the entries up to number {_fact(entry, 'through')}, which were older than "
        f"{_fact(entry, 'days')} days"
    )


def _of_a_newer_release(entry: Entry) -> str:
    return f"{_by(entry)}: {visible.visible(entry.kind)} of {_version(entry.version)}"


_SENTENCES: Mapping[str, Callable[[Entry], str]] = {
    "registered": _registered,
    "requested": _asked,
    "approved": _answered("approved"),
    "rejected": _answered("rejected"),
    "withdrawn": _withdrawn,
    "expired": _expired,
    "moving": _move("is about to move"),
    "moved": _move("moved"),
    "refused": _refused,
    "served": _served,
    "scored": _scored,
    "alarm": _alarm,
    "acknowledged": _acknowledged,
    "forgotten": _forgotten,
    "pruned": _pruned,
}
