"""Entries are added, numbered, chained and read, by writers at once, and while the database is away."""

import json
import multiprocessing
from datetime import UTC, datetime, timedelta

import psycopg2
import pytest
from psycopg2 import errors

from heartline.errors import PermanentError
from heartline.ledger import chain, schema, store
from heartline.ledger.entry import FIRST, KINDS
from heartline.ledger.store import LedgerError, LedgerRefusedError


def test_an_entry_is_numbered_dated_and_chained(database):
    before = datetime.now(UTC)
    first = store.append("registered", by="run r", version="1", facts={"family": "forest", "n": 1.50, "ä": None})
    second = store.append("moving", by="anna")
    assert (first.number, second.number) == (1, 2)
    assert (first.previous, second.previous) == (FIRST, first.hash)
    assert (first.kind, first.version, first.by, first.writer) == ("registered", "1", "run r", "ledger")
    assert first.facts == {"family": "forest", "n": 1.5, "ä": None}
    assert before - timedelta(seconds=1) <= first.at <= second.at
    assert store.entries() == [first, second]
    assert chain.verify(store.entries(), store.head()) is None


def test_python_computes_the_same_hash_as_postgresql(database):
    odd = {"b": [1e300, -0.0, 3, True, "x\u202ey"], "a": {"nested": "ü,3:"}, "": "\n'\"\\"}
    for kind in KINDS:
        if kind != "pruned":
            store.append(kind, by="Zoë, 3:a,", version="", facts=odd, key=f"{kind}:ß")
    store.append("moved", by="", facts=None, key="-")
    assert [chain.digest(one) for one in store.entries()] == [one.hash for one in store.entries()]


def test_the_same_key_again_is_the_first_entry(database):
    first = store.append("registered", by="run 1", key="a")
    assert store.append("registered", by="run 2", version="9", key="a") == first
    other = store.append("registered", by="run 2", key="b")
    assert other.number == 2, "a known key takes no number"


def test_entries_are_selected_by_kind_and_time(database):
    first = store.append("registered", by="run 1")
    second = store.append("moved", by="run 1")
    assert store.entries(kinds=("moved", "moving")) == [second]
    assert store.entries(until=first.at) == [first]
    assert store.entries(until=first.at - timedelta(seconds=1)) == []


def test_characters_that_cannot_be_seen_are_escaped(database):
    found = store.append("rejected", by="anna\x00", facts={"reason": "a\x00b\ud800"})
    assert found.by == "anna\\x00"
    assert "\x00" not in json.dumps(found.facts)
    assert chain.verify(store.entries(), store.head()) is None


def test_a_kind_that_does_not_exist_is_refused_here_and_there(database):
    with pytest.raises(ValueError, match="no entries of kind 'promoted'"):
        store.append("promoted", by="anna")
    with pytest.raises(errors.CheckViolation), psycopg2.connect(database.ledger_url) as connection:
        connection.cursor().execute("INSERT INTO ledger.entries (kind, by) VALUES ('promoted', 'anna')")


@pytest.mark.parametrize("kind", ["approved", "moved", "registered"])
def test_the_service_enters_what_it_does_and_nothing_else(database, kind):
    assert store.append("served", by="service on a", url=database.service_ledger_url).writer == schema.SERVICE
    with pytest.raises(LedgerRefusedError, match=f"the role ledger_service may not enter {kind}"):
        store.append(kind, by="anna", url=database.service_ledger_url)


def _append(url, writer, count, barrier):
    barrier.wait()
    for number in range(count):
        store.append("registered", by=f"writer {writer}", facts={"n": number}, key=f"shared {number}", url=url)
        store.append("moved", by=f"writer {writer}", facts={"n": number}, url=url)


def test_writers_at_once_leave_one_chain_without_gap(database):
    process = multiprocessing.get_context("spawn")
    barrier = process.Barrier(3)
    writers = [process.Process(target=_append, args=(database.ledger_url, one, 25, barrier)) for one in range(3)]
    for one in writers:
        one.start()
    for one in writers:
        one.join()
    assert [one.exitcode for one in writers] == [0, 0, 0]
    entries = store.entries()
    assert [one.number for one in entries] == list(range(1, 25 + 75 + 1))
    assert chain.verify(entries, store.head()) is None
    for writer in range(3):
        own = [one.facts["n"] for one in entries if one.kind == "moved" and one.by == f"writer {writer}"]
        assert own == list(range(25)), "each writer's entries are in its order"


def test_an_entry_that_is_not_committed_takes_no_number(database):
    with psycopg2.connect(database.ledger_url) as connection:
        connection.cursor().execute("INSERT INTO ledger.entries (kind, by) VALUES ('moved', 'anna')")
        connection.rollback()
    assert store.append("moved", by="bea").number == 1


def test_a_writer_that_holds_the_lock_for_long_is_an_error_that_is_retried(database, monkeypatch):
    monkeypatch.setattr(store, "LOCK_SECONDS", 0.1)
    connection = psycopg2.connect(database.ledger_url)
    try:
        connection.cursor().execute("INSERT INTO ledger.entries (kind, by) VALUES ('moved', 'anna')")
        with pytest.raises(LedgerError, match="lock timeout") as caught:
            store.append("moved", by="bea")
        assert not isinstance(caught.value, PermanentError)
    finally:
        connection.close()
    assert store.append("moved", by="bea").number == 1


def test_a_database_that_is_away_is_an_error_without_password_and_is_retried(database):
    store.append("moved", by="anna")
    database.stop()
    for call in (store.entries, store.head, lambda: store.append("moved", by="bea")):
        with pytest.raises(LedgerError, match="the ledger cannot be reached") as caught:
            call()
        assert not isinstance(caught.value, PermanentError)
        assert caught.value.where.endswith("/heartline, role ledger")
        assert database.ledger_url.split(":")[2].partition("@")[0] not in str(caught.value)
    database.start()
    assert store.append("moved", by="bea").number == 2
    assert chain.verify(store.entries(), store.head()) is None


def test_without_a_ledger_there_is_a_clear_error(monkeypatch):
    monkeypatch.delenv(store.VARIABLE, raising=False)
    with pytest.raises(LedgerRefusedError, match="no ledger is configured") as caught:
        store.append("moved", by="anna")
    assert isinstance(caught.value, PermanentError)
    assert store.VARIABLE in caught.value.where
    assert "./heartline up" in caught.value.hint


def test_a_database_without_the_ledger_says_what_creates_it(database):
    with pytest.raises(LedgerRefusedError, match=r'relation "ledger\.entries" does not exist') as caught:
        store.entries(url=database.url)
    assert "./heartline up creates what is missing" in caught.value.hint
