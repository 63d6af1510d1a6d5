"""What all tests share: where things are, and what happens when something that a test needs is absent."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from tests.running import ROOT, Running

if TYPE_CHECKING:  # the service's tests run where there is no pandas
    import pandas as pd

__all__ = ["ROOT"]

# How long an example takes says something about the machine, and nothing about what is tested.
settings.register_profile("heartline", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("heartline")


def _need(present: object, what: str) -> None:
    """Skip a test whose need is absent and say so; with HEARTLINE_NO_SKIPS=1 that is a failure."""
    if present:
        return
    if os.environ.get("HEARTLINE_NO_SKIPS") == "1":
        pytest.fail(f"needs {what}, and HEARTLINE_NO_SKIPS=1 allows no skip")
    pytest.skip(f"needs {what}")


@pytest.fixture(scope="session")
def need() -> Callable[[object, str], None]:
    return _need


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder with the real files, named by HEARTLINE_REAL_DATA."""
    folder = os.environ.get("HEARTLINE_REAL_DATA", "")
    _need(
        folder and (Path(folder) / "processed.cleveland.data").is_file(), "HEARTLINE_REAL_DATA with the Cleveland file"
    )
    return Path(folder).resolve()


@pytest.fixture(scope="session")
def cleveland(real_data: Path) -> pd.DataFrame:
    """The 303 real records, index 1 to 303."""
    import pandas as pd

    from heartline import contract

    frame = pd.read_csv(real_data / "processed.cleveland.data", header=None, na_values="?", dtype="float64")
    frame.columns = pd.Index(contract.COLUMN_NAMES)
    frame.index = pd.RangeIndex(1, len(frame) + 1)
    return frame


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty store, configured for this test."""
    folder = tmp_path / "store"
    monkeypatch.setenv("HEARTLINE_STORE", folder.as_uri())
    return folder


@pytest.fixture(scope="session")
def cohort() -> pd.DataFrame:
    """A synthetic cohort, index from 1."""
    from heartline.ingestion import synthetic

    return synthetic.generate(303)


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """The real stack, trained on the Cleveland file where it is at hand, else on the sample; shared by the session."""
    folder = os.environ.get("HEARTLINE_REAL_DATA", "")
    _need(folder or os.environ.get("HEARTLINE_NO_SKIPS") != "1", "HEARTLINE_REAL_DATA")
    source = str(Path(folder, "processed.cleveland.data").resolve()) if folder else "sample"
    stack = Running(tmp_path_factory.mktemp("running") / "home")
    try:
        stack.first_up = stack.call("up", "--source", source, "--set", "profile=quick").stdout
        yield stack
    finally:
        stack.call("down", "--purge")
