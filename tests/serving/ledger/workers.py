"""Statuses of a model store, for tests of what the service enters in the ledger."""

import dataclasses
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

import psycopg2

from serving.ledger.writer import Ledger
from serving.model.approvals import Approval
from serving.model.model_store import Refusal, Served, Status
from serving.model.registry_client import ModelVersion
from tests.postgres import Postgres
from tests.serving.approvals import sign

NO_DATABASE = "postgresql://ledger_service:s3cret@127.0.0.1:1/heartline"
DIGESTS = {str(number): f"{number:x}" * 64 for number in range(1, 10)}


def served(version: str, *, approved: bool = False) -> Served:
    """Return a served version without a model: the ledger asks only for its digest."""
    model = cast(Any, SimpleNamespace(digest=DIGESTS[version]))
    approval = Approval(**sign(DIGESTS[version])) if approved else None
    about = ModelVersion("heart-disease", version)
    return Served(model, about, "production", datetime.now(UTC), cast(Any, None), approval=approval)


def refused(version: str, reason: str = "digest of model.onnx differs", *, passing: bool = False) -> Refusal:
    """Return the refusal of a version."""
    return Refusal(ModelVersion("heart-disease", version), reason, DIGESTS[version], passing)


class Worker:
    """A worker of a host: its ledger, and the status of its model store."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.status = Status()

    def follow(self, **changes: Any) -> "Worker":
        """Change the status like the model store."""
        before = self.status
        self.status = dataclasses.replace(before, **changes)
        self.ledger.follow(before, self.status)
        return self

    def serve(self, version: str, **details: Any) -> "Worker":
        """Swap to a version."""
        return self.follow(served=served(version, **details), refusal=None)

    def refuse(self, version: str, *details: Any, **more: Any) -> "Worker":
        """Refuse a version."""
        return self.follow(refusal=refused(version, *details, **more))


Start = Callable[..., Worker]


def entries(postgres: Postgres, columns: str = "kind, version") -> list[tuple[Any, ...]]:
    """Return columns of the ledger's entries, in order."""
    with closing(psycopg2.connect(postgres.service_ledger_url)) as database, database.cursor() as cursor:
        cursor.execute(f"SELECT {columns} FROM ledger.entries ORDER BY number")
        return list(cursor.fetchall())
