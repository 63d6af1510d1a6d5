"""Somebody deletes the cache folder while the service runs."""

import shutil
from collections.abc import Callable
from pathlib import Path

from serving.settings import Settings
from tests.serving.fakes import FakeRegistry, Service, make_bundle


def test_the_alias_is_followed_and_the_served_version_is_saved_again(
    service: Service, registry: FakeRegistry, settings: Settings, start: Callable[[], Service]
) -> None:
    shutil.rmtree(settings.cache)

    service.poll()
    assert Path(settings.cache, "last_good.json").exists()
    assert start().get("/model")["model"]["version"] == "1", "from the cache"

    shutil.rmtree(settings.cache)
    registry.register(make_bundle(1.0))
    service.poll()

    assert service.get("/model")["model"]["version"] == "2"
    assert service.get("/model")["refused"] is None
    assert start().get("/model")["model"]["version"] == "2"
