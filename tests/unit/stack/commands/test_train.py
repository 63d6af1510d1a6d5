import json
import os
from datetime import UTC, datetime
from itertools import pairwise

import pytest

from heartline.registry.alias_history import Move
from stack import console
from stack.clients.airflow import Airflow
from stack.commands import train
from stack.errors import UsageError, WorkError
from stack.processes.lifecycle import Stack

PARAMS = {
    "source": {"schema": {"type": "string"}},
    "query": {"schema": {"type": ["null", "string"]}},
    "seed": {"schema": {"type": "integer"}},
    "profile": {"schema": {"enum": ["quick", "full"]}},
}


def test_assignments_are_split_at_the_first_equals_sign():
    given = train.assignments(["query=SELECT 1 WHERE a=b", "seed=3"])
    assert given == {"query": "SELECT 1 WHERE a=b", "seed": "3"}


@pytest.mark.parametrize("argument", ["profile", "=quick", ""])
def test_an_assignment_of_another_form_is_refused(argument):
    with pytest.raises(UsageError, match="sets nothing"):
        train.assignments([argument])


def test_a_source_among_them_is_checked(tmp_path):
    with pytest.raises(UsageError, match="does not exist"):
        train.assignments([f"source={tmp_path / 'none.csv'}"])


def test_values_get_the_type_of_the_schema():
    given = {"source": "123", "query": "null", "seed": "7", "profile": "quick"}
    assert train.typed(given, PARAMS) == {"source": "123", "query": None, "seed": 7, "profile": "quick"}


def test_what_is_no_number_is_left_for_airflow_to_refuse():
    assert train.typed({"seed": "seven"}, PARAMS) == {"seed": "seven"}


def test_an_unknown_parameter_is_named_with_the_known_ones():
    with pytest.raises(UsageError, match="no parameter 'sourec'") as caught:
        train.typed({"sourec": "uci"}, PARAMS)
    assert caught.value.expected == "one of profile, query, seed, source"


@pytest.fixture
def airflow(settings, answers):
    """A pretended Airflow on the stack's port."""
    server = answers(settings.airflow_port)
    server.answers["POST /auth/token"] = (201, {"access_token": "t"})
    dag = "/api/v2/dags/heart_training"
    run = f"{dag}/dagRuns/r%201"
    server.answers |= {
        f"GET {dag}/details": (200, {"params": PARAMS, "is_paused": False}),
        f"POST {dag}/dagRuns": (200, {"dag_run_id": "r 1"}),
        f"GET {run}": (200, {"state": "success"}),
        f"GET {run}/taskInstances": (200, {"task_instances": []}),
        f"GET {run}/taskInstances/register/xcomEntries/return_value": (200, {"value": {"version": "3"}}),
        f"GET {dag}/dagRuns": (200, {"dag_runs": []}),
    }
    return server


def test_a_run_is_started_with_typed_parameters_and_its_result_returned(settings, airflow):
    result = train.train(Stack.of(settings), {"seed": "7", "profile": "quick"})
    assert result == {"version": "3"}
    (body,) = [asked for what, _, asked in airflow.asked if what.endswith("heart_training/dagRuns")]
    assert body == {"logical_date": None, "conf": {"seed": 7, "profile": "quick"}}


def test_a_run_whose_models_miss_the_bars_is_a_failure_with_its_reason(settings, airflow):
    path = "GET /api/v2/dags/heart_training/dagRuns/r%201/taskInstances/register/xcomEntries/return_value"
    missed = {"version": None, "reason": "No model passes the minimum bars.", "versions": {"a": "4", "b": "5"}}
    airflow.answers[path] = (200, {"value": missed})
    with pytest.raises(WorkError, match="good enough for `staging`: No model passes the minimum bars") as caught:
        train.train(Stack.of(settings), {})
    assert "it registered the versions 4, 5" in caught.value.where


def test_a_run_that_registers_nothing_is_a_failure(settings, airflow):
    airflow.answers["GET /api/v2/dags/heart_training/dagRuns/r%201/taskInstances/register/xcomEntries/return_value"] = (
        404,
        {},
    )
    with pytest.raises(WorkError, match="registered no version"):
        train.train(Stack.of(settings), {})


def test_a_paused_dag_is_not_waited_for(settings, airflow):
    airflow.answers["GET /api/v2/dags/heart_training/details"] = (200, {"params": {}, "is_paused": True})
    with pytest.raises(UsageError, match="is paused"):
        train.train(Stack.of(settings), {})


def test_a_dag_file_that_cannot_be_imported_is_shown(settings, airflow):
    airflow.answers["GET /api/v2/dags/heart_training/details"] = (404, {"detail": "not found"})
    problem = {"filename": "heart_training.py", "stack_trace": "Traceback\n  …\nSyntaxError: invalid syntax\n"}
    airflow.answers["GET /api/v2/importErrors"] = (200, {"import_errors": [problem]})
    with pytest.raises(WorkError, match="cannot be imported") as caught:
        train.train(Stack.of(settings), {})
    assert caught.value.where == "heart_training.py: SyntaxError: invalid syntax"


def test_a_refused_parameter_is_said_without_its_schema(settings, airflow):
    detail = "Invalid input for param seed: -1 is less than the minimum of 0\n\nFailed validating …"
    airflow.answers["POST /api/v2/dags/heart_training/dagRuns"] = (400, {"detail": detail})
    with pytest.raises(UsageError) as caught:
        train.train(Stack.of(settings), {"seed": "-1"})
    assert caught.value.what.endswith("seed: -1 is less than the minimum of 0")


def test_a_run_that_is_under_way_is_joined(settings, airflow):
    assert train.join(Stack.of(settings)) is None
    airflow.answers["GET /api/v2/dags/heart_training/dagRuns"] = (200, {"dag_runs": [{"dag_run_id": "r 1"}]})
    assert train.join(Stack.of(settings)) == {"version": "3"}


def test_the_token_is_renewed_when_it_has_expired(settings, airflow):
    path = "GET /api/v2/dags/heart_training/dagRuns/r%201"
    airflow.answers[path] = [(401, {}), (200, {"state": "running"})]
    assert Airflow(settings.airflow_url, "pw").run("heart_training", "r 1")["state"] == "running"
    assert [what for what, _, _ in airflow.asked] == ["POST /auth/token", path, "POST /auth/token", path]


class Mlflow:
    """A pretended registry."""

    path = "/api/2.0/mlflow/"

    def __init__(self, server):
        self.server = server
        server.answers |= {
            f"POST {self.path}registered-models/alias": (200, {}),
            f"POST {self.path}registered-models/set-tag": (200, {}),
        }

    def holds(self, production, tags=None, **looked_up):
        """Say where production is; ``looked_up`` are the origins of versions, in the order of being asked for."""
        aliases = [{"alias": "production", "version": production}] if production else []
        listed = [{"key": key, "value": value} for key, value in (tags or {}).items()]
        model = {"registered_model": {"name": "heart-disease", "aliases": aliases, "tags": listed}}
        self.server.answers[f"GET {self.path}registered-models/get"] = (200, model)
        self.server.answers[f"GET {self.path}registered-models/alias"] = (200, {"model_version": {"version": "4"}})
        self.server.answers[f"GET {self.path}model-versions/get"] = [
            (200, {"model_version": {"version": name[1:], "tags": [{"key": "origin", "value": origin}]}})
            for name, origin in looked_up.items()
        ]

    def written(self):
        """What was written, in its order."""
        return [
            asked | {"value": json.loads(asked["value"])} if "value" in asked else asked
            for what, _, asked in self.server.asked
            if what.startswith("POST")
        ]


@pytest.fixture
def registry(settings, answers):
    return Mlflow(answers(settings.mlflow_port))


def told(*versions, how="promote"):
    """Tags of a history in which production went from version to version."""
    moves = [
        Move(datetime(2026, 3, day, tzinfo=UTC), before, after, "bea", how)
        for day, (before, after) in enumerate(pairwise(["", *versions]), 1)
    ]
    return {move.key: json.dumps(move.as_dict()) for move in moves}


def test_promote_takes_the_staged_version_and_notes_who_did(settings, registry, monkeypatch):
    monkeypatch.setenv("LOGNAME", "anna")
    registry.holds("2", told("2"), v4="uci", _4="uci", v2="uci")
    assert train.promote(Stack.of(settings), None) == "4"
    alias, tag = registry.written()
    assert alias == {"name": "heart-disease", "alias": "production", "version": "4"}
    assert tag["name"] == "heart-disease"
    assert tag["key"] == "heartline.production." + tag["value"].pop("when")
    assert tag["value"] == {"from": "2", "to": "4", "by": "anna", "how": "promote", "forced": False}


def test_promote_of_what_is_in_production_writes_nothing(settings, registry):
    registry.holds("4", told("4"), v4="uci")
    assert train.promote(Stack.of(settings), "04") == "4"
    assert registry.written() == []


def test_the_sample_replaces_real_data_only_when_forced(settings, registry):
    registry.holds("2", told("2"), v4="sample", _4="sample", v2="uci")
    with pytest.raises(UsageError) as caught:
        train.promote(Stack.of(settings), "4")
    assert caught.value.code == 2
    assert caught.value.what == (
        "version 4 was trained on the synthetic sample, and version 2 in production was not (its origin: uci)"
    )
    assert caught.value.hint == "name another version, or add --force where this is meant"
    assert registry.written() == []

    registry.holds("2", told("2"), v4="sample", _4="sample", v2="uci")
    assert train.promote(Stack.of(settings), "4", force=True) == "4"
    alias, tag = registry.written()
    assert alias["version"] == "4"
    assert tag["value"]["forced"] is True


def test_a_refusal_of_mlflow_is_no_move(settings, registry):
    registry.holds("", v4="uci")
    registry.server.answers["POST /api/2.0/mlflow/registered-models/alias"] = (500, {"error_code": "INTERNAL_ERROR"})
    with pytest.raises(WorkError, match="MLflow refused the request \\(500\\)"):
        train.promote(Stack.of(settings), "4")
    assert len(registry.written()) == 1


def test_rollback_puts_the_version_before_back(settings, registry):
    registry.holds("3", told("1", "2", "3"), v2="uci", _2="uci", v3="uci")
    assert train.rollback(Stack.of(settings)) == "2"
    alias, tag = registry.written()
    assert alias["version"] == "2"
    assert [tag["value"][name] for name in ("from", "to", "how")] == ["3", "2", "rollback"]


def test_rollback_undoes_nothing_that_came_after_it_looked(settings, registry):
    registry.holds("4", told("1", "2", "3", "4"))
    later = registry.server.answers[f"GET {registry.path}registered-models/get"]
    registry.holds("3", told("1", "2", "3"), v2="uci")
    looked = f"GET {registry.path}registered-models/get"
    registry.server.answers[looked] = [registry.server.answers[looked], later]
    with pytest.raises(UsageError) as caught:
        train.rollback(Stack.of(settings))
    assert caught.value.what == ("production changed since the decision: it was at version 3 and is at version 4 now")
    assert caught.value.hint == "look at the history, and decide anew"
    assert registry.written() == []


def test_rollback_of_a_move_that_was_made_in_mlflow_notes_that_first(settings, registry):
    registry.holds("3", told("1"), v1="uci", _1="uci", v3="uci")
    assert train.rollback(Stack.of(settings)) == "1"
    found, *_, alias, _ = registry.written()
    assert [found["value"][name] for name in ("from", "to", "by")] == ["1", "3", "unknown"]
    assert alias["version"] == "1"


@pytest.mark.parametrize("versions", [(), ("3",)])
def test_rollback_without_a_version_before(settings, registry, versions):
    registry.holds(versions[-1] if versions else "", told(*versions))
    with pytest.raises(UsageError, match="there is nothing to go back to") as caught:
        train.rollback(Stack.of(settings))
    assert caught.value.code == 2
    assert registry.written() == []


def test_rollback_before_anything_was_registered(settings, registry):
    absent = (404, {"error_code": "RESOURCE_DOES_NOT_EXIST"})
    registry.server.answers["GET /api/2.0/mlflow/registered-models/get"] = absent
    with pytest.raises(UsageError, match="there is nothing to go back to"):
        train.rollback(Stack.of(settings))


def test_rollback_to_a_version_that_was_deleted_is_left_to_a_person(settings, registry):
    registry.holds("3", told("2", "3"))
    registry.server.answers["GET /api/2.0/mlflow/model-versions/get"] = (
        404,
        {"error_code": "RESOURCE_DOES_NOT_EXIST"},
    )
    with pytest.raises(UsageError, match="version 2, which was in production before, was deleted") as caught:
        train.rollback(Stack.of(settings))
    assert caught.value.hint == "look at the history, and promote a version by its number"
    assert registry.written() == []


def test_rollback_is_guarded_as_a_promotion_is(settings, registry):
    registry.holds("3", told("2", "3"), v2="sample", _2="sample", v3="file")
    with pytest.raises(UsageError, match="version 2 was trained on the synthetic sample"):
        train.rollback(Stack.of(settings))
    assert registry.written() == []


def test_a_user_without_a_name_is_a_number(settings, registry, monkeypatch):
    def nameless():
        raise OSError("No username set in the environment")

    monkeypatch.setattr(train.getpass, "getuser", nameless)
    registry.holds("", v4="uci")
    train.promote(Stack.of(settings), "4")
    assert registry.written()[1]["value"]["by"] == f"user {os.getuid()}"


@pytest.mark.parametrize("code", ["RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"])
def test_promote_without_a_staged_version(settings, answers, code):
    answers(settings.mlflow_port).answers["GET /api/2.0/mlflow/registered-models/alias"] = (404, {"error_code": code})
    with pytest.raises(UsageError, match="no version to promote"):
        train.promote(Stack.of(settings), None)


@pytest.mark.parametrize("version", ["99", "latest", "²", "٣"])
def test_promote_of_a_version_that_is_not_there_moves_nothing(settings, answers, version):
    server = answers(settings.mlflow_port)
    server.answers["GET /api/2.0/mlflow/model-versions/get"] = (404, {"error_code": "RESOURCE_DOES_NOT_EXIST"})
    with pytest.raises(UsageError, match=f"no version '{version}'"):
        train.promote(Stack.of(settings), version)
    assert not [what for what, _, _ in server.asked if what.startswith("POST")]


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    monkeypatch.setattr(console.err, "quiet", True)
