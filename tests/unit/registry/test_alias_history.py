"""Who moved production: the rules with a pretended registry, then the registry's own part with a real MLflow store."""

import json
from datetime import UTC, datetime, timedelta

import mlflow
import pytest
from mlflow.exceptions import MlflowException

from heartline import contract
from heartline.errors import RegistryError
from heartline.registry import alias_history, mlflow_registry, runs
from heartline.registry.alias_history import OUTSIDE, PROMOTE, ROLLBACK, RUN, Move, Outcome

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
ORIGINS = {"1": "uci", "2": "file", "3": "sample", "4": "sample", "5": ""}


class Model:
    """A registered model with five versions, which remembers in which order it was written to."""

    def __init__(self, production=""):
        self.production = production
        self.tags = {"owner": "somebody"}
        self.written = []
        self.broken = False

    def look(self):
        return self.production, dict(self.tags)

    def origin(self, version):
        return ORIGINS[version]

    def point(self, version):
        self.written.append(f"alias {version}")
        self.production = version

    def note(self, key, value):
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
    version = alias_history.previous(alias_history.read(model.tags))
    move(model, version, ROLLBACK)
    return version


def test_a_move_is_one_tag_named_after_its_time():
    model = Model()
    outcome = move(model, "1")
    assert outcome == Outcome(Move(NOON, "", "1", "anna", "promote"))
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
    assert move(model, "1") == Outcome()
    assert model.written == ["alias 1", "tag"]


def test_a_move_from_outside_is_noted_by_whoever_looks_next():
    model = Model()
    move(model, "1")
    model.production = "2"
    later = NOON + timedelta(hours=1)
    production, moves = alias_history.catch_up(model, later)
    assert production == "2"
    assert moves[1:] == [Move(later, "1", "2", "unknown", OUTSIDE)]
    assert alias_history.catch_up(model, later) == ("2", moves), "and once only"


def test_a_move_notes_what_came_before_it():
    model = Model("1")
    move(model, "2")
    assert model.moves() == [("", "1", "unknown", OUTSIDE), ("1", "2", "anna", PROMOTE)]


def test_an_alias_that_was_removed_is_noted_too():
    model = Model()
    move(model, "1")
    model.production = ""
    move(model, "2")
    assert model.moves()[1:] == [("1", "", "unknown", OUTSIDE), ("", "2", "anna", PROMOTE)]


def test_a_process_that_ends_between_alias_and_tag_leaves_a_history_without_gap():
    model = Model()
    move(model, "1")
    model.broken = True
    with pytest.raises(ConnectionError):
        move(model, "2")
    model.broken = False
    assert move(model, "2") == Outcome()
    assert model.moves()[1:] == [("1", "2", "unknown", OUTSIDE)]


def test_nothing_is_noted_where_nothing_was_ever_in_production():
    model = Model()
    assert alias_history.catch_up(model, NOON) == ("", [])
    assert model.written == []


def test_order_is_kept_by_a_clock_that_goes_back():
    model = Model()
    move(model, "1")
    move(model, "2", at=NOON - timedelta(days=1))
    move(model, "1", at=NOON - timedelta(days=2))
    assert [one.after for one in alias_history.read(model.tags)] == ["1", "2", "1"]
    assert alias_history.catch_up(model, NOON)[1][-1].by == "anna", "none of them looks like one from outside"


@pytest.mark.parametrize(
    "text",
    ["", "no JSON", "[]", "null", "{}", '{"when": "today", "from": null, "to": "1", "by": "anna", "how": "promote"}'],
)
def test_a_tag_that_somebody_spoilt_is_left_out(text):
    model = Model()
    move(model, "1")
    model.tags[alias_history.PREFIX + "2027"] = text
    assert model.moves() == [("", "1", "anna", PROMOTE)]


def test_rollbacks_go_further_and_further_back():
    model = Model()
    for version in ("1", "2", "1", "5"):
        move(model, version)
    assert [rollback(model) for _ in range(3)] == ["1", "2", "1"]
    assert alias_history.previous(alias_history.read(model.tags)) is None


def test_after_a_rollback_the_next_promotion_is_what_a_rollback_undoes():
    model = Model()
    for version in ("1", "2"):
        move(model, version)
    assert rollback(model) == "1"
    move(model, "5")
    assert rollback(model) == "1"
    assert alias_history.previous(alias_history.read(model.tags)) is None


def test_a_rollback_undoes_a_move_from_outside():
    model = Model()
    move(model, "1")
    model.production = "2"
    alias_history.catch_up(model, NOON)
    assert rollback(model) == "1"


@pytest.mark.parametrize(("again", "back"), [("2", "1"), ("1", None)])
def test_a_rollback_never_goes_back_to_no_model(again, back):
    model = Model()
    move(model, "1")
    model.production = ""
    move(model, again)
    assert alias_history.previous(alias_history.read(model.tags)) == back


def test_a_rollback_puts_back_what_somebody_removed():
    model = Model()
    move(model, "1")
    model.production = ""
    alias_history.catch_up(model, NOON)
    assert rollback(model) == "1"
    assert alias_history.previous(alias_history.read(model.tags)) is None


@pytest.mark.parametrize("moved", [[], ["1"]])
def test_there_is_nothing_to_go_back_to(moved):
    model = Model()
    for version in moved:
        move(model, version)
    assert alias_history.previous(alias_history.read(model.tags)) is None


@pytest.mark.parametrize(("there", "told"), [("1", "uci"), ("5", "not known")])
def test_the_sample_does_not_replace_real_data(there, told):
    model = Model(there)
    outcome = move(model, "3", RUN)
    assert outcome == Outcome(
        refused="version 3 was trained on the synthetic sample, "
        f"and version {there} in production was not (its origin: {told})",
        forcible=True,
    )
    assert model.production == there
    assert model.moves() == [("", there, "unknown", OUTSIDE)]


@pytest.mark.parametrize(("there", "version"), [("", "3"), ("3", "4"), ("3", "1"), ("1", "2"), ("1", "5"), ("3", "5")])
def test_anything_else_may_replace(there, version):
    model = Model(there)
    assert move(model, version).refused == ""
    assert model.production == version


def test_force_is_remembered_where_it_was_needed():
    model = Model("1")
    assert move(model, "2", force=True).move.forced is False
    assert move(model, "3", force=True).move.forced is True
    assert [one.forced for one in alias_history.read(model.tags)] == [False, False, True]


@pytest.mark.parametrize(
    ("expected", "there", "said"),
    [
        ("1", "5", "production was at version 1 when it was looked at, and is at version 5 by now"),
        ("", "5", "production was at no version when it was looked at, and is at version 5 by now"),
        ("1", "", "production was at version 1 when it was looked at, and is at no version by now"),
    ],
)
@pytest.mark.parametrize("force", [False, True])
def test_what_was_decided_before_production_moved_moves_nothing(expected, there, said, force):
    model = Model()
    if there:
        move(model, there)
    assert move(model, "2", expected=expected, force=force) == Outcome(refused=f"{said}: somebody else moved it")
    assert model.production == there


@pytest.mark.parametrize("there", ["", "1"])
def test_what_was_decided_on_what_is_there_moves(there):
    model = Model(there)
    assert move(model, "2", expected=there).refused == ""
    assert model.production == "2"


def test_a_task_that_is_tried_again_after_its_own_move_is_not_too_late():
    model = Model("1")
    move(model, "2", expected="1")
    assert move(model, "2", expected="1") == Outcome()


class Overtaken(Model):
    """A registered model whose production somebody moves while the origin of a version is looked up."""

    def __init__(self, to):
        super().__init__("1")
        self.to = to

    def origin(self, version):
        self.production = self.to
        return super().origin(version)


@pytest.mark.parametrize("expected", [None, "1"])
def test_what_is_there_is_read_again_just_before_it_is_moved(expected):
    model = Overtaken("5")
    said = "production was at version 1 when it was looked at, and is at version 5 by now: somebody else moved it"
    assert move(model, "2", expected=expected) == Outcome(refused=said)
    assert model.moves() == [("", "1", "unknown", OUTSIDE)]
    assert model.production == "5"


def test_the_same_move_by_two_at_once_is_made_once():
    model = Overtaken("2")
    assert move(model, "2") == Outcome()
    assert model.written == ["tag"], "what was there before, and no second move"


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
    """Production at the version of UCI's data, which nobody noted."""
    for key in mlflow_store.get_registered_model(contract.MODEL_NAME).tags:
        mlflow_store.delete_registered_model_tag(contract.MODEL_NAME, key)
    mlflow_store.set_registered_model_alias(contract.MODEL_NAME, mlflow_registry.PRODUCTION, versions["uci"])
    return versions["uci"]


def _told():
    return [(one.before, one.after, one.by, one.how) for one in mlflow_registry.note_moves()]


def test_a_run_moves_production_and_leaves_its_name(versions, production):
    begun = datetime.now(UTC)
    assert mlflow_registry.move_production(versions["file"], by="run scheduled__2026") == ""
    assert mlflow_registry.aliased("production").number == versions["file"]
    assert _told() == [("", production, "unknown", OUTSIDE), (production, versions["file"], "run scheduled__2026", RUN)]
    assert begun <= mlflow_registry.note_moves()[-1].when <= datetime.now(UTC)


def test_a_run_that_is_tried_again_moves_nothing_twice(versions, production):
    for _ in range(3):
        assert mlflow_registry.move_production(versions["file"], by="run r") == ""
    assert len(_told()) == 2


def test_a_run_on_the_sample_is_told_why_it_moves_nothing(versions, production):
    refused = mlflow_registry.move_production(versions["sample"], by="run r")
    assert refused.endswith(f"and version {production} in production was not (its origin: uci)")
    assert mlflow_registry.aliased("production").number == production


def test_a_run_does_not_overrule_who_moved_production_while_it_compared(versions, production, mlflow_store):
    mlflow_store.set_registered_model_alias(contract.MODEL_NAME, mlflow_registry.PRODUCTION, versions["sample"])
    assert mlflow_registry.move_production(versions["file"], by="run r", expected=production) == (
        f"production was at version {production} when it was looked at, and is at version {versions['sample']} by now: "
        "somebody else moved it"
    )
    assert mlflow_registry.aliased("production").number == versions["sample"]
    assert mlflow_registry.move_production(versions["file"], by="run r", expected=versions["sample"]) == ""
    assert mlflow_registry.aliased("production").number == versions["file"]


def test_a_move_in_mlflow_is_seen(versions, production, mlflow_store):
    mlflow_registry.move_production(versions["file"], by="run r")
    mlflow_store.set_registered_model_alias(contract.MODEL_NAME, mlflow_registry.PRODUCTION, versions["sample"])
    assert _told()[-1] == (versions["file"], versions["sample"], "unknown", OUTSIDE)
    assert len(_told()) == 3


def test_a_version_that_is_not_there_moves_nothing(production):
    with pytest.raises(RegistryError) as caught:
        mlflow_registry.move_production("99", by="run r")
    assert str(caught.value) == (
        "MLflow did not let us point alias production at version 99: "
        "Model Version (name=heart-disease, version=99) not found\n"
        f"  where:    MLFLOW_TRACKING_URI {mlflow.get_tracking_uri()}\n"
        "  expected: that it is there\n"
        "  hint:     see in MLflow's UI whether it was deleted; if so, train again"
    )
    assert mlflow_registry.aliased("production").number == production


def test_production_is_there_at_every_instant(versions, production, mlflow_store, monkeypatch):
    """Whatever a move asks of MLflow, and wherever it is cut off, the alias is at one version or the other."""
    asked = []

    def watched(name):
        def call(self, *arguments, **more):
            asked.append((name, mlflow_registry.aliased("production").number))
            raise MlflowException("away")

        return call

    monkeypatch.setattr(type(mlflow_store), "set_registered_model_tag", watched("tag"))
    monkeypatch.setattr(type(mlflow_store), "delete_registered_model_alias", watched("delete"))
    with pytest.raises(RegistryError):
        mlflow_registry.move_production(versions["file"], by="run r")
    assert asked == [("tag", production)], "the note of what was found comes before the move"
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
    moves = _told()
    mlflow_store.delete_run(run_id)
    assert mlflow_registry.aliased("production") == mlflow_registry.Version(version, {"origin": "file"})
    assert _told() == moves


def test_production_is_deleted_with_its_version_and_history_says_so(trained, production, versions, mlflow_store):
    _, version = trained
    mlflow_store.delete_model_version(contract.MODEL_NAME, version)
    assert mlflow_registry.aliased("production") is None
    assert _told()[-2:] == [(production, version, "run r", RUN), (version, "", "unknown", OUTSIDE)]
    refused = mlflow_registry.move_production(versions["file"], by="run r", expected=version)
    assert refused.endswith("and is at no version by now: somebody else moved it")
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
        assert mlflow_registry.note_moves() == []
        with pytest.raises(RegistryError, match=r"version=1\) not found\n"):
            mlflow_registry.move_production(str(made.version), by="run r")
    finally:
        mlflow_store.rename_registered_model("kept for the other tests", contract.MODEL_NAME)
    assert mlflow_registry.aliased("production").number == version
