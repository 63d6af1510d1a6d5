"""The chain of hashes: what the hash of an entry is made of, and how altered entries are found.

The hash of an entry is the sha256 of its fields and of the hash of the entry before it. Each field is written as its
number of bytes, a colon, its UTF-8 text and a comma, and an absent key as a minus sign: no two entries have the same
text. ``ledger.enter`` in ``schema.py`` computes the same in PostgreSQL.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC

from heartline.ledger.entry import FIRST, Entry, Head

TIME = "%Y-%m-%dT%H:%M:%S.%fZ"


@dataclass(frozen=True)
class Break:
    """The first place at which the ledger is not what was entered.

    Attributes:
        number: of the entry.
        what: what is wrong with it, one sentence without a full stop.
    """

    number: int
    what: str


def canonical(entry: Entry) -> bytes:
    """Return the bytes that the hash of an entry is made of."""
    at = entry.at.astimezone(UTC).strftime(TIME)
    fields = (str(entry.number), at, entry.kind, entry.version, entry.by, entry.text, entry.writer)
    key = b"-," if entry.key is None else _field(entry.key)
    return b"".join(map(_field, fields)) + key + _field(entry.previous)


def _field(text: str) -> bytes:
    data = text.encode()
    return b"%d:%s," % (len(data), data)


def digest(entry: Entry) -> str:
    """Return the hash that an entry must have."""
    return hashlib.sha256(canonical(entry)).hexdigest()


def verify(entries: Sequence[Entry], head: Head | None, outside: Iterable[Head] = ()) -> Break | None:
    """Return the first entry that was altered, removed or moved to another place; None where there is none.

    Args:
        entries: all entries, in the order of their numbers.
        head: the number and the hash of the last entry, as the ledger keeps them; None where they are missing.
        outside: numbers and hashes of entries that are kept outside of the database.
    """
    number, previous = _start(entries)
    for entry in entries:
        found = _at(entry, number + 1, previous, entries)
        if found:
            return found
        number, previous = entry.number, entry.hash
    return _end(head, number, previous) or _elsewhere(entries, outside)


def _start(entries: Sequence[Entry]) -> tuple[int, str]:
    """Return the number and the hash of the entry before the first one: of the last that was pruned."""
    pruned = [entry for entry in entries if entry.kind == "pruned"]
    if not pruned:
        return 0, FIRST
    facts = pruned[-1].facts
    return int(facts.get("through", 0)), str(facts.get("hash", FIRST))


def _at(entry: Entry, number: int, previous: str, entries: Sequence[Entry]) -> Break | None:
    """Return what is wrong with the entry that follows the hash ``previous`` and should have this number."""
    if entry.number > number:
        gap = f"entry {number} is" if entry.number == number + 1 else f"entries {number} to {entry.number - 1} are"
        return Break(number, f"{gap} missing")
    if entry.number < number:
        return Break(entry.number, f"entry {entry.number} is there twice, or is older than the oldest one kept")
    computed = digest(entry)
    if computed != entry.hash:
        place = _other_place(entry, entries)
        if place:
            return Break(number, f"entry {number} holds what was entered as entry {place}")
        return Break(
            number,
            f"entry {number} was altered: its hash is {entry.hash}, and that of its content is {computed}",
        )
    if entry.previous != previous:
        return Break(
            number,
            f"entry {number} does not follow the entry before it: it was entered after the hash {entry.previous}, and "
            f"the entry before it has {previous}; that entry was replaced, inserted or moved",
        )
    return None


def _other_place(entry: Entry, entries: Sequence[Entry]) -> int | None:
    """Return the number with which an entry was entered, where only its number was changed."""
    last = entries[-1].number + 1
    return next((one for one in range(1, last + 1) if digest(replace(entry, number=one)) == entry.hash), None)


def _end(head: Head | None, number: int, last: str) -> Break | None:
    if head is None:
        return Break(number, f"the record of the last entry is missing; the last entry found is {number}")
    if head.number > number:
        gone = (
            f"entry {head.number} was" if head.number == number + 1 else f"entries {number + 1} to {head.number} were"
        )
        return Break(number + 1, f"{gone} removed from the end")
    if (head.number, head.hash) != (number, last):
        return Break(
            number,
            f"entry {number} is not the last one that was entered: that was entry {head.number} with hash {head.hash}",
        )
    return None


def _elsewhere(entries: Sequence[Entry], outside: Iterable[Head]) -> Break | None:
    """Compare the entries with hashes that are kept outside of the database."""
    hashes = {entry.number: entry.hash for entry in entries}
    oldest = entries[0].number if entries else 1
    for kept in sorted(outside, key=lambda one: one.number):
        if kept.number < oldest:
            continue  # pruned since
        if hashes.get(kept.number) != kept.hash:
            found = f"has {hashes[kept.number]} now" if kept.number in hashes else "is missing now"
            return Break(
                kept.number,
                f"entry {kept.number} had the hash {kept.hash} when it was noted in MLflow, and {found}: "
                "the ledger was rewritten at this entry or before it",
            )
    return None
