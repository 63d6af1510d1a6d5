"""The history of production: its rules with a fake registry, then its storage in a real MLflow."""

import json
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest

from heartline.registry import alias_history, alias_moves
from heartline.registry.alias_history import EXTERNAL, PROMOTE, ROLLBACK, RUN, Move
from heartline.registry.alias_moves import MoveOutcome, VersionFacts
from heartline.registry.stored_files import StoredVersion

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
ORIGINS = {"1": "uci", "2": "file", "3": "sample", "4": "sample", "5": ""}


class Model:
    """A registered model with five versions, which remembers in which order it was written to."""

    approval_secret: str | None = None

    def __init__(self, production=""):
        self.production = production
        self.tags = {"owner": "anna"}
        self.kept = {}
        self.written = []
        self.locked = False
        self.damage = ""
        self.service = None
        self.sources = {}

    @contextmanager
    def lock(self, who):
        assert not self.locked
        self.locked = True
        try:
            yield lambda: None
        finally:
            self.locked = False

    def production_and_tags(self):
        return self.production, None if self.tags is None else dict(self.tags)

    def history(self):
        return dict(self.kept)

    def facts(self, version):
        return VersionFacts(ORIGINS[version], self.sources.get(version, f"models:/m-{version}"))

    def examine(self, version):
        assert self.locked
        return StoredVersion(self.damage, ORIGINS[version])

    def served(self):
        return self.service

    def set_production(self, version):
        assert self.locked
        self.written.append(f"alias {version}")
        self.production = version

    def set_tag(self, key, value):
        assert self.locked
        self.written.append("tag")
        self.tags[key] = value

    def set_history(self, key, value):
        assert self.locked
        self.written.append("pending" if json.loads(value).get("pending") else "entry")
        self.kept[key] = value

    def moves(self):
        return [(one.before, one.after, one.by, one.how) for one in alias_history.read(self.tags or {}, self.kept)]


MOVE = ["pending", "alias 1", "entry", "tag"]


def move(model, version, how=PROMOTE, at=NOON, **more):
    return alias_moves.move(model, version, by="anna", how=how, now=at, **more)


def rollback(model):
    version, _ = target(model)
    move(model, version, ROLLBACK)
    return version


def target(model):
    return alias_history.rollback_target(alias_history.read(model.tags, model.kept))


def test_a_move_is_one_entry_in_both_places():
    model = Model()
    outcome = move(model, "1")
    assert outcome == MoveOutcome(Move(NOON, "", "1", "anna", "promote", number=1, origin="uci", source="models:/m-1"))
    assert json.loads(model.tags["heartline.production.n000001"]) == {
        "number": 1,
        "when": "2026-03-01T12:00:00.000000Z",
        "from": None,
        "to": "1",
        "by": "anna",
        "how": "promote",
        "forced": False,
        "origin": "uci",
        "source": "models:/m-1",
    }
    assert {key: text for key, text in model.tags.items() if key != "owner"} == model.kept
    assert alias_history.read(model.tags) == alias_history.read(model.kept) == [outcome.move]


def test_a_move_is_announced_made_and_recorded():
    model = Model()
    move(model, "1")
    assert model.written == MOVE


def test_the_version_that_is_there_is_not_moved():
    model = Model()
    move(model, "1")
    assert move(model, "1") == MoveOutcome()
    assert model.written == MOVE


def test_an_external_move_is_recorded_by_the_next_reader():
    model = Model()
    move(model, "1")
    model.production = "2"
    later = NOON + timedelta(hours=1)
    production, moves = alias_moves.record_external_moves(model, later)
    assert production == "2"
    assert moves[1:] == [Move(later, "1", "2", "unknown", EXTERNAL, number=2, origin="file", source="models:/m-2")]
    assert alias_moves.record_external_moves(model, later) == ("2", moves), "and once only"


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


class KilledError(Exception):
    """Ends a mover."""


def killed_at(model, boundary, version="2"):
    """Let a mover end at one of its writes, before the request (0.0) or after it was answered (0.5)."""
    count = 0

    def dying(write):
        def call(*arguments):
            nonlocal count
            if count >= boundary:
                raise KilledError
            write(*arguments)
            count += 1
            if count - 0.5 == boundary:
                raise KilledError

        return call

    with pytest.MonkeyPatch.context() as patch:
        for name in ("set_production", "set_tag", "set_history"):
            patch.setattr(model, name, dying(getattr(model, name)))
        with pytest.raises(KilledError):
            move(model, version)


@pytest.mark.parametrize("boundary", [half / 2 for half in range(8)])
@pytest.mark.parametrize("then", ["a reader", "the same move", "another move", "a move by hand"])
def test_a_mover_that_is_killed_leaves_a_history_without_gap(boundary, then):
    # given
    model = Model()
    move(model, "1")
    killed_at(model, boundary)
    made = model.production == "2"
    assert made == (boundary >= 1.5)
    # when
    if then == "a move by hand":
        model.production = "5"
    if then in ("the same move", "another move"):
        move(model, "2" if then == "the same move" else "5")
    alias_moves.record_external_moves(model, NOON)
    # then
    last = {
        "a reader": [("1", "2", "anna", PROMOTE)] if made else [],
        "the same move": [("1", "2", "anna", PROMOTE)],
        "another move": [("1", "2", "anna", PROMOTE), ("2", "5", "anna", PROMOTE)]
        if made
        else [("1", "5", "anna", PROMOTE)],
        "a move by hand": [("2", "5", "unknown", EXTERNAL)] if boundary >= 2.5 else [("1", "5", "unknown", EXTERNAL)],
    }[then]
    if then == "a move by hand" and boundary >= 2.5:
        last = [("1", "2", "anna", PROMOTE), *last]
    assert model.moves() == [("", "1", "anna", PROMOTE), *last]
    assert [one.number for one in alias_history.read(model.kept)] == list(range(1, len(model.moves()) + 1))
    assert alias_history.read(model.tags) == alias_history.read(model.kept)
    assert model.production == model.moves()[-1][1]


def test_nothing_is_recorded_if_nothing_was_ever_in_production():
    model = Model()
    assert alias_moves.record_external_moves(model, NOON) == ("", [])
    assert model.written == []


@pytest.mark.parametrize(
    "clock",
    [
        [NOON, NOON - timedelta(days=1), NOON - timedelta(days=2)],
        [NOON, NOON, NOON],
        [datetime.max.replace(tzinfo=UTC), NOON, NOON],
    ],
    ids=["goes back", "stands still", "was ahead"],
)
def test_order_does_not_come_from_a_clock(clock):
    model = Model()
    for version, at in zip(("1", "2", "1"), clock, strict=True):
        move(model, version, at=at)
    assert [one.after for one in alias_history.read(model.kept)] == ["1", "2", "1"]
    assert alias_moves.record_external_moves(model, NOON)[1][-1].by == "anna", "none looks like one from outside"


def legacy(when, before, after):
    """Return an entry as version 0.2 wrote it."""
    value = {"when": when, "from": before, "to": after, "by": "bea", "how": "promote", "forced": False}
    return {alias_history.PREFIX + when: json.dumps(value)}


def test_entries_without_a_number_come_first_and_are_kept_outside_of_the_model_with_their_origin():
    model = Model("3")
    model.tags |= legacy("9999-12-31T23:59:59.999999Z", "1", "3") | legacy("2026-01-01T00:00:00.000000Z", None, "1")
    move(model, "4", force=True)
    assert model.moves() == [("", "1", "bea", PROMOTE), ("1", "3", "bea", PROMOTE), ("3", "4", "anna", PROMOTE)]
    assert [(one.number, one.origin) for one in alias_history.read(model.kept)] == [
        (None, "uci"),
        (None, "sample"),
        (1, "sample"),
    ]


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
    assert target(model) is None


def test_after_a_rollback_the_next_promotion_is_what_a_rollback_undoes():
    model = Model()
    for version in ("1", "2"):
        move(model, version)
    assert rollback(model) == "1"
    move(model, "5")
    assert rollback(model) == "1"
    assert target(model) is None


def test_a_rollback_undoes_an_external_move():
    model = Model()
    move(model, "1")
    model.production = "2"
    alias_moves.record_external_moves(model, NOON)
    assert rollback(model) == "1"


@pytest.mark.parametrize(("again", "back"), [("2", "1"), ("1", None)])
def test_a_rollback_never_goes_back_to_no_model(again, back):
    model = Model()
    move(model, "1")
    model.production = ""
    move(model, again)
    assert (target(model) or (None,))[0] == back


def test_a_rollback_restores_a_removed_alias():
    model = Model()
    move(model, "1")
    model.production = ""
    alias_moves.record_external_moves(model, NOON)
    assert rollback(model) == "1"
    assert target(model) is None


@pytest.mark.parametrize("moved", [[], ["1"]])
def test_without_an_earlier_version_there_is_no_rollback_target(moved):
    model = Model()
    for version in moved:
        move(model, version)
    assert target(model) is None


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
        alias_moves.record_external_moves(model, NOON)
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
    _, moves = alias_moves.record_external_moves(model, NOON)
    assert alias_moves.lost_production(production, moves, service) == lost


def test_a_version_of_the_same_number_in_a_model_that_was_made_again_is_another_version():
    model = Model()
    move(model, "1")
    move(model, "2")
    model.sources["2"] = "models:/m-of-the-new-model"
    assert alias_moves.record_external_moves(model, NOON)[1][-1] == Move(
        NOON, "2", "2", "unknown", EXTERNAL, number=3, origin="file", source="models:/m-of-the-new-model"
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
    assert [one.forced for one in alias_history.read(model.kept)] == [False, False, True]


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
    assert model.written == ["entry", "tag"], "the external move, and no second move"
