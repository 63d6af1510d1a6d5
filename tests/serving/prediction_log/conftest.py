"""Fixtures of the tests of the prediction log."""

from typing import Any

import msgspec
import pytest

from serving.settings import Settings
from tests.serving.fakes import FakeRegistry, make_bundle
from tests.serving.prediction_log.service import Logged, Start


@pytest.fixture
def start(settings: Settings, registry: FakeRegistry) -> Start:
    """Start a service with a database URL and changed settings."""
    registry.register(make_bundle())

    def start(url: str, **changes: Any) -> Logged:
        service = Logged(msgspec.structs.replace(settings, prediction_log_url=url, **changes))
        service.poll()
        return service

    return start
