"""Adds entries to the ledger and reads them, with the role of the URL in ``VARIABLE``."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from typing import Any, Protocol

import psycopg2  # type: ignore[import-untyped]
from psycopg2 import errors

from heartline import postgres, visible
from heartline.errors import LedgerError, LedgerRefusedError
from heartline.ledger.entry import KINDS, Entry, Head

__all__ = ["VARIABLE", "LedgerError", "LedgerRefusedError", "Store", "append", "configured", "entries", "head"]

VARIABLE = "HEARTLINE_LEDGER_URL"
LOCK_SECONDS = 10  # another writer holds the lock for one transaction of milliseconds
STATEMENT_SECONDS = 60
_ENTRIES = "SELECT number, at, kind, version, by, facts::text, writer, key, previous, hash FROM ledger.entries"
_APPEND = (
    "INSERT INTO ledger.entries (kind, version, by, facts, key) VALUES (%s, %s, %s, %s::jsonb, %s) "
    "RETURNING number, at, kind, version, by, facts::text, writer, key, previous, hash"
)


class Ledger(Protocol):
    """What the moves of an alias need of the ledger."""

    def append(
        self, kind: str, *, by: str, version: str = "", facts: Mapping[str, Any] | None = None, key: str | None = None
    ) -> Entry:
        """Add an entry; with a known key, return the entry that has it."""

    def entries(self, *, kinds: Sequence[str] = (), until: datetime | None = None) -> list[Entry]:
        """Return the entries, oldest first."""


class Store:
    """The ledger in PostgreSQL.

    Args:
        url: of the database, for a role that may write to the ledger; "" where none is configured.
    """

    def __init__(self, url: str) -> None:
        self._url = url

    def append(
        self, kind: str, *, by: str, version: str = "", facts: Mapping[str, Any] | None = None, key: str | None = None
    ) -> Entry:
        """Add an entry; see the function ``append``."""
        return append(kind, by=by, version=version, facts=facts, key=key, url=self._url)

    def entries(self, *, kinds: Sequence[str] = (), until: datetime | None = None) -> list[Entry]:
        """Return the entries, oldest first; see the function ``entries``."""
        return entries(kinds=kinds, until=until, url=self._url)

    def head(self) -> Head | None:
        """Return the record of the last entry; see the function ``head``."""
        return head(url=self._url)


def append(
    kind: str,
    *,
    by: str,
    version: str = "",
    facts: Mapping[str, Any] | None = None,
    key: str | None = None,
    url: str | None = None,
) -> Entry:
    """Add an entry. PostgreSQL sets its number, time, writer and hashes.

    Args:
        kind: one of ``entry.KINDS``.
        by: who did it: a user name, ``run`` and the id of an Airflow run, or ``service on`` and a host.
        version: the registered version that it is about, "" for none.
        facts: what else there is to say, as JSON; no values of patients.
        key: an entry with a key is added once: again, and by another writer, the first entry is returned.
        url: of the database; by default that of ``HEARTLINE_LEDGER_URL``.

    Returns:
        The entry.

    Raises:
        LedgerError: the database does not answer. It is unknown whether the entry was added, if it has no key.
        LedgerRefusedError: no ledger is configured, or the database refuses.
    """
    if kind not in KINDS:
        raise ValueError(f"the ledger has no entries of kind {kind!r}")
    text = json.dumps(_clean(dict(facts or {})), ensure_ascii=False, allow_nan=False)
    values = (kind, _clean(version), _clean(by), text, None if key is None else _clean(key))
    with _transaction(url) as cursor:
        cursor.execute(_APPEND, values)
        found = cursor.fetchone()
        if found is None:
            cursor.execute(f"{_ENTRIES} WHERE key = %s", (values[-1],))
            found = cursor.fetchone()
    return _entry(found)


def entries(*, kinds: Sequence[str] = (), until: datetime | None = None, url: str | None = None) -> list[Entry]:
    """Return the entries, oldest first.

    Args:
        kinds: only entries of these kinds; () for all.
        until: only entries of this time or before.
        url: of the database; by default that of ``HEARTLINE_LEDGER_URL``.

    Raises:
        LedgerError: the database does not answer.
        LedgerRefusedError: no ledger is configured, or the database refuses.
    """
    wanted: list[Any] = []
    conditions = []
    if kinds:
        conditions.append("kind = ANY(%s)")
        wanted.append(list(kinds))
    if until is not None:
        conditions.append("at <= %s")
        wanted.append(until)
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    with _transaction(url) as cursor:
        cursor.execute(f"{_ENTRIES}{where} ORDER BY number", wanted)
        return [_entry(row) for row in cursor.fetchall()]


def head(*, url: str | None = None) -> Head | None:
    """Return the number and the hash of the last entry, as the ledger keeps them beside the entries; None: missing.

    Args:
        url: of the database; by default that of ``HEARTLINE_LEDGER_URL``.

    Raises:
        LedgerError: the database does not answer.
        LedgerRefusedError: no ledger is configured, or the database refuses.
    """
    with _transaction(url) as cursor:
        cursor.execute("SELECT number, hash FROM ledger.head")
        found = cursor.fetchone()
    return Head(*found) if found else None


def configured() -> str:
    """Return the URL of the ledger of this process, "" where there is none."""
    return os.environ.get(VARIABLE, "")


@contextmanager
def _transaction(url: str | None) -> Iterator[Any]:
    """Yield a cursor; commit when the block ends, and turn PostgreSQL's errors into those of the ledger."""
    url = configured() if url is None else url
    if not url:
        raise LedgerRefusedError(
            "no ledger is configured",
            where=f"setting {VARIABLE}",
            expected="the database with the ledger, which the stack sets for its tasks and commands",
            hint="./heartline up; with docker compose: ./heartline init, then docker compose up --wait",
        )
    where = f"PostgreSQL at {postgres.place(url)}, role {postgres.role(url)}"
    try:
        with closing(postgres.connect(url)) as opened, opened, opened.cursor() as cursor:
            # of the transaction and not of the session: also right behind a pooler of transactions
            cursor.execute(
                "SELECT set_config('lock_timeout', %s, true), set_config('statement_timeout', %s, true)",
                (f"{LOCK_SECONDS}s", f"{STATEMENT_SECONDS}s"),
            )
            yield cursor
    except (psycopg2.OperationalError, psycopg2.InterfaceError) as error:
        raise LedgerError(
            f"the ledger cannot be reached: {postgres.first_line(error)}",
            where=where,
            expected="a PostgreSQL database that answers",
            hint="check that PostgreSQL runs (./heartline status), then try again",
        ) from error
    except psycopg2.Error as error:
        raise _refused(error, where) from error


def _refused(error: psycopg2.Error, where: str) -> LedgerRefusedError:
    missing = isinstance(error, (errors.UndefinedTable, errors.InvalidSchemaName, errors.InsufficientPrivilege))
    return LedgerRefusedError(
        f"the ledger refuses: {postgres.first_line(error)}",
        where=where,
        expected="the tables and rights that `up` creates" if missing else "an entry that the ledger takes",
        hint="./heartline up creates what is missing; with docker compose: docker compose up --wait"
        if missing
        else "see the message",
    )


def _entry(row: Sequence[Any]) -> Entry:
    number, at, kind, version, by, text, writer, key, previous, digest = row
    facts = json.loads(text)
    return Entry(
        number,
        at.astimezone(UTC),
        kind,
        version,
        by,
        facts if isinstance(facts, dict) else {},
        writer,
        key,
        previous,
        digest,
        text,
    )


def _clean(value: Any) -> Any:
    """Return a value without the invisible characters, which PostgreSQL refuses in part, in its texts."""
    if isinstance(value, str):
        return visible.escaped(value, keep="\n")
    if isinstance(value, Mapping):
        return {_clean(str(name)): _clean(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_clean(one) for one in value]
    return value
