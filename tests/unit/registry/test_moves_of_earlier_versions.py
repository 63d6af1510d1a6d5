"""The moves that versions 0.1 to 0.4 kept in tags of MLflow are entered in the ledger once."""

import json
from datetime import UTC, datetime

import pytest

from heartline.registry.production import alias_history, alias_moves
from heartline.registry.production.alias_history import PROMOTE
from tests.unit.registry.fake_model import KilledError, Model, move


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
