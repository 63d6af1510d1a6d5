"""Fixtures of the service's tests."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from serving.prediction_log.spill import Spill
from serving.settings import Settings
from tests.postgres import Postgres
from tests.serving.fakes import FakeRegistry, Service, make_bundle


@pytest.fixture(autouse=True)
def closed_spill_files(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Close the spill files of the test at its end, as the writer's thread does when a worker stops."""
    made: list[Spill] = []
    init = Spill.__init__

    def recorded(spill: Spill, folder: Path, limit: int) -> None:
        init(spill, folder, limit)
        made.append(spill)

    monkeypatch.setattr(Spill, "__init__", recorded)
    yield
    for spill in made:
        spill.close()


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    """A registry without any version."""
    registry = FakeRegistry()
    yield registry
    registry.stop()


@pytest.fixture
def settings(registry: FakeRegistry, tmp_path: Path) -> Settings:
    """Settings that lead to ``registry`` and to a cache of this test."""
    return Settings(mlflow_url=registry.url, cache=str(tmp_path / "cache"), max_records=100, max_body_bytes=20_000)


@pytest.fixture
def start(settings: Settings) -> Callable[[], Service]:
    """Start a service like a new process, with each call."""
    return lambda: Service(settings)


@pytest.fixture
def service(registry: FakeRegistry, start: Callable[[], Service]) -> Service:
    """A service that serves version 1."""
    registry.register(make_bundle())
    return start().poll()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    """A PostgreSQL server."""
    server = Postgres(tmp_path_factory.mktemp("postgres") / "home")
    yield server
    server.remove()


@pytest.fixture
def postgres(server: Postgres) -> Postgres:
    """A running server without tables of the prediction log."""
    server.start()
    server.clear()
    return server
