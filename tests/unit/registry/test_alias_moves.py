"""The history of production: its rules with a fake registry."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from heartline.errors import LedgerError
from heartline.ledger import chain
from heartline.ledger.entry import Head
from heartline.registry.production import alias_history, alias_moves
from heartline.registry.production.alias_history import EXTERNAL, PROMOTE, Move
from heartline.registry.production.alias_moves import MoveOutcome
from tests.memory_ledger import MemoryLedger
from tests.unit.registry.fake_model import NOON, KilledError, Model, move, rollback, target

MOVE = ["moving", "alias 1", "moved", "note"]


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
