"""The ledger's tables in PostgreSQL, in the schema ``ledger`` of the database ``heartline``.

They belong to the role ``OWNER``, which cannot log in. The roles that write to the ledger may insert and read, and
nothing else. Whoever may administer the server can take the owner's place; ``chain.verify`` finds what was changed.
"""

from collections.abc import Sequence
from typing import Any

from heartline.ledger.entry import FIRST, KINDS, SERVICE_KINDS

OWNER = "ledger_owner"
WRITER = "ledger"
SERVICE = "ledger_service"
LOGINS = (WRITER, SERVICE)


def _listed(kinds: Sequence[str]) -> str:
    return ", ".join(f"'{kind}'" for kind in kinds)


# The row of `head` is the lock of all writers: its number and hash are read and replaced in the transaction that adds
# the entry. A trigger before the insertion also skips an entry with a known key, because `ON CONFLICT` would be asked
# after the number was taken.
TABLES = f"""
CREATE SCHEMA IF NOT EXISTS ledger;

CREATE TABLE IF NOT EXISTS ledger.entries (
    number bigint PRIMARY KEY,
    at timestamptz NOT NULL,
    kind text NOT NULL,
    version text NOT NULL DEFAULT '',
    by text NOT NULL,
    facts jsonb NOT NULL DEFAULT '{{}}',
    writer text NOT NULL,
    key text UNIQUE,
    previous text NOT NULL,
    hash text NOT NULL
);
CREATE INDEX IF NOT EXISTS entries_kind ON ledger.entries (kind, number);

CREATE TABLE IF NOT EXISTS ledger.head (
    single boolean PRIMARY KEY DEFAULT true CHECK (single),
    number bigint NOT NULL,
    hash text NOT NULL
);
INSERT INTO ledger.head (number, hash)
    SELECT 0, '{FIRST}' WHERE NOT EXISTS (SELECT FROM ledger.head) AND NOT EXISTS (SELECT FROM ledger.entries);

CREATE OR REPLACE FUNCTION ledger.field(text) RETURNS bytea
LANGUAGE sql IMMUTABLE STRICT SET search_path = pg_catalog, pg_temp AS $$
    SELECT convert_to(octet_length(convert_to($1, 'UTF8')) || ':' || $1 || ',', 'UTF8')
$$;

CREATE OR REPLACE FUNCTION ledger.enter() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    last ledger.head%ROWTYPE;
BEGIN
    IF NEW.kind NOT IN ({_listed(tuple(KINDS))}) THEN
        RAISE EXCEPTION 'the ledger has no entries of kind %', NEW.kind USING ERRCODE = 'check_violation';
    END IF;
    IF session_user = '{SERVICE}' AND NEW.kind NOT IN ({_listed(SERVICE_KINDS)})
        OR session_user = '{WRITER}' AND NEW.kind = 'pruned' THEN
        RAISE EXCEPTION 'the role % may not enter %', session_user, NEW.kind USING ERRCODE = 'insufficient_privilege';
    END IF;
    SELECT * INTO STRICT last FROM ledger.head FOR UPDATE;
    IF NEW.key IS NOT NULL AND EXISTS (SELECT FROM ledger.entries WHERE key = NEW.key) THEN
        RETURN NULL;
    END IF;
    NEW.number := last.number + 1;
    NEW.at := clock_timestamp();
    NEW.writer := session_user;
    NEW.previous := last.hash;
    NEW.hash := encode(sha256(
        ledger.field(NEW.number::text)
        || ledger.field(to_char(NEW.at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'))
        || ledger.field(NEW.kind)
        || ledger.field(NEW.version)
        || ledger.field(NEW."by")
        || ledger.field(NEW.facts::text)
        || ledger.field(NEW.writer)
        || coalesce(ledger.field(NEW.key), convert_to('-,', 'UTF8'))
        || ledger.field(NEW.previous)
    ), 'hex');
    UPDATE ledger.head SET number = NEW.number, hash = NEW.hash;
    RETURN NEW;
END
$$;

CREATE OR REPLACE FUNCTION ledger.refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'entries of the ledger are added, and never changed: % is refused', TG_OP
        USING ERRCODE = 'insufficient_privilege';
END
$$;

DROP TRIGGER IF EXISTS enter ON ledger.entries;
CREATE TRIGGER enter BEFORE INSERT ON ledger.entries FOR EACH ROW EXECUTE FUNCTION ledger.enter();
DROP TRIGGER IF EXISTS refuse ON ledger.entries;
CREATE TRIGGER refuse BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger.entries
    FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse();

REVOKE ALL ON SCHEMA ledger FROM PUBLIC;
REVOKE ALL ON ALL TABLES IN SCHEMA ledger FROM PUBLIC;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA ledger FROM PUBLIC;
GRANT USAGE ON SCHEMA ledger TO {WRITER}, {SERVICE};
GRANT SELECT ON ledger.entries, ledger.head TO {WRITER}, {SERVICE};
GRANT INSERT (kind, version, by, facts, key) ON ledger.entries TO {WRITER}, {SERVICE};
"""  # noqa: S608 - no text from outside


def create(cursor: Any) -> None:
    """Create what is missing of the tables, functions and rights. Entries are not touched.

    Args:
        cursor: of a transaction of a user who may take the role ``OWNER``.

    Raises:
        psycopg2.Error: PostgreSQL refuses.
    """
    cursor.execute(f"SET LOCAL ROLE {OWNER}")
    cursor.execute(TABLES)
