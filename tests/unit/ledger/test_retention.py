"""Old entries are removed by the owner only, from the beginning, and the chain is verified afterwards."""

from dataclasses import replace

import pytest

from heartline.ledger import chain, retention, store
from heartline.ledger.entry import FIRST, Head
from stack.processes.databases import prune_ledger


def age(database, days, where="true"):
    """Make entries older, as the time does, and compute all hashes anew."""
    database.administer(f"UPDATE ledger.entries SET at = at - interval '{days} days' WHERE {where}")
    previous, statements = FIRST, []
    for entry in store.entries():
        changed = replace(entry, previous=previous)
        previous = chain.digest(changed)
        hashes = f"previous = '{changed.previous}', hash = '{previous}'"
        statements.append(f"UPDATE ledger.entries SET {hashes} WHERE number = {entry.number}")
    database.administer(*statements, f"UPDATE ledger.head SET hash = '{previous}'")


def move(version, origin="uci"):
    store.append("moved", by="anna", version=version, facts={"alias": "production", "to": version, "origin": origin})


def prune(database, days):
    return prune_ledger(database.server, days, by="heartline up")


def kinds():
    return [one.kind for one in store.entries()]


def test_old_entries_are_removed_and_the_chain_continues(database):
    for number in range(4):
        store.append("registered", by="run r", version=str(number))
    age(database, 40, "number <= 3")
    third = store.entries()[2]
    assert prune(database, 30) == 3
    fourth, pruned = store.entries()
    assert (fourth.number, pruned.number, pruned.kind, pruned.by) == (4, 5, "pruned", "heartline up")
    assert pruned.facts["through"] == 3
    assert pruned.facts["hash"] == third.hash
    assert (pruned.facts["entries"], pruned.facts["days"]) == (3, 30)
    store.append("registered", by="run r")
    assert chain.verify(store.entries(), store.head(), [Head(3, third.hash)]) is None
    assert prune(database, 30) == 0
    assert kinds() == ["registered", "pruned", "registered"], "and nothing is entered"


def test_what_is_altered_after_a_removal_is_found(database):
    for _ in range(4):
        store.append("registered", by="run r")
    age(database, 40, "number <= 2")
    prune(database, 30)
    database.administer("DELETE FROM ledger.entries WHERE number = 3")
    found = chain.verify(store.entries(), store.head())
    assert (found.number, found.what) == (3, "entry 3 is missing")


def test_the_moves_that_the_guards_need_are_kept_whatever_their_age(database):
    move("1")
    store.append("registered", by="run r")
    move("2")  # the last of real data
    store.append("registered", by="run r")
    for version in ("3", "4", "5"):
        move(version, "sample")
    age(database, 400)
    assert prune(database, 30) == 2
    assert [one.version for one in store.entries(kinds=("moved",))] == ["2", "3", "4", "5"]
    assert chain.verify(store.entries(), store.head()) is None


def test_the_triggers_refuse_again_after_a_removal(database):
    store.append("registered", by="run r")
    age(database, 40)
    assert prune(database, 30) == 1
    assert database.run("SELECT 1") == [(1,)]
    with pytest.raises(Exception, match="added, and never changed"):
        database.administer("SET session_replication_role = origin", "DELETE FROM ledger.entries")


def test_an_empty_ledger_and_no_setting_remove_nothing(database):
    assert prune(database, 1) == 0
    store.append("registered", by="run r")
    age(database, 40)
    assert prune(database, retention.days(None)) == prune(database, retention.days("")) == 0
    assert kinds() == ["registered"]
