"""What the service enters in the ledger: events, and what makes two of them the same.

Each worker of a host sees the same swap, and a restarted one sees it again. So an event is compared with what the host
entered last, and its key depends on the key before it: the same event after the same history has the same key, and the
same version served again later has another one.
"""

import hashlib
import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec

from serving.model.model_store import Refusal, Served, to_text

SERVED, REFUSED, FORGOTTEN = "served", "refused", "forgotten"  # kinds of entries
REASON_CHARACTERS = 500


class Event(msgspec.Struct, frozen=True):
    """An event for the ledger.

    Args:
        kind: ``served``, ``refused`` or ``forgotten``.
        version: the registered version, "" for none.
        by: the service and its host; the user who erased predictions.
        facts: what else is known of it, no value of a patient.
        key: the same for the same event, whoever enters it.
    """

    kind: str
    version: str
    by: str
    facts: dict[str, Any]
    key: str


class History(msgspec.Struct, frozen=True):
    """What a host entered last.

    Args:
        key: of its last event; before the first one, a random text.
        served: version and digest of its last swap; None if it refused a version since, and served none.
        refused: version, digest and reason of the last refusal, until the host swaps or the alias moves.
    """

    key: str
    served: tuple[str, str] | None = None
    refused: tuple[str, str, str] | None = None


@dataclass(frozen=True)
class Change:
    """Events that are new, and the history after them."""

    events: tuple[Event, ...]
    history: History


def beginning() -> History:
    """Return the history of a host that has entered nothing."""
    return History(uuid.uuid4().hex)


def swap(history: History, host: str, served: Served) -> Change:
    """Return the change of a host that now serves ``served``: no event if it entered that already."""
    found = (served.version.version, served.model.digest)
    if found == history.served:
        return Change((), history)
    since = to_text(served.since)
    approval = served.approval
    facts = {
        "model": served.version.name,
        "alias": served.alias,
        "version": found[0],
        "digest": found[1],
        "previous": history.served[0] if history.served else "",
        "since": since,
        "when": since,
        "host": host,
        "approved_by": approval.by if approval else None,
    }
    key = _next(history, SERVED, *found)
    return Change((Event(SERVED, found[0], _by(host), facts, key),), History(key, served=found))


def refusal(history: History, host: str, refused: Refusal, kept: Served | None, when: datetime) -> Change:
    """Return the change of a host that refuses a version, and still serves ``kept``: no event if it entered that."""
    reason = "".join(letter if letter.isprintable() else " " for letter in refused.reason)[:REASON_CHARACTERS]
    found = (refused.version.version, refused.digest, reason)
    served = history.served if kept else None  # whatever it serves next is a swap
    if found == history.refused:
        return Change((), History(history.key, served, found))
    facts = {
        "model": refused.version.name,
        "version": found[0],
        "digest": refused.digest,
        "reason": reason,
        "still_served": kept.version.version if kept else "",
        "when": to_text(when),
        "host": host,
    }
    key = _next(history, REFUSED, *found)
    return Change((Event(REFUSED, found[0], _by(host), facts, key),), History(key, served, found))


def nothing_refused(history: History) -> Change:
    """Return the change of a host that refuses no version any more: the next refusal is a new event."""
    return Change((), History(history.key, served=history.served))


def _by(host: str) -> str:
    return f"service on {host}"


def _next(history: History, *parts: str) -> str:
    return "service " + hashlib.sha256("\n".join([history.key, *parts]).encode()).hexdigest()
