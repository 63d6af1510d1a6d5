"""A PostgreSQL server with an empty ledger."""

from collections.abc import Iterator

import pytest

from heartline.ledger import store
from tests.postgres import Postgres


@pytest.fixture(scope="package")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    """A server of its own, because some tests stop it."""
    server = Postgres(tmp_path_factory.mktemp("postgres") / "home")
    yield server
    server.remove()


@pytest.fixture
def database(postgres: Postgres, monkeypatch: pytest.MonkeyPatch) -> Postgres:
    """The server with an empty ledger, which is that of the environment."""
    postgres.start()
    postgres.empty_ledger()
    monkeypatch.setenv(store.VARIABLE, postgres.ledger_url)
    return postgres
