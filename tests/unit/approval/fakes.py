"""A ledger in memory, and a registry with a few versions, for the tests of approvals."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from heartline.approval.settings import Settings
from heartline.errors import LedgerError, RegistryError
from heartline.ledger import store
from heartline.ledger.entry import Entry
from heartline.registry import mlflow_registry, versions
from heartline.registry.mlflow_registry import Version
from heartline.registry.production import approvals
from heartline.registry.versions import StoredModel

NOON = datetime(2026, 11, 30, 12, tzinfo=UTC)
KEY = "k" * 64
DIGESTS = {str(number): f"{number:02d}" * 32 for number in range(10)}
BETTER = {"family": "random_forest", "origin": "uci", "verdict": "better", "reason": "It separates better."}


class Killed(BaseException):
    """The task's process ends here."""


@dataclass
class Ledger:
    """The ledger in memory. ``away`` makes it refuse, ``kill_after`` ends the task after an entry of that kind."""

    rows: list[Entry] = field(default_factory=list)
    away: bool = False
    kill_after: str = ""

    def append(self, kind, *, by, version="", facts=None, key=None, url=None):
        self._expect_there()
        for one in self.rows:
            if key is not None and one.key == key:
                return one
        number = len(self.rows) + 1
        at = NOON + timedelta(seconds=number)
        entry = Entry(number, at, kind, version, by, dict(facts or {}), "ledger", key, "", str(number))
        self.rows.append(entry)
        if kind == self.kill_after:
            raise Killed
        return entry

    def entries(self, *, kinds=(), until=None, url=None):
        self._expect_there()
        return [one for one in self.rows if not kinds or one.kind in kinds]

    def _expect_there(self):
        if self.away:
            raise LedgerError("the ledger does not answer", where="PostgreSQL", expected="an answer", hint="wait")

    def kinds(self) -> list[tuple[str, str]]:
        """Return kind and version of each entry."""
        return [(one.kind, one.version) for one in self.rows]


@dataclass
class Registry:
    """Versions 5 (in production) and 7 (staged, better). Moves are entered in the ledger."""

    ledger: Ledger
    production: str = "5"
    staging: str = "7"
    tags: dict[str, dict[str, str]] = field(default_factory=dict)
    deleted: set[str] = field(default_factory=set)
    refusal: str = ""
    away: bool = False
    kill_at: str = ""

    def aliased(self, alias: str) -> Version | None:
        self._expect_there()
        number = self.production if alias == mlflow_registry.PRODUCTION else self.staging
        return Version(number, self.tags_of(number)) if number else None

    def find(self, number: str) -> StoredModel | None:
        self._expect_there()
        if number not in DIGESTS or number in self.deleted:
            return None
        return StoredModel(number, self.tags_of(number), DIGESTS[number])

    def tags_of(self, number: str) -> Mapping[str, str]:
        return BETTER | self.tags.get(number, {})

    def approve(self, number: str, approval: str) -> None:
        self._expect_there()
        self._kill("approve")
        self.tags.setdefault(number, {})[approvals.TAG] = approval

    def move_production(self, version: str, *, by: str, how: str, expected: str) -> str:
        self._expect_there()
        self._kill("move")
        if self.refusal or self.production not in (expected, version):
            return self.refusal or "production changed since the decision"
        if self.production != version:
            self.production = version
            self.ledger.append("moved", by=by, version=version, facts={"how": how})
        self._kill("moved")
        return ""

    def _kill(self, where: str) -> None:
        if self.kill_at == where:
            raise Killed

    def _expect_there(self) -> None:
        if self.away:
            raise RegistryError("MLflow does not answer", where="MLflow", expected="an answer", hint="wait")


@dataclass
class World:
    """Ledger, registry, the runs of ``heart_approval`` that have not ended, and the settings."""

    ledger: Ledger
    registry: Registry
    active: set[str]
    settings: Settings

    def set(self, **changed: Any) -> None:
        self.settings = replace(self.settings, **changed)


def install(patch: pytest.MonkeyPatch) -> World:
    """Let the pipeline use a ledger and a registry in memory."""
    ledger = Ledger()
    world = World(ledger, Registry(ledger), set(), Settings(secret=KEY))
    patch.setattr(store, "append", ledger.append)
    patch.setattr(store, "entries", ledger.entries)
    patch.setattr(mlflow_registry, "aliased", world.registry.aliased)
    patch.setattr(mlflow_registry, "move_production", world.registry.move_production)
    patch.setattr(versions, "find", world.registry.find)
    patch.setattr(versions, "approve", world.registry.approve)
    patch.setattr(versions, "comparison", lambda run_id: ("", {}))
    patch.setattr(Settings, "of", classmethod(lambda cls, environ=None: world.settings))
    return world
