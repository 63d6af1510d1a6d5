"""A ledger in memory, for tests of what is entered; those of the ledger itself use PostgreSQL."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from heartline.ledger import chain, store
from heartline.ledger.entry import FIRST, KINDS, Entry, Head


class MemoryLedger:
    """What ``store.Store`` is, in this process.

    Args:
        clock: returns the time of the next entry.
    """

    def __init__(self, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self.clock = clock
        self.kept: list[Entry] = []

    def append(
        self, kind: str, *, by: str, version: str = "", facts: Mapping[str, Any] | None = None, key: str | None = None
    ) -> Entry:
        """Add an entry, or return the one that has this key."""
        assert kind in KINDS
        if key is not None:
            for one in self.kept:
                if one.key == key:
                    return one
        text = json.dumps(dict(facts or {}), ensure_ascii=False, allow_nan=False)
        head = self.head()
        entry = Entry(
            head.number + 1, self.clock(), kind, version, by, json.loads(text), "ledger", key, head.hash, "", text
        )
        self.kept.append(replace(entry, hash=chain.digest(entry)))
        return self.kept[-1]

    def entries(self, *, kinds: Sequence[str] = (), until: datetime | None = None) -> list[Entry]:
        """Return the entries, oldest first."""
        return [one for one in self.kept if (not kinds or one.kind in kinds) and (until is None or one.at <= until)]

    def head(self) -> Head:
        """Return number and hash of the last entry."""
        return Head(self.kept[-1].number, self.kept[-1].hash) if self.kept else Head(0, FIRST)


def use_in_memory(patch: pytest.MonkeyPatch, name: Callable[[], str] = str) -> None:
    """Let all calls without a database use ledgers in memory.

    Args:
        patch: undoes it.
        name: returns the name of the present ledger; each name has its own.
    """
    ledgers: dict[str, MemoryLedger] = {}

    def redirect(method: str) -> None:
        real = getattr(store, method)

        def call(*arguments: Any, url: str | None = None, **more: Any) -> Any:
            if url or (url is None and store.configured()):
                return real(*arguments, url=url, **more)
            return getattr(ledgers.setdefault(name(), MemoryLedger()), method)(*arguments, **more)

        patch.setattr(store, method, call)

    for method in ("append", "entries", "head"):
        redirect(method)
