"""What was in production at a time, who put it there and why, and what the service served."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from heartline.ledger.chain import TIME
from heartline.ledger.entry import Entry

_SERVICE_ON = "service on "


@dataclass(frozen=True)
class Past:
    """The state at a time.

    Attributes:
        move: the last move of production until then; None without one.
        approval: the last approval of that version before the move; None without one.
        served: by host, the last version that its service began to serve until then.
    """

    move: Entry | None
    approval: Entry | None
    served: Mapping[str, Entry]


def at(entries: Sequence[Entry], time: datetime) -> Past:
    """Return the state at a time.

    Args:
        entries: of all kinds, oldest first.
        time: with a time zone.
    """
    until = [entry for entry in entries if since(entry) <= time]
    moves = [one for one in until if one.kind == "moved" and one.facts.get("alias") == "production"]
    move = moves[-1] if moves else None
    approvals = [
        one
        for one in until
        if move and one.kind == "approved" and one.version == move.version and one.number < move.number
    ]
    served = {_host(one): one for one in until if one.kind == "served"}
    return Past(move, approvals[-1] if approvals else None, served)


def since(entry: Entry) -> datetime:
    """Return when what an entry says happened: its own time, or that of the tag which it was made of."""
    when = entry.facts.get("when") if entry.facts.get("imported") else None
    try:
        return datetime.strptime(str(when), TIME).replace(tzinfo=UTC)
    except ValueError:
        return entry.at


def _host(entry: Entry) -> str:
    return str(entry.facts.get("host") or entry.by.removeprefix(_SERVICE_ON))
