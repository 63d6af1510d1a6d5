"""Whether `up` believes that Airflow can run the DAGs."""

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from stack.clients.dag_health import DagHealth
from stack.commands import readiness
from stack.errors import Exit, UnhealthyError
from stack.processes.definitions import DAG_PROCESSOR

BEGAN = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
BEFORE, AFTER = BEGAN - timedelta(minutes=1), BEGAN + timedelta(seconds=5)
GOOD = DagHealth(parsed=AFTER)


@pytest.fixture
def wait(monkeypatch, capsys):
    def run(*reports):
        left = list(reports)
        airflow = SimpleNamespace(url="http://airflow", dag_health=lambda: left.pop(0) if len(left) > 1 else left[0])
        monkeypatch.setattr(readiness, "client", lambda stack: airflow)
        monkeypatch.setattr(readiness.time, "sleep", lambda seconds: None)
        started = SimpleNamespace(started=BEGAN.timestamp())
        stack = SimpleNamespace(supervisor=SimpleNamespace(processes=lambda: {DAG_PROCESSOR: started}))
        readiness.wait(stack, BEGAN)
        return capsys.readouterr().err

    return run


def test_dags_that_were_read_since_the_start_are_enough(wait):
    assert wait(DagHealth(), DagHealth(parsed=BEFORE), GOOD) == ""


def test_a_paused_dag_is_said(wait):
    assert "note: the DAG heart_training is paused" in wait(DagHealth(parsed=AFTER, paused=["heart_training"]))


def test_an_import_error_since_the_start_is_an_error(wait):
    with pytest.raises(UnhealthyError) as caught:
        wait(DagHealth(unusable=["the DAG file x.py cannot be imported: ValueError"], failed=AFTER))
    assert caught.value.code == Exit.UNHEALTHY
    assert "x.py" in caught.value.where


def test_an_import_error_from_before_may_have_been_corrected(wait):
    assert wait(DagHealth(unusable=["the DAG file x.py cannot be imported"], failed=BEFORE), GOOD) == ""


def test_a_scheduler_that_starts_nothing_is_an_error_in_the_end(wait, monkeypatch):
    monkeypatch.setattr(readiness, "DAG_IMPORT_TIMEOUT", 0.0)
    with pytest.raises(UnhealthyError) as caught:
        wait(DagHealth(stuck=["the scheduler does not start the run"], parsed=AFTER))
    assert "does not start the run" in caught.value.where
