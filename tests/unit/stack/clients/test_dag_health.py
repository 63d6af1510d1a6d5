from datetime import UTC, datetime

import pytest

from stack.clients import dag_health

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
DAG = {"is_stale": False, "is_paused": False, "last_parsed_time": "2026-03-01T11:59:50Z"}
DAG |= {"next_dagrun_run_after": "2026-03-02T02:00:00Z"}
LONG_AGO = "2026-03-01T11:00:00Z"


def check(dag=DAG, errors=(), runs=()):
    """Check the DAGs of an Airflow with these responses."""

    def get(path):
        if path.startswith("importErrors"):
            return {"import_errors": list(errors)}
        return {"dag_runs": list(runs)} if "dagRuns" in path else dag

    return dag_health.check(get, NOW)


def test_a_dag_that_waits_for_its_next_run_is_healthy():
    found = check()
    assert (found.problems, found.notes, found.failed) == ([], [], None)
    assert found.parsed == datetime(2026, 3, 1, 11, 59, 50, tzinfo=UTC)


def test_an_import_error_is_named_with_its_last_line_even_if_the_dag_is_known_from_before():
    error = {"filename": "heart_training.py", "stack_trace": "Traceback\n…\nValueError: [0 2 * *]\n"}
    found = check(errors=[error | {"timestamp": "2026-03-01T11:59:59Z"}])
    assert found.unusable == ["the DAG file heart_training.py cannot be imported: ValueError: [0 2 * *]"]
    assert found.failed == datetime(2026, 3, 1, 11, 59, 59, tzinfo=UTC)


@pytest.mark.parametrize("dag", [None, DAG | {"is_stale": True}])
def test_a_dag_without_a_file_is_a_problem(dag):
    found = check(dag)
    assert [dag_id for dag_id in dag_health.DAGS if any(dag_id in text for text in found.unusable)] == list(
        dag_health.DAGS
    )
    assert found.parsed is None


def test_a_paused_dag_is_the_users_choice():
    found = check(DAG | {"is_paused": True, "next_dagrun_run_after": LONG_AGO})
    assert found.problems == []
    assert "is paused: its scheduled runs do not start" in found.notes[0]


def test_a_file_that_is_not_read_any_more_is_a_problem():
    (problem, *_) = check(DAG | {"last_parsed_time": LONG_AGO}).stuck
    assert "has not read the DAG files since 2026-03-01 11:00 UTC" in problem


def test_a_run_that_stays_queued_is_a_problem_unless_another_one_is_running():
    queued = {"state": "queued", "queued_at": LONG_AGO}
    assert "queued since 2026-03-01 11:00 UTC" in check(runs=[queued]).stuck[0]
    assert check(runs=[queued, {"state": "running", "queued_at": LONG_AGO}]).problems == []
    assert check(runs=[queued | {"queued_at": "2026-03-01T11:58:00Z"}]).problems == []


def test_a_scheduled_run_that_is_not_created_is_a_problem():
    late = DAG | {"next_dagrun_run_after": LONG_AGO}
    assert "due at 2026-03-01 11:00 UTC" in check(late).stuck[0]
    assert check(late, runs=[{"state": "running", "queued_at": LONG_AGO}]).problems == []
