"""`promote` and `rollback` against a fake registry."""

import json
import os
from datetime import UTC, datetime
from itertools import pairwise

import pytest

from heartline.registry.alias_history import Move
from stack.clients.mlflow import Registry
from stack.commands import promote
from stack.errors import UsageError, WorkError


class Mlflow:
    """A fake registry."""

    path = "/api/2.0/mlflow/"

    def __init__(self, server):
        self.server = server
        server.answers |= {
            f"POST {self.path}registered-models/alias": (200, {}),
            f"POST {self.path}registered-models/set-tag": (200, {}),
        }

    def holds(self, production, tags=None, **looked_up):
        """Set the version in production; ``looked_up`` are the origins of versions, in the order of the requests."""
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
        """Return the bodies of the write requests, in their order."""
        return [
            asked | {"value": json.loads(asked["value"])} if "value" in asked else asked
            for what, _, asked in self.server.asked
            if what.startswith("POST")
        ]


@pytest.fixture
def registry(settings, answers):
    return Mlflow(answers(settings.mlflow_port))


def history(*versions, how="promote"):
    """Return the tags of a history in which production moved from version to version."""
    moves = [
        Move(datetime(2026, 3, day, tzinfo=UTC), before, after, "bea", how)
        for day, (before, after) in enumerate(pairwise(["", *versions]), 1)
    ]
    return {move.key: json.dumps(move.as_dict()) for move in moves}


def test_promote_uses_the_staged_version_and_records_the_user(settings, registry):
    registry.holds("2", history("2"), v4="uci", _4="uci", v2="uci")
    assert promote.promote(Registry(settings.mlflow_url), None, by="anna") == "4"
    alias, tag = registry.written()
    assert alias == {"name": "heart-disease", "alias": "production", "version": "4"}
    assert tag["name"] == "heart-disease"
    assert tag["key"] == "heartline.production." + tag["value"].pop("when")
    assert tag["value"] == {"from": "2", "to": "4", "by": "anna", "how": "promote", "forced": False}


def test_promoting_the_version_in_production_writes_nothing(settings, registry):
    registry.holds("4", history("4"), v4="uci")
    assert promote.promote(Registry(settings.mlflow_url), "04", by="anna") == "4"
    assert registry.written() == []


def test_the_sample_replaces_real_data_only_when_forced(settings, registry):
    registry.holds("2", history("2"), v4="sample", _4="sample", v2="uci")
    with pytest.raises(UsageError) as caught:
        promote.promote(Registry(settings.mlflow_url), "4", by="anna")
    assert caught.value.code == 2
    assert caught.value.what == (
        "version 4 was trained on the synthetic sample, and version 2 in production was not (its origin: uci)"
    )
    assert caught.value.hint == "name another version, or add --force to replace it nevertheless"
    assert registry.written() == []

    registry.holds("2", history("2"), v4="sample", _4="sample", v2="uci")
    assert promote.promote(Registry(settings.mlflow_url), "4", force=True, by="anna") == "4"
    alias, tag = registry.written()
    assert alias["version"] == "4"
    assert tag["value"]["forced"] is True


def test_a_move_that_mlflow_refuses_is_not_recorded(settings, registry):
    registry.holds("", v4="uci")
    registry.server.answers["POST /api/2.0/mlflow/registered-models/alias"] = (500, {"error_code": "INTERNAL_ERROR"})
    with pytest.raises(WorkError, match="MLflow refused the request \\(500\\)"):
        promote.promote(Registry(settings.mlflow_url), "4", by="anna")
    assert len(registry.written()) == 1


def test_rollback_puts_the_version_before_back(settings, registry):
    registry.holds("3", history("1", "2", "3"), v2="uci", _2="uci", v3="uci")
    assert promote.rollback(Registry(settings.mlflow_url), by="anna") == "2"
    alias, tag = registry.written()
    assert alias["version"] == "2"
    assert [tag["value"][name] for name in ("from", "to", "how")] == ["3", "2", "rollback"]


def test_rollback_is_refused_if_production_moved_since_it_was_read(settings, registry):
    registry.holds("4", history("1", "2", "3", "4"))
    later = registry.server.answers[f"GET {registry.path}registered-models/get"]
    registry.holds("3", history("1", "2", "3"), v2="uci")
    looked = f"GET {registry.path}registered-models/get"
    registry.server.answers[looked] = [registry.server.answers[looked], later]
    with pytest.raises(UsageError) as caught:
        promote.rollback(Registry(settings.mlflow_url), by="anna")
    assert caught.value.what == ("production changed since the decision: it was at version 3 and is at version 4 now")
    assert caught.value.hint == "see the history, then decide again"
    assert registry.written() == []


def test_rollback_records_a_move_made_in_mlflow_first(settings, registry):
    registry.holds("3", history("1"), v1="uci", _1="uci", v3="uci")
    assert promote.rollback(Registry(settings.mlflow_url), by="anna") == "1"
    found, *_, alias, _ = registry.written()
    assert [found["value"][name] for name in ("from", "to", "by")] == ["1", "3", "unknown"]
    assert alias["version"] == "1"


@pytest.mark.parametrize("versions", [(), ("3",)])
def test_rollback_without_a_version_before(settings, registry, versions):
    registry.holds(versions[-1] if versions else "", history(*versions))
    with pytest.raises(UsageError, match="there is no previous version") as caught:
        promote.rollback(Registry(settings.mlflow_url), by="anna")
    assert caught.value.code == 2
    assert registry.written() == []


def test_rollback_before_anything_was_registered(settings, registry):
    absent = (404, {"error_code": "RESOURCE_DOES_NOT_EXIST"})
    registry.server.answers["GET /api/2.0/mlflow/registered-models/get"] = absent
    with pytest.raises(UsageError, match="there is no previous version"):
        promote.rollback(Registry(settings.mlflow_url), by="anna")


def test_rollback_to_a_deleted_version_is_refused(settings, registry):
    registry.holds("3", history("2", "3"))
    registry.server.answers["GET /api/2.0/mlflow/model-versions/get"] = (
        404,
        {"error_code": "RESOURCE_DOES_NOT_EXIST"},
    )
    with pytest.raises(UsageError, match="version 2, which was in production before, was deleted") as caught:
        promote.rollback(Registry(settings.mlflow_url), by="anna")
    assert caught.value.hint == "see the history, and promote a version by its number"
    assert registry.written() == []


def test_rollback_to_a_sample_model_is_refused_like_a_promotion(settings, registry):
    registry.holds("3", history("2", "3"), v2="sample", _2="sample", v3="file")
    with pytest.raises(UsageError, match="version 2 was trained on the synthetic sample"):
        promote.rollback(Registry(settings.mlflow_url), by="anna")
    assert registry.written() == []


def test_the_current_user_is_the_login_name(monkeypatch):
    monkeypatch.setenv("LOGNAME", "anna")
    assert promote.current_user() == "anna"


def test_a_user_without_a_name_is_a_number(monkeypatch):
    def nameless():
        raise OSError("No username set in the environment")

    monkeypatch.setattr(promote.getpass, "getuser", nameless)
    assert promote.current_user() == f"user {os.getuid()}"


@pytest.mark.parametrize("code", ["RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"])
def test_promote_without_a_staged_version(settings, answers, code):
    answers(settings.mlflow_port).answers["GET /api/2.0/mlflow/registered-models/alias"] = (404, {"error_code": code})
    with pytest.raises(UsageError, match="no version to promote"):
        promote.promote(Registry(settings.mlflow_url), None, by="anna")


@pytest.mark.parametrize("version", ["99", "latest", "²", "٣"])
def test_promoting_a_missing_version_moves_nothing(settings, answers, version):
    server = answers(settings.mlflow_port)
    server.answers["GET /api/2.0/mlflow/model-versions/get"] = (404, {"error_code": "RESOURCE_DOES_NOT_EXIST"})
    with pytest.raises(UsageError, match=f"no version '{version}'"):
        promote.promote(Registry(settings.mlflow_url), version, by="anna")
    assert not [what for what, _, _ in server.asked if what.startswith("POST")]
