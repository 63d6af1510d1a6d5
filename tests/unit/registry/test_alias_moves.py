"""The history of production: its rules with a fake registry, then its storage in a real MLflow."""

import json
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from heartline.errors import LedgerError
from heartline.ledger import chain
from heartline.ledger.entry import Head
from heartline.registry.production import alias_history, alias_moves
from heartline.registry.production.alias_history import EXTERNAL, PROMOTE, ROLLBACK, RUN, Move
from heartline.registry.production.alias_moves import MoveOutcome, VersionFacts
from heartline.registry.stored_files import StoredVersion
from tests.memory_ledger import MemoryLedger

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
ORIGINS = {"1": "uci", "2": "file", "3": "sample", "4": "sample", "5": ""}


class WatchedLedger(MemoryLedger):
    """A ledger whose clock is set, and whose entries are noted among the other writes of the model."""

    def __init__(self, written):
        super().__init__(lambda: self.now)
        self.now = NOON
        self.written = written

    def append(self, kind, **more):
        before = len(self.kept)
        entry = super().append(kind, **more)
        if len(self.kept) > before:
            self.written.append(kind)
        return entry


class Model:
    """A registered model with five versions, which remembers in which order it was written to."""

    approval_secret: str | None = None

    def __init__(self, production=""):
        self.production = production
        self.tags = {"owner": "anna"}
        self.kept = {}
        self.written = []
        self.ledger = WatchedLedger(self.written)
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

    def set_history(self, key, value):
        assert self.locked
        assert key == alias_history.HEAD
        self.written.append("note")
        self.kept[key] = value

    def recorded(self):
        return alias_history.moves(self.ledger.entries())

    def moves(self):
        return [(one.before, one.after, one.by, one.how) for one in self.recorded()]


MOVE = ["moving", "alias 1", "moved", "note"]


def move(model, version, how=PROMOTE, at=NOON, **more):
    model.ledger.now = at
    return alias_moves.move(model, version, by="anna", how=how, **more)


def rollback(model):
    version, _ = target(model)
    move(model, version, ROLLBACK)
    return version


def target(model):
    return alias_history.rollback_target(model.recorded())


def test_a_move_is_an_announcement_and_an_entry():
    model = Model()
    outcome = move(model, "1", reason="better for women")
    made = Move(
        NOON, "", "1", "anna", "promote", number=2, origin="uci", source="models:/m-1", reason="better for women"
    )
    assert outcome == MoveOutcome(made)
    announcement, entry = model.ledger.kept
    facts = {
        "alias": "production",
        "from": None,
        "to": "1",
        "how": "promote",
        "forced": False,
        "origin": "uci",
        "source": "models:/m-1",
        "reason": "better for women",
    }
    assert (announcement.kind, announcement.version, announcement.by) == ("moving", "1", "anna")
    assert announcement.facts == facts
    assert (entry.kind, entry.version, entry.by) == ("moved", "1", "anna")
    assert entry.facts == {**facts, "announced": 1}
    assert model.recorded() == [made]
    assert model.tags == {"owner": "anna"}, "no tag of the model is written"
    assert model.kept == {alias_history.HEAD: f"2:{entry.hash}"}


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
    model.ledger.now = later
    production, moves = alias_moves.record_external_moves(model)
    assert production == "2"
    assert moves[1:] == [Move(later, "1", "2", "unknown", EXTERNAL, number=3, origin="file", source="models:/m-2")]
    assert alias_moves.record_external_moves(model) == ("2", moves), "and once only"


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
        def call(*arguments, **more):
            nonlocal count
            if count >= boundary:
                raise KilledError
            answer = write(*arguments, **more)
            count += 1
            if count - 0.5 == boundary:
                raise KilledError
            return answer

        return call

    with pytest.MonkeyPatch.context() as patch:
        for place, name in ((model, "set_production"), (model, "set_history"), (model.ledger, "append")):
            patch.setattr(place, name, dying(getattr(place, name)))
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
    alias_moves.record_external_moves(model)
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
    entries = model.ledger.entries()
    assert chain.verify(entries, model.ledger.head(), [alias_history.noted_head(model.kept)]) is None
    assert alias_history.noted_head(model.kept).number == model.recorded()[-1].number
    assert model.production == model.moves()[-1][1]


def test_nothing_is_recorded_if_nothing_was_ever_in_production():
    model = Model()
    assert alias_moves.record_external_moves(model) == ("", [])
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
    assert [one.after for one in model.recorded()] == ["1", "2", "1"]
    assert alias_moves.record_external_moves(model)[1][-1].by == "anna", "none looks like one from outside"


def legacy(when, before, after):
    """Return an entry as version 0.2 wrote it."""
    value = {"when": when, "from": before, "to": after, "by": "bea", "how": "promote", "forced": False}
    return {alias_history.PREFIX + when: json.dumps(value)}


def numbered(number, before, after, **more):
    """Return an entry as versions 0.3 and 0.4 wrote it."""
    value = {"when": "2026-01-02T00:00:00.000000Z", "from": before, "to": after, "by": "carl", "how": "promote"}
    text = json.dumps({**value, "number": number, "forced": False, "origin": "uci", **more})
    return {f"{alias_history.PREFIX}n{number:06d}": text}


def test_the_tags_of_earlier_versions_are_entered_once_with_their_times_and_origins():
    model = Model("4")
    model.tags |= legacy("9999-12-31T23:59:59.999999Z", "1", "3") | legacy("2026-01-01T00:00:00.000000Z", None, "1")
    model.kept |= numbered(1, "3", "2") | numbered(2, "2", "4")
    before = dict(model.tags), dict(model.kept)
    for _ in range(2):
        _, moves = alias_moves.record_external_moves(model)
        assert [(one.before, one.after, one.by, one.origin) for one in moves] == [
            ("", "1", "bea", "uci"),
            ("1", "3", "bea", "sample"),
            ("3", "2", "carl", "uci"),
            ("2", "4", "carl", "uci"),
        ]
    assert moves[0].when == datetime(2026, 1, 1, tzinfo=UTC)
    assert [one.facts["imported"] for one in model.ledger.kept] == [True] * 4, "and nothing else is entered"
    move(model, "1")
    assert model.moves()[-1] == ("4", "1", "anna", PROMOTE)
    del model.kept[alias_history.HEAD]
    assert (model.tags, model.kept) == before, "the tags stay as they are"


@pytest.mark.parametrize("done", range(4))
def test_an_import_that_was_killed_is_continued(done):
    model = Model("3")
    model.tags |= legacy("2026-01-01T00:00:00.000000Z", None, "1") | legacy("2026-01-02T00:00:00.000000Z", "1", "2")
    model.kept |= numbered(1, "2", "3")
    with pytest.MonkeyPatch.context() as patch:
        write = model.ledger.append

        def dying(*arguments, **more):
            if len(model.ledger.kept) == done:
                raise KilledError
            return write(*arguments, **more)

        patch.setattr(model.ledger, "append", dying)
        try:
            alias_moves.record_external_moves(model)
        except KilledError:
            assert done < 3
    alias_moves.record_external_moves(model)
    assert [one[:2] for one in model.moves()] == [("", "1"), ("1", "2"), ("2", "3")]
    assert len(model.ledger.kept) == 3


@pytest.mark.parametrize(("production", "made"), [("2", True), ("1", False)])
def test_a_move_that_an_earlier_version_announced_and_did_not_finish_is_resolved(production, made):
    model = Model(production)
    model.kept |= numbered(1, None, "1") | numbered(2, "1", "2", pending=True)
    alias_moves.record_external_moves(model)
    expected = [("", "1", "carl", PROMOTE), ("1", "2", "carl", PROMOTE)]
    assert model.moves() == (expected if made else expected[:1])


def test_a_tag_that_somebody_writes_after_the_first_entry_is_not_read():
    model = Model()
    move(model, "1")
    model.kept |= numbered(9, "1", "2")
    alias_moves.record_external_moves(model)
    assert model.moves() == [("", "1", "anna", PROMOTE)]


@pytest.mark.parametrize(
    "text",
    ["", "no JSON", "[]", "null", "{}", '{"when": "today", "from": null, "to": "1", "by": "anna", "how": "promote"}'],
)
def test_a_tag_that_cannot_be_parsed_is_skipped(text):
    model = Model("1")
    model.tags |= legacy("2026-01-01T00:00:00.000000Z", None, "1") | {alias_history.PREFIX + "2027": text}
    alias_moves.record_external_moves(model)
    assert model.moves() == [("", "1", "bea", PROMOTE)]


class AwayLedger(MemoryLedger):
    """A ledger whose database goes away after a number of calls."""

    def __init__(self, calls):
        super().__init__()
        self.calls = calls

    def _count(self):
        if self.calls <= 0:
            raise LedgerError("away", where="PostgreSQL", expected="an answer", hint="wait")
        self.calls -= 1

    def append(self, kind, **more):
        self._count()
        return super().append(kind, **more)

    def entries(self, **more):
        self._count()
        return super().entries(**more)


@pytest.mark.parametrize("calls", range(5))
def test_a_ledger_that_goes_away_leaves_nothing_half_done(calls):
    """The calls of a first move from version 5: read, enter what was there, announce, enter the move."""
    model = Model("5")
    model.ledger = AwayLedger(calls)
    if calls < 4:
        with pytest.raises(LedgerError):
            move_plainly(model)
    else:
        move_plainly(model)
    assert model.production == ("5" if calls < 3 else "1"), "nothing is moved before it is announced"
    model.ledger.calls = 99
    alias_moves.record_external_moves(model)
    assert model.moves()[0] == ("", "5", "unknown", EXTERNAL)
    assert model.moves()[1:] == ([("5", "1", "anna", PROMOTE)] if calls >= 3 else [])
    assert move_plainly(model).refused == ""
    assert model.moves()[1:] == [("5", "1", "anna", PROMOTE)], "a repeated command enters it once"


def move_plainly(model):
    return alias_moves.move(model, "1", by="anna", how=PROMOTE)


def test_a_hash_in_mlflow_that_the_ledger_does_not_have_stays_there_as_evidence():
    model = Model()
    move(model, "1")
    move(model, "2")
    noted = model.kept[alias_history.HEAD]
    model.ledger.kept[1] = replace(model.ledger.kept[1], by="eve")
    model.ledger.kept[3] = replace(model.ledger.kept[3], hash="f" * 64)
    move(model, "5")
    assert model.kept[alias_history.HEAD] == noted
    assert chain.verify(model.ledger.kept, model.ledger.head(), [alias_history.noted_head(model.kept)])


@pytest.mark.parametrize("text", ["", "4", "4:abc", "x:" + "f" * 64, f"{'9' * 30}:{'f' * 64}"])
def test_a_note_that_is_no_hash_is_replaced(text):
    model = Model()
    move(model, "1")
    model.kept[alias_history.HEAD] = text
    alias_moves.record_external_moves(model)
    assert alias_history.noted_head(model.kept) == Head(2, model.ledger.kept[1].hash)


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
    alias_moves.record_external_moves(model)
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
    alias_moves.record_external_moves(model)
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
