"""Fixtures and settings of all tests: markers, the order of the files, and what to do if a test's need is absent."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings

from tests.running import ROOT, Running

if TYPE_CHECKING:  # the service's tests run where there is no pandas
    import pandas as pd

    from tests.postgres import Postgres

__all__ = ["ROOT"]

# The duration of an example depends on the machine.
settings.register_profile("heartline", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("heartline")


# Each of these files takes tens of seconds. They start first, so that parallel workers end at about the same time.
LONGEST_FILES = (
    "tests/chaos/test_killed_tasks.py",
    "tests/benchmarks/test_pipeline_cost.py",
    "tests/serving/model/test_swap_under_load.py",
    "tests/unit/validation/test_checkpoint.py",
    "tests/unit/pipeline/test_compare.py",
    "tests/unit/pipeline/test_register.py",
    "tests/serving/api/test_both_workers.py",
    "tests/unit/pipeline/bad_training/test_records.py",
    "tests/unit/pipeline/test_bad_input.py",
    "tests/unit/ingestion/test_synthetic.py",
    "tests/unit/comparison/test_verdict.py",
    "tests/unit/project/test_data_page.py",
    "tests/serving/api/test_schemathesis.py",
    "tests/dags/test_plugin_pages.py",
    "tests/unit/packaging/test_smoke_test.py",
    "tests/unit/pipeline/test_new_family.py",
    "tests/unit/pipeline/bad_training/test_registry.py",
    "tests/unit/pipeline/bad_training/test_retries.py",
    "tests/unit/reports/test_model_figures.py",
    "tests/unit/project/test_notebook.py",
    "tests/benchmarks/test_serving_benchmark.py",
)

# The service's tests also run without SQLAlchemy. MLflow's SQLite files of tests need not survive a power failure:
# without fsync, a migration takes half the time.
with contextlib.suppress(ImportError):
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    @event.listens_for(Engine, "connect")
    def _no_fsync(connection: Any, _: object) -> None:
        if type(connection).__module__ == "sqlite3":
            connection.execute("PRAGMA synchronous=OFF")


def _process_state() -> dict[str, Any]:
    """Return what a test may leave behind in its process, to the harm of the tests of other files."""
    handlers = [handler for handler in logging.root.handlers if type(handler) is logging.StreamHandler]
    ours = {name: value for name, value in os.environ.items() if name.startswith(("HEARTLINE_", "AIRFLOW_"))}
    return {"environment": ours, "level of the root logger": logging.root.level, "handlers": handlers}


BEFORE_ALL_TESTS = _process_state()


@pytest.fixture(scope="module", autouse=True)
def process_unchanged() -> Iterator[None]:
    """Fail the last test of a file that leaves settings or logging changed; importing Airflow configures logging."""
    yield
    assert _process_state() == BEFORE_ALL_TESTS


@pytest.hookimpl(tryfirst=True)  # before tests are selected by marker
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that use the running stack, and put the longest files first."""
    for item in items:
        if "running" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.stack)
    places = {ROOT / name: place for place, name in enumerate(LONGEST_FILES)}
    items.sort(key=lambda item: places.get(item.path, len(places)))


def _need(present: object, what: str) -> None:
    """Skip a test if what it needs is absent, and name it; with HEARTLINE_NO_SKIPS=1, fail instead."""
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
    """Return the folder of the real files, HEARTLINE_REAL_DATA."""
    folder = os.environ.get("HEARTLINE_REAL_DATA", "")
    _need(
        folder and (Path(folder) / "processed.cleveland.data").is_file(), "HEARTLINE_REAL_DATA with the Cleveland file"
    )
    return Path(folder).resolve()


@pytest.fixture(scope="session")
def cleveland(real_data: Path) -> pd.DataFrame:
    """Return the 303 real records, index 1 to 303."""
    import pandas as pd

    from heartline import contract

    frame = pd.read_csv(real_data / "processed.cleveland.data", header=None, na_values="?", dtype="float64")
    frame.columns = pd.Index(contract.COLUMN_NAMES)
    frame.index = pd.RangeIndex(1, len(frame) + 1)
    return frame


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of an empty store, configured for this test."""
    folder = tmp_path / "store"
    monkeypatch.setenv("HEARTLINE_STORE", folder.as_uri())
    return folder


@pytest.fixture(scope="session")
def ledger_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    """Return a PostgreSQL server with the ledger; ``ledger_database`` is what a test uses."""
    from tests.postgres import Postgres

    server = Postgres(tmp_path_factory.mktemp("ledger") / "home")
    yield server
    server.remove()


@pytest.fixture
def ledger_database(ledger_server: Postgres, monkeypatch: pytest.MonkeyPatch) -> Postgres:
    """Return a running PostgreSQL server whose ledger is empty, and is that of this process and its children."""
    ledger_server.start()
    ledger_server.empty_ledger()
    monkeypatch.setenv("HEARTLINE_LEDGER_URL", ledger_server.ledger_url)
    return ledger_server


@pytest.fixture(scope="session")
def cohort() -> pd.DataFrame:
    """Return 303 synthetic records, index from 1."""
    from heartline.ingestion.sample import synthetic

    return synthetic.generate(303)


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Start the real stack, trained on the Cleveland file if it is available, else on the sample."""
    folder = os.environ.get("HEARTLINE_REAL_DATA", "")
    _need(folder or os.environ.get("HEARTLINE_NO_SKIPS") != "1", "HEARTLINE_REAL_DATA")
    source = str(Path(folder, "processed.cleveland.data").resolve()) if folder else "sample"
    stack = Running(tmp_path_factory.mktemp("running") / "home")
    try:
        stack.first_up = stack.call("up", "--source", source, "--set", "profile=quick").stdout
        yield stack
    finally:
        stack.call("down", "--purge")
