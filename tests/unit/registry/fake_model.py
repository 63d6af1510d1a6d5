"""A registered model in memory, with a ledger and a clock that tests set."""

from contextlib import contextmanager
from datetime import UTC, datetime

from heartline.registry.production import alias_history, alias_moves
from heartline.registry.production.alias_history import PROMOTE, ROLLBACK
from heartline.registry.production.alias_moves import VersionFacts
from heartline.registry.stored_files import StoredVersion
from tests.memory_ledger import MemoryLedger

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
ORIGINS = {"1": "uci", "2": "file", "3": "sample", "4": "sample", "5": ""}


class KilledError(Exception):
    """Stands for the end of the process."""


class WatchedLedger(MemoryLedger):
    """A ledger whose clock is set, and whose entries are noted among the other writes of the model."""

    def __init__(self, written):
        super().__init__(lambda: self.now)
        self.now = NOON
        self.written = written

    def append(self, kind, **more):
        before = len(self.kept)
        entry = super().append(kind, **more)
        if len(self.kept) > before:
            self.written.append(kind)
        return entry


class Model:
    """A registered model with five versions, which remembers in which order it was written to."""

    approval_secret: str | None = None

    def __init__(self, production=""):
        self.production = production
        self.tags = {"owner": "anna"}
        self.kept = {}
        self.written = []
        self.ledger = WatchedLedger(self.written)
        self.locked = False
        self.damage = ""
        self.service = None
        self.sources = {}

    @contextmanager
    def lock(self, who):
        assert not self.locked
        self.locked = True
        try:
            yield lambda: None
        finally:
            self.locked = False

    def production_and_tags(self):
        return self.production, None if self.tags is None else dict(self.tags)

    def history(self):
        return dict(self.kept)

    def facts(self, version):
        return VersionFacts(ORIGINS[version], self.sources.get(version, f"models:/m-{version}"))

    def examine(self, version):
        assert self.locked
        return StoredVersion(self.damage, ORIGINS[version])

    def served(self):
        return self.service

    def set_production(self, version):
        assert self.locked
        self.written.append(f"alias {version}")
        self.production = version

    def set_history(self, key, value):
        assert self.locked
        assert key == alias_history.HEAD
        self.written.append("note")
        self.kept[key] = value

    def recorded(self):
        return alias_history.moves(self.ledger.entries())

    def moves(self):
        return [(one.before, one.after, one.by, one.how) for one in self.recorded()]


def move(model, version, how=PROMOTE, at=NOON, **more):
    model.ledger.now = at
    return alias_moves.move(model, version, by="anna", how=how, **more)


def rollback(model):
    version, _ = target(model)
    move(model, version, ROLLBACK)
    return version


def target(model):
    return alias_history.rollback_target(model.recorded())
