"""The history of production: its rules with a fake registry, then its storage in a real MLflow."""

import json
from datetime import UTC, datetime, timedelta

import mlflow
import pytest
from mlflow.exceptions import MlflowException

from heartline import contract
from heartline.errors import RegistryError
from heartline.registry import alias_history, mlflow_registry, runs
from heartline.registry.alias_history import EXTERNAL, PROMOTE, ROLLBACK, RUN, Move, MoveOutcome

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
ORIGINS = {"1": "uci", "2": "file", "3": "sample", "4": "sample", "5": ""}


class Model:
    """A registered model with five versions, which remembers in which order it was written to."""

    def __init__(self, production=""):
        self.production = production
        self.tags = {"owner": "anna"}
        self.written = []
        self.broken = False

    def production_and_tags(self):
        return self.production, dict(self.tags)

    def origin(self, version):
        return ORIGINS[version]

    def set_production(self, version):
        self.written.append(f"alias {version}")
        self.production = version

    def set_tag(self, key, value):
        if self.broken:
            raise ConnectionError
        self.written.append("tag")
        assert key not in self.tags
        self.tags[key] = value

    def moves(self):
        return [(one.before, one.after, one.by, one.how) for one in alias_history.read(self.tags)]


def move(model, version, how=PROMOTE, at=NOON, **more):
    return alias_history.move(model, version, by="anna", how=how, now=at, **more)


def rollback(model):
    version = alias_history.rollback_target(alias_history.read(model.tags))
    move(model, version, ROLLBACK)
    return version


def test_a_move_is_one_tag_named_after_its_time():
    model = Model()
    outcome = move(model, "1")
    assert outcome == MoveOutcome(Move(NOON, "", "1", "anna", "promote"))
    assert json.loads(model.tags["heartline.production.2026-03-01T12:00:00.000000Z"]) == {
        "when": "2026-03-01T12:00:00.000000Z",
        "from": None,
        "to": "1",
        "by": "anna",
        "how": "promote",
        "forced": False,
    }
    assert alias_history.read(model.tags) == [outcome.move]


def test_the_alias_comes_first():
    model = Model()
    move(model, "1")
    assert model.written == ["alias 1", "tag"]


def test_the_version_that_is_there_is_not_moved():
    model = Model()
    move(model, "1")
    assert move(model, "1") == MoveOutcome()
    assert model.written == ["alias 1", "tag"]


def test_an_external_move_is_recorded_by_the_next_reader():
    model = Model()
    move(model, "1")
    model.production = "2"
    later = NOON + timedelta(hours=1)
    production, moves = alias_history.record_external_moves(model, later)
    assert production == "2"
    assert moves[1:] == [Move(later, "1", "2", "unknown", EXTERNAL)]
    assert alias_history.record_external_moves(model, later) == ("2", moves), "and once only"


def test_a_move_records_an_external_move_before_it():
    model = Model("1")
    move(model, "2")
    assert model.moves() == [("", "1", "unknown", EXTERNAL), ("1", "2", "anna", PROMOTE)]


def test_a_removed_alias_is_recorded_too():
    model = Model()
    move(model, "1")
    model.production = ""
    move(model, "2")
    assert model.moves()[1:] == [("1", "", "unknown", EXTERNAL), ("", "2", "anna", PROMOTE)]


def test_a_process_that_ends_between_alias_and_tag_leaves_a_history_without_gap():
    model = Model()
    move(model, "1")
    model.broken = True
    with pytest.raises(ConnectionError):
        move(model, "2")
    model.broken = False
    assert move(model, "2") == MoveOutcome()
    assert model.moves()[1:] == [("1", "2", "unknown", EXTERNAL)]


def test_nothing_is_recorded_if_nothing_was_ever_in_production():
    model = Model()
    assert alias_history.record_external_moves(model, NOON) == ("", [])
    assert model.written == []


def test_order_is_kept_by_a_clock_that_goes_back():
    model = Model()
    move(model, "1")
    move(model, "2", at=NOON - timedelta(days=1))
    move(model, "1", at=NOON - timedelta(days=2))
    assert [one.after for one in alias_history.read(model.tags)] == ["1", "2", "1"]
    assert alias_history.record_external_moves(model, NOON)[1][-1].by == "anna", (
        "none of them looks like one from outside"
    )


@pytest.mark.parametrize(
    "text",
    ["", "no JSON", "[]", "null", "{}", '{"when": "today", "from": null, "to": "1", "by": "anna", "how": "promote"}'],
)
def test_a_tag_that_cannot_be_parsed_is_skipped(text):
    model = Model()
    move(model, "1")
    model.tags[alias_history.PREFIX + "2027"] = text
    assert model.moves() == [("", "1", "anna", PROMOTE)]


def test_each_rollback_goes_one_move_further_back():
    model = Model()
    for version in ("1", "2", "1", "5"):
        move(model, version)
    assert [rollback(model) for _ in range(3)] == ["1", "2", "1"]
    assert alias_history.rollback_target(alias_history.read(model.tags)) is None


def test_after_a_rollback_the_next_promotion_is_what_a_rollback_undoes():
    model = Model()
    for version in ("1", "2"):
        move(model, version)
    assert rollback(model) == "1"
    move(model, "5")
    assert rollback(model) == "1"
    assert alias_history.rollback_target(alias_history.read(model.tags)) is None


def test_a_rollback_undoes_an_external_move():
    model = Model()
    move(model, "1")
    model.production = "2"
    alias_history.record_external_moves(model, NOON)
    assert rollback(model) == "1"


@pytest.mark.parametrize(("again", "back"), [("2", "1"), ("1", None)])
def test_a_rollback_never_goes_back_to_no_model(again, back):
    model = Model()
    move(model, "1")
    model.production = ""
    move(model, again)
    assert alias_history.rollback_target(alias_history.read(model.tags)) == back


def test_a_rollback_restores_a_removed_alias():
    model = Model()
    move(model, "1")
    model.production = ""
    alias_history.record_external_moves(model, NOON)
    assert rollback(model) == "1"
    assert alias_history.rollback_target(alias_history.read(model.tags)) is None


@pytest.mark.parametrize("moved", [[], ["1"]])
def test_without_an_earlier_version_there_is_no_rollback_target(moved):
    model = Model()
    for version in moved:
        move(model, version)
    assert alias_history.rollback_target(alias_history.read(model.tags)) is None


@pytest.mark.parametrize(("there", "origin"), [("1", "uci"), ("5", "unknown")])
def test_the_sample_does_not_replace_real_data(there, origin):
    model = Model(there)
    outcome = move(model, "3", RUN)
    assert outcome == MoveOutcome(
        refused="version 3 was trained on the synthetic sample, "
        f"and version {there} in production was not (its origin: {origin})",
        forcible=True,
    )
    assert model.production == there
    assert model.moves() == [("", there, "unknown", EXTERNAL)]


@pytest.mark.parametrize(("there", "version"), [("", "3"), ("3", "4"), ("3", "1"), ("1", "2"), ("1", "5"), ("3", "5")])
def test_every_other_replacement_is_allowed(there, version):
    model = Model(there)
    assert move(model, version).refused == ""
    assert model.production == version


def test_a_move_is_recorded_as_forced_only_if_force_was_needed():
    model = Model("1")
    assert move(model, "2", force=True).move.forced is False
    assert move(model, "3", force=True).move.forced is True
    assert [one.forced for one in alias_history.read(model.tags)] == [False, False, True]


@pytest.mark.parametrize(
    ("expected", "there", "change"),
    [
        ("1", "5", "it was at version 1 and is at version 5 now"),
        ("", "5", "it was at no version and is at version 5 now"),
        ("1", "", "it was at version 1 and is at no version now"),
    ],
)
@pytest.mark.parametrize("force", [False, True])
def test_a_move_is_refused_if_production_changed_since_the_decision(expected, there, change, force):
    model = Model()
    if there:
        move(model, there)
    assert move(model, "2", expected=expected, force=force) == MoveOutcome(
        refused=f"production changed since the decision: {change}"
    )
    assert model.production == there


@pytest.mark.parametrize("there", ["", "1"])
def test_a_move_is_made_if_production_did_not_change_since_the_decision(there):
    model = Model(there)
    assert move(model, "2", expected=there).refused == ""
    assert model.production == "2"


def test_a_retried_task_after_its_own_move_is_not_refused():
    model = Model("1")
    move(model, "2", expected="1")
    assert move(model, "2", expected="1") == MoveOutcome()


class ChangedMeanwhile(Model):
    """A registered model whose production changes while the origin of a version is read."""

    def __init__(self, to):
        super().__init__("1")
        self.to = to

    def origin(self, version):
        self.production = self.to
        return super().origin(version)


@pytest.mark.parametrize("expected", [None, "1"])
def test_production_is_read_again_immediately_before_it_is_set(expected):
    model = ChangedMeanwhile("5")
    reason = "production changed since the decision: it was at version 1 and is at version 5 now"
    assert move(model, "2", expected=expected) == MoveOutcome(refused=reason)
    assert model.moves() == [("", "1", "unknown", EXTERNAL)]
    assert model.production == "5"


def test_the_same_move_by_two_writers_is_made_once():
    model = ChangedMeanwhile("2")
    assert move(model, "2") == MoveOutcome()
    assert model.written == ["tag"], "the external move, and no second move"


@pytest.fixture(scope="module")
def versions(mlflow_store, tmp_path_factory):
    """Versions in a real registry, by their origin."""
    source = tmp_path_factory.mktemp("model").as_uri()
    mlflow_store.create_registered_model(contract.MODEL_NAME)
    return {
        origin: str(mlflow_store.create_model_version(contract.MODEL_NAME, source, tags={"origin": origin}).version)
        for origin in ("sample", "uci", "file")
    }


@pytest.fixture
def production(mlflow_store, versions):
    """Production at the version of UCI's data, without a recorded move."""
    for key in mlflow_store.get_registered_model(contract.MODEL_NAME).tags:
        mlflow_store.delete_registered_model_tag(contract.MODEL_NAME, key)
    mlflow_store.set_registered_model_alias(contract.MODEL_NAME, mlflow_registry.PRODUCTION, versions["uci"])
    return versions["uci"]


def _moves():
    return [(one.before, one.after, one.by, one.how) for one in mlflow_registry.record_external_moves()]


def test_a_move_by_a_run_records_the_run(versions, production):
    started = datetime.now(UTC)
    assert mlflow_registry.move_production(versions["file"], by="run scheduled__2026") == ""
    assert mlflow_registry.aliased("production").number == versions["file"]
    assert _moves() == [
        ("", production, "unknown", EXTERNAL),
        (production, versions["file"], "run scheduled__2026", RUN),
    ]
    assert started <= mlflow_registry.record_external_moves()[-1].when <= datetime.now(UTC)


def test_a_retried_run_moves_production_once(versions, production):
    for _ in range(3):
        assert mlflow_registry.move_production(versions["file"], by="run r") == ""
    assert len(_moves()) == 2


def test_a_run_on_the_sample_does_not_replace_real_data(versions, production):
    refused = mlflow_registry.move_production(versions["sample"], by="run r")
    assert refused.endswith(f"and version {production} in production was not (its origin: uci)")
    assert mlflow_registry.aliased("production").number == production


def test_a_run_does_not_move_production_that_changed_since_its_comparison(versions, production, mlflow_store):
    mlflow_store.set_registered_model_alias(contract.MODEL_NAME, mlflow_registry.PRODUCTION, versions["sample"])
    assert mlflow_registry.move_production(versions["file"], by="run r", expected=production) == (
        f"production changed since the decision: it was at version {production} and is at version "
        f"{versions['sample']} now"
    )
    assert mlflow_registry.aliased("production").number == versions["sample"]
    assert mlflow_registry.move_production(versions["file"], by="run r", expected=versions["sample"]) == ""
    assert mlflow_registry.aliased("production").number == versions["file"]


def test_a_move_in_mlflow_is_recorded(versions, production, mlflow_store):
    mlflow_registry.move_production(versions["file"], by="run r")
    mlflow_store.set_registered_model_alias(contract.MODEL_NAME, mlflow_registry.PRODUCTION, versions["sample"])
    assert _moves()[-1] == (versions["file"], versions["sample"], "unknown", EXTERNAL)
    assert len(_moves()) == 3


def test_a_missing_version_moves_nothing(production):
    with pytest.raises(RegistryError) as caught:
        mlflow_registry.move_production("99", by="run r")
    assert str(caught.value) == (
        "MLflow could not point alias production at version 99: "
        "Model Version (name=heart-disease, version=99) not found\n"
        f"  where:    MLFLOW_TRACKING_URI {mlflow.get_tracking_uri()}\n"
        "  expected: an existing resource of an MLflow server at this address\n"
        "  hint:     check in MLflow's UI whether it was deleted (if so, trigger a new run), and that MLFLOW_TRACKING_URI "
        "is right; a retry cannot change this"
    )
    assert mlflow_registry.aliased("production").number == production


def test_production_exists_at_every_instant(versions, production, mlflow_store, monkeypatch):
    """Wherever a move is interrupted, the alias points at one version or the other."""
    asked = []

    def watched(name):
        def call(self, *arguments, **more):
            asked.append((name, mlflow_registry.aliased("production").number))
            raise MlflowException("unreachable")

        return call

    monkeypatch.setattr(type(mlflow_store), "set_registered_model_tag", watched("tag"))
    monkeypatch.setattr(type(mlflow_store), "delete_registered_model_alias", watched("delete"))
    with pytest.raises(RegistryError):
        mlflow_registry.move_production(versions["file"], by="run r")
    assert asked == [("tag", production)], "the external move is recorded before the move"
    assert mlflow_registry.aliased("production").number == production


@pytest.fixture
def trained(mlflow_store, production, tmp_path):
    """A run and the version that it moved production to."""
    run_id = mlflow_registry.log_run(runs.Run("key", "a run", {}, {}, {}, {"a.txt": b"a"}))
    made = mlflow_store.create_model_version(contract.MODEL_NAME, tmp_path.as_uri(), run_id, tags={"origin": "file"})
    version = str(made.version)
    assert mlflow_registry.move_production(version, by="run r") == ""
    return run_id, version


def test_production_stays_without_the_run_that_trained_it(trained, mlflow_store):
    run_id, version = trained
    moves = _moves()
    mlflow_store.delete_run(run_id)
    assert mlflow_registry.aliased("production") == mlflow_registry.Version(version, {"origin": "file"})
    assert _moves() == moves


def test_production_is_deleted_with_its_version_and_history_says_so(trained, production, versions, mlflow_store):
    _, version = trained
    mlflow_store.delete_model_version(contract.MODEL_NAME, version)
    assert mlflow_registry.aliased("production") is None
    assert _moves()[-2:] == [(production, version, "run r", RUN), (version, "", "unknown", EXTERNAL)]
    refused = mlflow_registry.move_production(versions["file"], by="run r", expected=version)
    assert refused.endswith("and is at no version now")
    with pytest.raises(RegistryError, match=f"version={version}\\) not found\n"):
        mlflow_registry.move_production(version, by="run r")
    assert mlflow_registry.move_production(versions["file"], by="run r", expected="") == ""


def test_a_model_that_is_deleted_takes_production_and_history_along(trained, mlflow_store, tmp_path):
    # given
    _, version = trained
    mlflow_store.rename_registered_model(contract.MODEL_NAME, "kept for the other tests")
    mlflow_store.create_registered_model(contract.MODEL_NAME)
    made = mlflow_store.create_model_version(contract.MODEL_NAME, tmp_path.as_uri())
    assert mlflow_registry.move_production(str(made.version), by="run r") == ""
    # when
    mlflow_store.delete_registered_model(contract.MODEL_NAME)
    # then
    try:
        assert mlflow_registry.aliased("production") is None
        assert mlflow_registry.record_external_moves() == []
        with pytest.raises(RegistryError, match=r"version=1\) not found\n"):
            mlflow_registry.move_production(str(made.version), by="run r")
    finally:
        mlflow_store.rename_registered_model("kept for the other tests", contract.MODEL_NAME)
    assert mlflow_registry.aliased("production").number == version
