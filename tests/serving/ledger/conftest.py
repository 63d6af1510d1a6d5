"""Fixtures of the tests of the service's entries in the ledger."""

import msgspec
import pytest

from serving.ledger.writer import Ledger
from serving.settings import Settings
from tests.postgres import Postgres
from tests.serving.ledger.workers import NO_DATABASE, Start, Worker


@pytest.fixture
def postgres(server: Postgres) -> Postgres:
    """A running server with an empty ledger."""
    server.start()
    server.empty_ledger()
    return server


@pytest.fixture
def worker(settings: Settings) -> Start:
    """Start a worker of the same host with each call, by default without a database."""

    def start(url: str = NO_DATABASE) -> Worker:
        return Worker(Ledger(msgspec.structs.replace(settings, ledger_url=url)))

    return start
