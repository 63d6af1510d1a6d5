"""The record of looks: order, numbers, and two comparisons at the same time."""

from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, datetime

from heartline.registry.production import alias_history, look_history
from heartline.registry.production.look_history import RecordedLook

FIRST = RecordedLook(
    when=datetime(2026, 5, 1, 2, tzinfo=UTC),
    key="a" * 64,
    run="scheduled__2026-05-01",
    digest="d" * 64,
    training="file:///snapshots/d.parquet",
    records=235,
    number=1,
    level=0.015,
    p_value=0.2,
    verdict="no detectable difference",
)
SECOND = replace(FIRST, key="b" * 64, number=2, level=0.005, new=61, needed=59, since="the look of May")


class Store:
    """Where looks are kept, in memory."""

    def __init__(self, tags=None):
        self.tags = dict(tags or {})
        self.held = []

    def lock(self, who):
        self.held.append(who)
        return nullcontext(lambda: None)

    def history(self):
        return dict(self.tags)

    def set_history(self, key, value):
        self.tags[key] = value


def test_looks_are_read_as_they_were_recorded():
    store = Store()
    assert look_history.add(store, FIRST, after=[])
    assert look_history.add(store, SECOND, after=[FIRST])
    assert look_history.read(store.tags) == [FIRST, SECOND]
    assert sorted(store.tags) == ["heartline.look.n000001", "heartline.look.n000002"]
    assert store.held == ["look of scheduled__2026-05-01"] * 2


def test_a_look_that_another_one_overtook_is_not_recorded():
    store = Store()
    assert look_history.add(store, FIRST, after=[])
    assert not look_history.add(store, replace(SECOND, number=1), after=[])
    assert look_history.read(store.tags) == [FIRST]


def test_the_order_is_that_of_the_numbers_and_not_of_the_clock():
    store = Store()
    earlier = replace(SECOND, when=datetime(2020, 1, 1, tzinfo=UTC))
    look_history.add(store, FIRST, after=[])
    look_history.add(store, earlier, after=[FIRST])
    assert look_history.read(dict(reversed(store.tags.items()))) == [FIRST, earlier]


def test_tags_of_other_kinds_and_damaged_ones_are_skipped_and_never_overwritten():
    damaged = {"heartline.look.n000007": "{", "heartline.look.n000003": '{"when": "2026"}', "note": "a text"}
    store = Store({**damaged, alias_history.PREFIX + "n000001": "{}"})
    assert look_history.read(store.tags) == []
    assert look_history.add(store, FIRST, after=[])
    assert store.tags["heartline.look.n000008"] == FIRST.as_text()
    assert store.tags.items() >= damaged.items()


def test_looks_are_no_moves_of_production():
    store = Store()
    look_history.add(store, FIRST, after=[])
    assert alias_history.tagged(store.tags) == []
