import json
from datetime import UTC, datetime

import pytest

from heartline.registry.alias_history import Move
from stack.commands import status
from stack.commands.status import Row, Status
from stack.processes.definitions import SCHEDULER, parts
from stack.processes.health import Health
from stack.processes.lifecycle import Stack
from stack.processes.supervisor import Exit, Process

MODEL = {"version": "3", "family": "random_forest", "origin": "uci"}


def told(**more):
    return status.summary(Status(**({"rows": [], "registry": True, "production": "3", "model": MODEL} | more)))


def test_what_production_serves_is_one_sentence():
    assert told() == "production: version 3 (random_forest, trained on uci)"
    assert "the registry says version 4" in told(production="4")
    assert told(model=None) == "production: version 3, and the service serves none"
    assert told(model=None, production=None) == "production: no version, and the service serves none"
    assert told(registry=False, production=None).endswith("(random_forest, trained on uci); MLflow is away")
    assert told(registry=False, production=None, model=None) == "production: MLflow is away"


def test_it_says_who_put_it_there():
    moved = Move(datetime(2026, 3, 1, 12, 30, 15, tzinfo=UTC), "2", "3", "anna", "promote")
    first = "production: version 3 (random_forest, trained on uci)"
    assert told(moved=moved) == f"{first}, since 2026-03-01 12:30 UTC by anna (promote)"
    assert told(moved=moved, production="4") == f"{first}; the registry says version 4: ./heartline logs service"
    assert Status([], True, "3", MODEL, moved).as_dict()["moved"] == moved.as_dict()


@pytest.mark.parametrize(("production", "known"), [("3", True), ("2", False)])
def test_a_move_that_nobody_noted_is_nobodys(settings, answers, production, known):
    moved = Move(datetime(2026, 3, 1, tzinfo=UTC), "2", "3", "anna", "promote")
    server = answers(settings.mlflow_port)
    server.answers["GET /api/2.0/mlflow/registered-models/get"] = (
        200,
        {
            "registered_model": {
                "aliases": [{"alias": "production", "version": production}],
                "tags": [{"key": moved.key, "value": json.dumps(moved.as_dict())}],
            }
        },
    )
    found = status.look(Stack.of(settings))
    assert (found.registry, found.production) == (True, production)
    assert found.moved == (moved if known else None)
    assert not [what for what, _, _ in server.asked if what.startswith("POST")], "looking writes nothing"


def test_one_unhealthy_part_makes_the_stack_unhealthy():
    good, bad = Row("mlflow", True), Row("service", False)
    assert Status([good], True, None, None).healthy()
    assert not Status([good, bad], True, None, None).healthy()
    assert json.loads(json.dumps(Status([bad], True, "1", MODEL).as_dict()))["healthy"] is False


def test_a_part_that_was_killed_shows_that_it_was_restarted(settings, credentials):
    part = next(part for part in parts(settings, credentials) if part.name == SCHEDULER)
    found = {SCHEDULER: Health(True), "airflow": Health(True, version="3.3")}
    exits = [Exit(SCHEDULER, datetime(2026, 1, 1, 10, 0, second), "terminated by SIGKILL") for second in (1, 2)]
    row = status._row(part, Process(SCHEDULER, "RUNNING", 5, 1.0), found, exits)
    assert (row.restarts, row.healthy, row.version) == (2, True, "3.3")
    assert row.note == "last ended 10:00:02: terminated by SIGKILL"


def test_looking_at_a_stack_that_was_never_started_writes_nothing(settings):
    found = status.look(Stack.of(settings))
    assert [(row.name, row.healthy) for row in found.rows] == [("supervisord", False)]
    assert not found.registry
    assert not (settings.home / "secrets").exists()
