"""Moves of production that are refused, and those that need force."""

import pytest

from heartline.registry.production import alias_moves
from heartline.registry.production.alias_history import EXTERNAL, PROMOTE, ROLLBACK, RUN, Move
from heartline.registry.production.alias_moves import MoveOutcome
from tests.unit.registry.fake_model import NOON, Model, move, target

SAMPLE = "version 4 was trained on the synthetic sample, and "


@pytest.mark.parametrize(("there", "origin"), [("1", "uci"), ("5", "unknown")])
def test_the_sample_does_not_replace_real_data(there, origin):
    model = Model(there)
    outcome = move(model, "4", RUN)
    assert outcome == MoveOutcome(
        refused=f"{SAMPLE}version {there} in production was not (its origin: {origin})", forcible=True
    )
    assert model.production == there
    assert model.moves() == [("", there, "unknown", EXTERNAL)]


def removed(model):
    model.production = ""


def moved_by_hand_to_a_sample(model):
    model.production = "3"


def deleted_with_its_model(model):
    model.production, model.tags = "", None


def made_again(model):
    """The registered model was deleted and made again; its version 1 is trained on the sample."""
    model.production, model.tags = "", {}
    model.sources["4"] = "models:/m-of-the-new-model"


@pytest.mark.parametrize("how", [PROMOTE, ROLLBACK, RUN])
@pytest.mark.parametrize("lost", [removed, moved_by_hand_to_a_sample, deleted_with_its_model, made_again])
@pytest.mark.parametrize("noticed", [True, False])
def test_the_sample_does_not_replace_what_was_last_in_production(lost, how, noticed):
    model = Model()
    move(model, "1")
    lost(model)
    if noticed:
        alias_moves.record_external_moves(model)
    before = model.production
    assert move(model, "4", how) == MoveOutcome(
        refused=f"{SAMPLE}version 1, which was in production before, was not (its origin: uci)", forcible=True
    )
    assert model.production == before
    if model.tags is not None:
        assert move(model, "4", how, force=True).move.forced
        move(model, "3", how)
        assert model.production == "3", "a forced move ends the protection"


@pytest.mark.parametrize(
    ("service", "refused"),
    [
        (("1", "uci"), SAMPLE + "version 1, which the service serves, was not (its origin: uci)"),
        (("3", "sample"), ""),
        (None, ""),
    ],
)
def test_the_service_knows_what_was_in_production_without_an_entry(service, refused):
    model = Model()
    model.service = service
    assert move(model, "4").refused == refused


@pytest.mark.parametrize("force", [True, False])
def test_a_version_whose_files_are_lost_is_not_put_into_production(force):
    model = Model("1")
    model.damage = "model.onnx is missing"
    outcome = move(model, "2", force=force)
    assert outcome.refused == "version 2 cannot be downloaded: model.onnx is missing"
    assert "train again" in outcome.hint
    assert not outcome.forcible
    assert model.production == "1"


@pytest.mark.parametrize(
    ("production", "moved", "service", "lost"),
    [
        ("1", ["1"], None, ""),
        ("", [], None, ""),
        ("", ["1", "2"], None, "the alias production is missing in MLflow, and version 2 was in production before"),
        ("", [], ("7", "uci"), "the alias production is missing in MLflow, and the service serves version 7"),
    ],
)
def test_a_missing_alias_is_not_a_missing_model(production, moved, service, lost):
    model = Model()
    for version in moved:
        move(model, version)
    model.production = production
    _, moves = alias_moves.record_external_moves(model)
    assert alias_moves.lost_production(production, moves, service) == lost


def test_a_version_of_the_same_number_in_a_model_that_was_made_again_is_another_version():
    model = Model()
    move(model, "1")
    move(model, "2")
    model.sources["2"] = "models:/m-of-the-new-model"
    assert alias_moves.record_external_moves(model)[1][-1] == Move(
        NOON, "2", "2", "unknown", EXTERNAL, number=5, origin="file", source="models:/m-of-the-new-model"
    )
    assert target(model) == ("2", "models:/m-2"), "and not the one that is there now"


@pytest.mark.parametrize(("there", "version"), [("", "3"), ("3", "4"), ("3", "1"), ("1", "2"), ("1", "5"), ("3", "5")])
def test_every_other_replacement_is_allowed(there, version):
    model = Model(there)
    assert move(model, version).refused == ""
    assert model.production == version


def test_a_move_is_recorded_as_forced_only_if_force_was_needed():
    model = Model("1")
    assert move(model, "2", force=True).move.forced is False
    assert move(model, "3", force=True).move.forced is True
    assert [one.forced for one in model.recorded()] == [False, False, True]


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
    """A registered model whose production is moved by hand while the files of a version are read."""

    def __init__(self, to):
        super().__init__("1")
        self.to = to

    def examine(self, version):
        self.production = self.to
        return super().examine(version)


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
    assert model.written == ["moved", "note"], "the external move, and no second move"
