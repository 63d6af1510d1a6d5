"""Fixtures of the service's tests."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from serving.settings import Settings
from tests.serving.fakes import FakeRegistry, Service, make_bundle


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
