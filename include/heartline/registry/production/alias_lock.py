"""The lock that each move of an alias holds, from the check of the move to its entry in the history.

With the URL of a PostgreSQL database it is an advisory lock there, which excludes the movers of all machines and
containers. PostgreSQL releases it when the session of its holder ends, however it ends. Without a URL it is a file lock
on this machine, which the operating system releases likewise.
"""

import fcntl
import hashlib
import os
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg2  # type: ignore[import-untyped]
from psycopg2 import errors

from heartline import contract, postgres
from heartline.errors import RegistryError

VARIABLE = "HEARTLINE_ALIAS_LOCK_URL"
WAIT_SECONDS = 60.0
NAME_BYTES = 63  # of a session, that PostgreSQL keeps
_KEY = int.from_bytes(hashlib.sha256(f"heartline.alias.{contract.MODEL_NAME}".encode()).digest()[:8], signed=True)
_HOLDERS = """
    SELECT application_name, pid, xact_start FROM pg_locks JOIN pg_stat_activity USING (pid)
    WHERE locktype = 'advisory' AND granted AND objsubid = 1
      AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND (classid::bigint << 32 | objid::bigint) = %s
"""

StillHeld = Callable[[], None]
"""Raises ``AliasLockError`` if the lock was lost, as after a restart of PostgreSQL."""


class AliasLockError(RegistryError):
    """The lock could not be had in time, or was lost."""


@contextmanager
def hold(who: str, *, url: str = "", registry: str = "", seconds: float = WAIT_SECONDS) -> Iterator[StillHeld]:
    """Hold the lock while the block runs. It is not reentrant.

    Args:
        who: what is done and by whom; others who wait see it.
        url: of a PostgreSQL database, with or without SQLAlchemy's driver; "" for a file lock on this machine.
        registry: MLflow's tracking URI, which a file lock is named after.
        seconds: to wait for another holder.

    Raises:
        AliasLockError: another holder has not released it in time (its name is in the message), or there is no
            connection to the database.
    """
    with _session(who, url, seconds) if url else _file(who, _path(registry), seconds) as still_held:
        yield still_held


@contextmanager
def _session(who: str, url: str, seconds: float) -> Iterator[StillHeld]:
    where = postgres.place(url)
    name = f"{who} on {socket.gethostname()}".encode()[:NAME_BYTES].decode(errors="ignore")
    try:
        connection = postgres.connect(url, application_name=name)
    except psycopg2.Error as error:
        raise _unreachable(where, error) from error
    with closing(connection):
        # a lock of the transaction and not of the session: it also excludes others behind a pooler of transactions
        try:
            with connection.cursor() as cursor:
                cursor.execute("SET LOCAL lock_timeout = %s", (f"{max(1, round(seconds * 1000))}ms",))
                cursor.execute("SELECT pg_advisory_xact_lock(%s)", (_KEY,))
        except errors.LockNotAvailable as error:
            connection.rollback()
            raise _held(where, _holders(connection), seconds) from error
        except psycopg2.Error as error:
            raise _unreachable(where, error) from error

        def still_held() -> None:
            try:
                with connection.cursor() as cursor:
                    cursor.execute("SELECT 1")
            except psycopg2.Error as error:
                raise _unreachable(where, error) from error

        yield still_held


def _holders(connection: Any) -> str:
    with connection.cursor() as cursor:
        cursor.execute(_HOLDERS, (_KEY,))
        found = cursor.fetchall()
    return "; ".join(f"{name}, PostgreSQL process {pid}, since {since:%H:%M:%S %Z}" for name, pid, since in found)


@contextmanager
def _file(who: str, path: Path, seconds: float) -> Iterator[StillHeld]:
    deadline = time.monotonic() + seconds
    with path.open("a+") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    file.seek(0)
                    raise _held(str(path), file.read().strip(), seconds) from None
                time.sleep(0.02)
        file.truncate(0)
        file.write(f"{who}, process {os.getpid()}, since {datetime.now(UTC):%H:%M:%S} UTC\n")
        file.flush()
        try:
            yield lambda: None  # the operating system takes a file lock from nobody
        finally:
            file.truncate(0)


def _path(registry: str) -> Path:
    """Return the lock file: beside an SQLite file, else one of this user for this tracking URI."""
    if registry.startswith("sqlite:///"):
        return Path(f"{urlsplit(registry).path[1:] or 'mlflow.db'}.alias-lock")
    digest = hashlib.sha256(registry.rstrip("/").encode()).hexdigest()[:16]
    return Path(tempfile.gettempdir(), f"heartline-alias-{os.getuid()}-{digest}.lock")


def _held(where: str, holder: str, seconds: float) -> AliasLockError:
    return AliasLockError(
        f"another move of an alias is in progress, and did not end within {seconds:g} s",
        where=f"the lock in {where}, held by {holder or 'a process that has just ended'}",
        expected="one move at a time",
        hint="see the history, then try again; if the holder hangs, end it",
    )


def _unreachable(where: str, error: Exception) -> AliasLockError:
    lines = str(error).strip().splitlines()
    return AliasLockError(
        f"the lock for moves of an alias could not be had or was lost: {lines[0] if lines else type(error).__name__}",
        where=f"PostgreSQL at {where}",
        expected="a PostgreSQL database that answers",
        hint="check that PostgreSQL runs, then try again",
    )
