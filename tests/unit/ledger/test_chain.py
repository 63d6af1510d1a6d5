"""What whoever may change the tables has changed is found, and the first entry that it concerns is named."""

from dataclasses import replace

import pytest

from heartline.ledger import chain, store
from heartline.ledger.entry import Head

SHIFTED = "UPDATE ledger.entries SET number = number + 1000 WHERE number >= 3"
BACK = "UPDATE ledger.entries SET number = number - 999 WHERE number > 1000"


@pytest.fixture
def filled(database):
    """A ledger with six entries."""
    for number in range(1, 7):
        store.append("moved", by="anna", version=str(number), facts={"how": "promote", "n": number}, key=f"k{number}")
    return database


def verified(outside=()):
    found = chain.verify(store.entries(), store.head(), outside)
    return (found.number, found.what) if found else None


def test_what_nobody_changed_is_verified(filled):
    assert verified() is None


def test_an_empty_ledger_is_verified(database):
    assert verified() is None


@pytest.mark.parametrize(
    "change",
    [
        "by = 'eve'",
        "version = '9'",
        "kind = 'approved'",
        "at = at + interval '1 microsecond'",
        "writer = 'postgres'",
        "key = NULL",
        """facts = facts || '{"n": 4.0}'""",
        "facts = facts - 'how'",
        "previous = repeat('0', 64)",
        "hash = repeat('0', 64)",
    ],
)
def test_an_altered_entry_is_named(filled, change):
    filled.administer(f"UPDATE ledger.entries SET {change} WHERE number = 4")
    number, what = verified()
    assert number == 4
    assert what.startswith("entry 4 was altered: its hash is ")


@pytest.mark.parametrize(
    ("removed", "number", "what"),
    [
        ("number = 3", 3, "entry 3 is missing"),
        ("number IN (3, 4)", 3, "entries 3 to 4 are missing"),
        ("number = 1", 1, "entry 1 is missing"),
        ("number = 6", 6, "entry 6 was removed from the end"),
        ("number > 4", 5, "entries 5 to 6 were removed from the end"),
        ("true", 1, "entries 1 to 6 were removed from the end"),
    ],
)
def test_a_removed_entry_is_named(filled, removed, number, what):
    filled.administer(f"DELETE FROM ledger.entries WHERE {removed}")
    assert verified() == (number, what)


def test_an_entry_that_was_removed_and_the_others_renumbered(filled):
    filled.administer(
        "DELETE FROM ledger.entries WHERE number = 3",
        "UPDATE ledger.entries SET number = number - 1 WHERE number > 3",
        "UPDATE ledger.head SET number = 5",
    )
    assert verified() == (3, "entry 3 holds what was entered as entry 4")


def test_exchanged_entries_are_named(filled):
    filled.administer(
        "UPDATE ledger.entries SET number = 99 WHERE number = 3",
        "UPDATE ledger.entries SET number = 3 WHERE number = 5",
        "UPDATE ledger.entries SET number = 5 WHERE number = 99",
    )
    assert verified() == (3, "entry 3 holds what was entered as entry 5")


def test_an_entry_inserted_in_between_is_found_at_the_next_one(filled):
    """It has a right hash of its own: the entry that followed its predecessor gives it away."""
    third = store.entries()[2]
    inserted = replace(third, by="eve", key="eve")
    inserted = replace(inserted, hash=chain.digest(inserted))
    filled.administer(
        SHIFTED,
        BACK,
        "INSERT INTO ledger.entries (number, at, kind, version, by, facts, writer, key, previous, hash) VALUES "
        f"(3, '{third.at.isoformat()}', '{third.kind}', '{third.version}', 'eve', '{third.text}', '{third.writer}', "
        f"'eve', '{third.previous}', '{inserted.hash}')",
        "UPDATE ledger.head SET number = 7",
    )
    assert verified() == (4, "entry 4 holds what was entered as entry 3")


def test_a_replaced_entry_with_a_right_hash_is_found_at_the_next_one(filled):
    fourth = replace(store.entries()[3], by="eve")
    filled.administer(f"UPDATE ledger.entries SET by = 'eve', hash = '{chain.digest(fourth)}' WHERE number = 4")
    number, what = verified()
    assert number == 5
    assert what.startswith("entry 5 does not follow the entry before it")


def test_a_missing_record_of_the_last_entry_is_found(filled):
    filled.administer("DELETE FROM ledger.head")
    assert verified() == (6, "the record of the last entry is missing; the last entry found is 6")


def rewrite(database, start):
    """Replace an entry and compute all hashes after it anew, as only a user who may change the tables can."""
    entries = store.entries()
    previous = entries[start - 1].previous
    statements = []
    for entry in entries[start - 1 :]:
        changed = replace(entry, by="eve", previous=previous)
        previous = chain.digest(changed)
        statements.append(
            f"UPDATE ledger.entries SET by = 'eve', previous = '{changed.previous}', hash = '{previous}' "
            f"WHERE number = {entry.number}"
        )
    database.administer(*statements, f"UPDATE ledger.head SET hash = '{previous}'")


def test_a_rewritten_chain_is_found_only_by_a_hash_outside_of_the_database(filled):
    noted = Head(5, store.entries()[4].hash)
    assert verified([noted]) is None
    rewrite(filled, 4)
    assert verified() is None, "this is what the chain alone cannot prove"
    number, what = verified([noted])
    assert number == 5
    assert "the ledger was rewritten at this entry or before it" in what


def test_a_ledger_that_was_made_anew_does_not_hold_the_noted_entry(filled):
    noted = Head(5, store.entries()[4].hash)
    filled.empty_ledger()
    number, what = verified([noted])
    assert (number, "is missing now" in what) == (5, True)
