"""A PostgreSQL server with an empty ledger."""

import pytest

from tests.postgres import Postgres


@pytest.fixture(scope="module", autouse=True)
def ledger_in_memory() -> None:
    """Use no ledger in memory."""


@pytest.fixture
def database(ledger_database: Postgres) -> Postgres:
    return ledger_database
