import json
from datetime import UTC, datetime

import pytest

from heartline.registry.production import alias_history
from heartline.registry.production.alias_history import Move
from stack.commands import status
from stack.commands.status import ProcessStatus, Status
from stack.processes import lifecycle
from stack.processes.definitions import SCHEDULER, define_processes
from stack.processes.health import Health
from stack.processes.lifecycle import Stack
from stack.processes.supervisor import ProcessState, UnexpectedExit
from tests.memory_ledger import MemoryLedger

MODEL = {"version": "3", "family": "random_forest", "origin": "uci"}


def summary(**more):
    return status.summary(
        Status(**({"processes": [], "registry_reachable": True, "production": "3", "model": MODEL} | more))
    )


def test_the_version_in_production_is_one_sentence():
    assert summary() == "production: version 3 (random_forest, trained on uci)"
    assert "the registry says version 4" in summary(production="4")
    assert summary(model=None) == "production: version 3, and the service serves none"
    assert summary(model=None, production=None) == "production: no version, and the service serves none"
    assert summary(registry_reachable=False, production=None).endswith(
        "(random_forest, trained on uci); MLflow is unreachable"
    )
    assert summary(registry_reachable=False, production=None, model=None) == "production: MLflow is unreachable"


def test_the_summary_names_the_user_who_moved_production():
    moved = Move(datetime(2026, 3, 1, 12, 30, 15, tzinfo=UTC), "2", "3", "anna", "promote")
    first = "production: version 3 (random_forest, trained on uci)"
    assert summary(last_move=moved) == f"{first}, since 2026-03-01 12:30 UTC by anna (promote)"
    assert summary(last_move=moved, production="4") == f"{first}; the registry says version 4: ./heartline logs service"
    assert Status([], True, "3", MODEL, moved).as_dict()["last_move"] == moved.as_dict()


@pytest.mark.parametrize(("production", "known"), [("3", True), ("2", False)])
def test_a_move_outside_the_history_has_no_user(settings, answers, monkeypatch, production, known):
    ledger = MemoryLedger()
    moved = Move(datetime(2026, 3, 1, tzinfo=UTC), "2", "3", "anna", "promote")
    entry = ledger.append("moved", by="anna", version="3", facts=moved.facts())
    monkeypatch.setattr(lifecycle, "Store", lambda url: ledger)
    server = answers(settings.mlflow_port)
    server.answers["GET /api/2.0/mlflow/registered-models/get"] = (
        200,
        {
            "registered_model": {
                "aliases": [{"alias": "production", "version": production}],
            }
        },
    )
    server.answers["GET /api/2.0/mlflow/experiments/get-by-name"] = (404, {"error_code": "RESOURCE_DOES_NOT_EXIST"})
    found = status.check_all(Stack.of(settings))
    assert (found.registry_reachable, found.production) == (True, production)
    assert found.last_move == (alias_history.of_entry(entry) if known else None)
    assert not [what for what, _, _ in server.asked if what.startswith("POST")], "status writes nothing"


def test_one_unhealthy_process_makes_the_stack_unhealthy():
    good, bad = ProcessStatus("mlflow", True), ProcessStatus("service", False)
    assert Status([good], True, None, None).healthy()
    assert not Status([good, bad], True, None, None).healthy()
    assert json.loads(json.dumps(Status([bad], True, "1", MODEL).as_dict()))["healthy"] is False


def test_dags_that_cannot_run_make_the_stack_unhealthy_and_a_paused_one_does_not(settings):
    good = [ProcessStatus("airflow", True)]
    broken = Status(good, True, None, None, problems=["the DAG file x.py cannot be imported"])
    paused = Status(good, True, None, None, notes=["the DAG heart_training is paused"])
    assert not broken.healthy()
    assert paused.healthy()
    stack = Stack.of(settings)
    assert "problem:    the DAG file x.py cannot be imported" in status.lines(stack, broken)
    assert "note:       the DAG heart_training is paused" in status.lines(stack, paused)
    assert broken.as_dict()["problems"] == broken.problems


def test_status_shows_all_addresses_and_one_time_zone(settings, credentials):
    assert credentials["heartline_db_password"]
    said = "\n".join(status.lines(Stack.of(settings), Status([], True, None, None)))
    for address in (settings.airflow_url, settings.mlflow_url, settings.service_url, str(settings.postgres_port)):
        assert address in said
    assert said.endswith("All times are in UTC.")


def test_a_version_that_the_service_refuses_is_shown_with_the_reason(settings):
    found = Status([], True, "4", MODEL, refused="version 4: it is not approved: it has no tag heartline.approval")
    assert f"refused:    {found.refused}" in status.lines(Stack.of(settings), found)
    assert found.as_dict()["refused"] == found.refused


def test_a_killed_process_shows_its_restarts(settings, credentials):
    definition = next(
        definition for definition in define_processes(settings, credentials) if definition.name == SCHEDULER
    )
    found = {SCHEDULER: Health(True), "airflow": Health(True, version="3.3")}
    exits = [
        UnexpectedExit(SCHEDULER, datetime(2026, 1, 1, 10, 0, second), "terminated by SIGKILL") for second in (1, 2)
    ]
    row = status._row(definition, ProcessState(SCHEDULER, "RUNNING", 5, 1.0), found, exits)
    assert (row.restarts, row.healthy, row.version) == (2, True, "3.3")
    assert row.note == "last ended 10:00:02: terminated by SIGKILL"


def test_status_of_a_stack_that_was_never_started_writes_nothing(settings):
    found = status.check_all(Stack.of(settings))
    assert [(row.name, row.healthy) for row in found.processes] == [("supervisord", False)]
    assert not found.registry_reachable
    assert not (settings.home / "secrets").exists()
