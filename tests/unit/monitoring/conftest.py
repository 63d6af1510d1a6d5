"""Fixtures of the tests of the monitoring: an empty prediction log and an empty schema, on PostgreSQL."""

import numpy as np
import pytest

from heartline import contract
from heartline.monitoring import prediction_log
from heartline.monitoring import store as stores
from heartline.monitoring.inputs import Reference
from heartline.monitoring.store import Store
from tests.postgres import Postgres
from tests.unit.monitoring.fakes import DIGEST, Log


@pytest.fixture
def monitoring(ledger_database: Postgres, monkeypatch: pytest.MonkeyPatch) -> Store:
    """An empty store of the monitoring, that of this process."""
    server = ledger_database.server
    name, password = ledger_database.login("monitoring").split(":")
    url = server.address(name, password, driver=None, database="heartline")
    ledger_database.administer(
        "DROP SCHEMA IF EXISTS monitoring CASCADE", "CREATE SCHEMA monitoring AUTHORIZATION monitoring"
    )
    monkeypatch.setenv(stores.VARIABLE, url)
    return Store(url)


@pytest.fixture
def log(ledger_database: Postgres, monkeypatch: pytest.MonkeyPatch) -> Log:
    """An empty prediction log with one version, that of this process."""
    found = Log(ledger_database)
    found.model()
    monkeypatch.setenv(prediction_log.VARIABLE, found.url)
    return found


@pytest.fixture
def reference() -> Reference:
    """A reference of the version in the log."""
    return Reference(
        "1", DIGEST, "s", np.ones((4, len(contract.FEATURE_NAMES))), np.full(4, 0.5), np.array([0, 1, 0, 1])
    )
