"""Fixtures of the tests of the prediction log."""

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from serving.settings import Settings
from tests.postgres import Postgres
from tests.serving.fakes import FakeRegistry, make_bundle
from tests.serving.prediction_log.service import Logged, Start


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    """A PostgreSQL server."""
    server = Postgres(tmp_path_factory.mktemp("postgres") / "home")
    yield server
    server.remove()


@pytest.fixture
def postgres(server: Postgres) -> Postgres:
    """A running server without tables of the log."""
    server.start()
    server.clear()
    return server


@pytest.fixture
def start(settings: Settings, registry: FakeRegistry) -> Start:
    """Start a service with a database URL and changed settings."""
    registry.register(make_bundle())

    def start(url: str, **changes: Any) -> Logged:
        service = Logged(msgspec.structs.replace(settings, prediction_log_url=url, **changes))
        service.poll()
        return service

    return start
