"""What the roles of the ledger may do: insert and read, and nothing else."""

import psycopg2
import pytest
from psycopg2 import errors

from heartline.ledger import chain, schema, store
from heartline.ledger.entry import Head

REFUSED = [
    "UPDATE ledger.entries SET by = 'eve'",
    "UPDATE ledger.entries SET by = 'eve' WHERE false",
    "DELETE FROM ledger.entries",
    "TRUNCATE ledger.entries",
    "DROP TABLE ledger.entries",
    "DROP SCHEMA ledger CASCADE",
    "ALTER TABLE ledger.entries DISABLE TRIGGER ALL",
    "ALTER TABLE ledger.entries OWNER TO CURRENT_USER",
    "DROP TRIGGER enter ON ledger.entries",
    "CREATE OR REPLACE FUNCTION ledger.enter() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
    "CREATE TABLE ledger.other (n int)",
    "UPDATE ledger.head SET number = 0",
    "DELETE FROM ledger.head",
    "INSERT INTO ledger.head (number, hash) VALUES (0, '')",
    "INSERT INTO ledger.entries (number, kind, by) VALUES (77, 'moved', 'eve')",
    "INSERT INTO ledger.entries (kind, by, at) VALUES ('moved', 'eve', '2020-01-01')",
    "INSERT INTO ledger.entries (kind, by, writer) VALUES ('moved', 'eve', 'ledger')",
    "INSERT INTO ledger.entries (kind, by, hash) VALUES ('moved', 'eve', 'x')",
    "INSERT INTO ledger.entries (kind, by) VALUES ('pruned', 'eve')",
    "INSERT INTO ledger.entries (kind, by, key) VALUES ('served', 'a', 'a') ON CONFLICT (key) DO UPDATE SET by = 'eve'",
    f"SET ROLE {schema.OWNER}",
    "SET session_replication_role = replica",
    "SELECT ledger.refuse()",
    "SELECT pg_read_file('PG_VERSION')",
]


@pytest.mark.parametrize("statement", REFUSED)
@pytest.mark.parametrize("role", schema.LOGINS)
def test_a_writer_inserts_and_reads_and_nothing_else(database, role, statement):
    url = database.ledger_url if role == schema.WRITER else database.service_ledger_url
    first = store.append("served", by="service on a", key="a", url=url)
    connection = psycopg2.connect(url)
    try:
        with pytest.raises(psycopg2.errors.InsufficientPrivilege), connection, connection.cursor() as cursor:
            cursor.execute(statement)
    finally:
        connection.close()
    assert store.entries() == [first]
    assert store.head() == Head(1, first.hash)


@pytest.mark.parametrize("statement", ["UPDATE ledger.entries SET by = 'eve'", "DELETE FROM ledger.entries"])
def test_the_owner_is_refused_too_unless_it_changes_the_tables(database, statement):
    store.append("moved", by="anna")
    with pytest.raises(errors.InsufficientPrivilege, match="added, and never changed"):
        database.administer("SET session_replication_role = origin", f"SET ROLE {schema.OWNER}", statement)
    assert [one.by for one in store.entries()] == ["anna"]


def test_the_role_of_the_database_neither_reads_nor_changes_the_ledger(database):
    """The source `postgres` reads with this role."""
    url = database.ledger_url.replace(database.ledger_url.split("@")[0], f"postgresql://{database.login('heartline')}")
    for statement in ("SELECT * FROM ledger.entries", "DROP SCHEMA ledger CASCADE", "DROP TABLE ledger.entries"):
        connection = psycopg2.connect(url)
        try:
            with pytest.raises(errors.InsufficientPrivilege), connection.cursor() as cursor:
                cursor.execute(statement)
        finally:
            connection.close()


def test_the_owner_cannot_log_in_and_is_no_superuser(database):
    found = database.run(
        "SELECT rolcanlogin, rolsuper, rolcreaterole, rolcreatedb FROM pg_roles WHERE rolname = %s", schema.OWNER
    )
    assert found == [(False, False, False, False)]
    assert database.run("SELECT rolname FROM pg_roles WHERE starts_with(rolname, 'ledger') AND rolsuper") == []


def test_an_up_restores_triggers_and_leaves_the_entries(database):
    store.append("moved", by="anna")
    database.administer("ALTER TABLE ledger.entries DISABLE TRIGGER ALL")
    database.provide()
    entry = store.append("moved", by="bea")
    assert entry.number == 2
    assert chain.verify(store.entries(), store.head()) is None
