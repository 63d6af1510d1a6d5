"""The cache of bundles on the disk: complete or absent, also after a kill or a power failure."""

import multiprocessing
import os
import signal
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from serving.settings import Settings
from tests.serving.fakes import RECORD, FakeRegistry, Service, expected_probability, make_bundle


def test_files_are_on_the_disk_before_the_bundle_and_the_pointer_get_their_names(
    registry: FakeRegistry, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.register(make_bundle())
    done: list[str] = []
    rename, replace = Path.rename, Path.replace
    monkeypatch.setattr(
        os, "fsync", lambda one: done.append("folder" if stat.S_ISDIR(os.fstat(one).st_mode) else "file")
    )
    monkeypatch.setattr(Path, "rename", lambda path, to: done.append("bundle") or rename(path, to))  # type: ignore[func-returns-value]
    monkeypatch.setattr(Path, "replace", lambda path, to: done.append(to.name) or replace(path, to))  # type: ignore[func-returns-value]

    Service(settings).poll()

    first = done.index("bundle")
    assert first >= 4, "every file and their folder come first"
    assert set(done[: first - 1]) == {"file"}
    assert done[first - 1 : first + 2] == ["folder", "bundle", "folder"]
    pointer = done.index("last_good.json")
    assert (done[pointer - 1], done[pointer + 1]) == ("file", "folder")


@pytest.mark.parametrize("step", ["os.fsync", "Path.rename", "Path.replace"])
def test_a_service_that_is_killed_while_it_writes_leaves_a_cache_that_the_next_one_uses(
    registry: FakeRegistry, settings: Settings, step: str
) -> None:
    registry.register(make_bundle())

    def lethal(*_: Any) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def killed() -> None:
        owner: Any = os if step.startswith("os") else Path
        setattr(owner, step.split(".")[1], lethal)
        Service(settings).poll()

    for _ in range(3):
        process = multiprocessing.get_context("fork").Process(target=killed)
        process.start()
        process.join()
        assert process.exitcode == -signal.SIGKILL
    assert len(list(Path(settings.cache).glob(".fetch-*"))) <= 1, "downloads that were cut accumulate"

    answer = Service(settings).poll().client.post("/predict", json=RECORD).get_json()
    assert answer["probability"] == pytest.approx(expected_probability(RECORD, -2.0), abs=1e-6)
    assert not list(Path(settings.cache).glob(".fetch-*"))


@pytest.mark.parametrize("damage", [lambda path: path.write_bytes(b""), lambda path: os.truncate(path, 10)])
def test_damaged_files_of_the_cache_are_fetched_again(
    service: Service, settings: Settings, damage: Callable[[Path], object]
) -> None:
    cache = Path(settings.cache)
    before = (cache / "last_good.json").read_bytes()
    for path in [cache / "last_good.json", *(cache / "bundles").glob("*/*")]:
        damage(path)

    answer = Service(settings).poll().client.post("/predict", json=RECORD).get_json()

    assert answer["model"]["version"] == "1"
    assert (cache / "last_good.json").read_bytes() == before
