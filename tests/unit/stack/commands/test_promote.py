"""`promote` and `rollback` against a fake registry."""

import os

import pytest

from heartline.registry.production import alias_history
from stack.clients.mlflow import Registry
from stack.commands import promote
from stack.errors import UsageError, WorkError
from tests.memory_ledger import MemoryLedger
from tests.unit.stack.fake_registry import ABSENT, API, FakeRegistry, legacy_history


@pytest.fixture
def registry(settings):
    return Registry(settings.mlflow_url, ledger=MemoryLedger())


@pytest.fixture
def holds(settings, answers, registry):
    """Return a function that makes a registry with these versions, whose production moved through some of them."""

    def make(*moved, production=None, staging="", **origins):
        fake = FakeRegistry(
            answers(settings.mlflow_port),
            {name.removeprefix("v"): origin for name, origin in origins.items()},
            production if production is not None else (moved[-1] if moved else ""),
            staging,
            legacy_history(*moved),
        )
        fake.ledger = registry.ledger
        return fake

    return make


def test_promote_uses_the_staged_version_and_records_the_user(registry, holds):
    fake = holds("2", v2="uci", v4="uci", staging="4")
    assert promote.promote(registry, None, by="anna") == "4"
    assert fake.aliases["production"] == "4"
    assert fake.moves() == [("", "2", "bea", "promote"), ("2", "4", "anna", "promote")]
    assert [one.kind for one in registry.ledger.kept] == ["moved", "moving", "moved"]
    assert fake.written()[-2:] == [("alias", "4"), ("set-experiment-tag", alias_history.HEAD)]
    assert alias_history.noted_head(fake.kept) == registry.ledger.head()


def test_promoting_the_version_in_production_moves_nothing(registry, holds):
    fake = holds("4", v4="uci")
    assert promote.promote(registry, "04", by="anna") == "4"
    assert fake.moves() == [("", "4", "bea", "promote")]
    assert ("alias", "4") not in fake.written()


@pytest.mark.parametrize(
    ("tags", "warning"),
    [
        ({}, ""),
        ({"caution": "none"}, ""),
        (
            {"caution": "this comparison is no look"},
            "warning: a run would not have promoted version 4 on its last comparison: this comparison is no look",
        ),
    ],
    ids=["earlier version", "evidence", "no look"],
)
def test_a_version_whose_comparison_does_not_suffice_is_promoted_with_a_warning(registry, holds, tags, warning):
    fake = holds("2", v2="uci", v4="uci")
    fake.version_tags["4"] = tags
    assert promote.promote(registry, "4", by="anna") == "4"
    assert promote.warning(registry, "4") == warning


def test_a_registry_that_is_away_after_the_move_gives_no_warning_and_no_error(registry):
    assert promote.warning(registry, "4") == ""


def test_the_sample_replaces_real_data_only_when_forced(registry, holds):
    fake = holds("2", v2="uci", v4="sample")
    with pytest.raises(UsageError) as caught:
        promote.promote(registry, "4", by="anna")
    assert caught.value.code == 2
    assert caught.value.what == (
        "version 4 was trained on the synthetic sample, and version 2 in production was not (its origin: uci)"
    )
    assert caught.value.hint == "name another version, or add --force to replace it nevertheless"
    assert fake.aliases["production"] == "2"
    assert promote.promote(registry, "4", force=True, by="anna") == "4"
    assert fake.aliases["production"] == "4"
    assert registry.ledger.kept[-1].facts["forced"] is True


@pytest.mark.parametrize("how", ["the alias", "the alias, noticed", "the version", "the model", "moved by hand"])
def test_the_sample_does_not_replace_what_was_last_in_production(registry, holds, how):
    # given a real model that was in production until somebody changed something in MLflow
    fake = holds("2", v2="uci", v3="sample", v4="sample")
    promote.moves(registry)
    fake.aliases["production"] = "3" if how == "moved by hand" else ""
    if how == "the version":
        del fake.origins["2"]
    if how == "the model":
        fake.tags = {}  # of the one that was made again
    if how == "the alias, noticed":
        promote.moves(registry)
    # then
    with pytest.raises(UsageError, match="version 2, which was in production before, was not \\(its origin: uci\\)"):
        promote.promote(registry, "4", by="anna")
    assert fake.aliases["production"] != "4"
    assert promote.promote(registry, "4", by="anna", force=True) == "4"


def test_the_sample_does_not_replace_what_the_service_serves(settings, holds, answers):
    holds(v4="sample")
    service = answers(settings.service_port)
    service.answers["GET /readyz"] = (200, {"model": {"version": "1", "origin": "uci"}})
    registry = Registry(settings.mlflow_url, readyz_url=f"{settings.service_url}/readyz", ledger=MemoryLedger())
    with pytest.raises(UsageError, match="version 1, which the service serves, was not"):
        promote.promote(registry, "4", by="anna")


@pytest.mark.parametrize("answer", [None, (503, {"title": "not ready"}), (200, "no JSON"), (200, {"model": None})])
def test_a_service_that_says_nothing_holds_back_nothing(settings, holds, answers, answer):
    holds(v4="sample")
    if answer:
        answers(settings.service_port).answers["GET /readyz"] = answer
    registry = Registry(settings.mlflow_url, readyz_url=f"{settings.service_url}/readyz", ledger=MemoryLedger())
    assert promote.promote(registry, "4", by="anna") == "4"


@pytest.mark.parametrize(
    ("name", "data", "damage"),
    [
        ("model.onnx", None, "model.onnx is missing"),
        ("model.onnx", b"other", "model.onnx differs from the file that was registered (5 bytes found)"),
        ("manifest.json", None, "manifest.json is missing"),
        ("MLmodel", b"", "MLmodel differs from the file that was registered (0 bytes found)"),
    ],
)
def test_a_version_whose_files_are_lost_is_not_promoted_and_nothing_rolls_back_to_it(
    registry, holds, name, data, damage
):
    fake = holds("2", "3", v2="uci", v3="uci")
    fake.files["2"] = {name: data}
    for command in (
        lambda: promote.promote(registry, "2", by="anna", force=True),
        lambda: promote.rollback(registry, by="anna"),
    ):
        with pytest.raises(WorkError) as caught:
            command()
        assert caught.value.what == f"version 2 cannot be downloaded: {damage}"
        assert "train again on the same records" in caught.value.hint
    assert fake.aliases["production"] == "3"


def test_a_move_that_mlflow_refuses_is_not_recorded(registry, holds):
    fake = holds(v4="uci")
    fake.server.answers[f"POST {API}registered-models/alias"] = (500, {"error_code": "INTERNAL_ERROR"})
    with pytest.raises(WorkError, match="MLflow refused the request \\(500\\)"):
        promote.promote(registry, "4", by="anna")
    assert fake.moves() == []


def test_a_promotion_is_refused_if_production_moved_since_the_command_started(registry, holds):
    fake = holds("2", v2="uci", v3="uci", v4="uci")
    fake.before_read = lambda number: fake.aliases.update(production="3") if number == 2 else None
    with pytest.raises(UsageError, match="it was at version 2 and is at version 3 now") as caught:
        promote.promote(registry, "4", by="anna")
    assert caught.value.hint == "see the history, then decide again"
    assert fake.moves()[-1][:2] == ("2", "3")


def test_rollback_puts_the_version_before_back(registry, holds):
    fake = holds("1", "2", "3", v1="uci", v2="uci", v3="uci")
    assert promote.rollback(registry, by="anna") == "2"
    assert fake.moves()[-1] == ("3", "2", "anna", "rollback")


def test_rollback_is_refused_if_production_moved_since_it_was_read(registry, holds):
    fake = holds("1", "2", "3", v1="uci", v2="uci", v3="uci", v4="uci")
    fake.before_read = lambda number: fake.aliases.update(production="4") if number == 2 else None
    with pytest.raises(UsageError) as caught:
        promote.rollback(registry, by="anna")
    assert caught.value.what == ("production changed since the decision: it was at version 3 and is at version 4 now")
    assert caught.value.hint == "see the history, then decide again"
    assert fake.aliases["production"] == "4"


def test_rollback_records_a_move_made_in_mlflow_first(registry, holds):
    fake = holds("1", production="3", v1="uci", v3="uci")
    assert promote.rollback(registry, by="anna") == "1"
    assert fake.moves()[1:] == [
        ("1", "3", "unknown", "moved outside (MLflow's UI or API)"),
        ("3", "1", "anna", "rollback"),
    ]


@pytest.mark.parametrize("versions", [(), ("3",)])
def test_rollback_without_a_version_before(registry, holds, versions):
    holds(*versions, v3="uci")
    with pytest.raises(UsageError, match="there is no previous version") as caught:
        promote.rollback(registry, by="anna")
    assert caught.value.code == 2


def test_rollback_before_anything_was_registered(registry, holds):
    fake = holds()
    fake.tags = None
    with pytest.raises(UsageError, match="there is no previous version"):
        promote.rollback(registry, by="anna")
    assert fake.written() == []


def test_rollback_to_a_deleted_version_is_refused(registry, holds):
    fake = holds("2", "3", v3="uci")
    with pytest.raises(UsageError, match="version 2, which was in production before, was deleted") as caught:
        promote.rollback(registry, by="anna")
    assert caught.value.hint == "see the history, and promote a version by its number"
    assert fake.aliases["production"] == "3"


def test_rollback_to_a_sample_model_is_refused_like_a_promotion(registry, holds):
    fake = holds("2", "3", v2="sample", v3="file")
    with pytest.raises(UsageError, match="version 2 was trained on the synthetic sample"):
        promote.rollback(registry, by="anna")
    assert fake.aliases["production"] == "3"


def test_the_current_user_is_the_login_name(monkeypatch):
    monkeypatch.setenv("LOGNAME", "anna")
    assert promote.current_user() == "anna"


def test_a_user_without_a_name_is_a_number(monkeypatch):
    def nameless():
        raise OSError("No username set in the environment")

    monkeypatch.setattr(promote.getpass, "getuser", nameless)
    assert promote.current_user() == f"user {os.getuid()}"


def test_promote_without_a_staged_version(registry, holds):
    holds()
    with pytest.raises(UsageError, match="no version to promote"):
        promote.promote(registry, None, by="anna")


def test_mlflow_reports_a_missing_alias_as_an_invalid_parameter(registry, holds):
    fake = holds()
    fake.server.answers[f"GET {API}registered-models/alias"] = (400, {"error_code": "INVALID_PARAMETER_VALUE"})
    with pytest.raises(UsageError, match="no version to promote"):
        promote.promote(registry, None, by="anna")


@pytest.mark.parametrize("version", ["99", "latest", "²", "٣"])
def test_promoting_a_missing_version_moves_nothing(registry, holds, version):
    fake = holds()
    fake.server.answers[f"GET {API}model-versions/get"] = ABSENT
    with pytest.raises(UsageError, match=f"no version '{version}'"):
        promote.promote(registry, version, by="anna")
    assert fake.written() == []
