"""A connection to PostgreSQL on which no statement can hang.

Each statement has a deadline that also applies if the server hangs or packets are dropped: the connection is
asynchronous, and ``Connection._wait`` waits for it.
"""

import select
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

import psycopg2  # type: ignore[import-untyped]
from psycopg2 import extensions

from serving.settings import PREFIX, SettingError

CONNECT_TIMEOUT_SECONDS = 3.0
STATEMENT_TIMEOUT_SECONDS = 10.0
POLL_MILLISECONDS = 100  # after which a changed deadline takes effect
APPLICATION = "heartline-service"

Result = TypeVar("Result")


class DatabaseError(Exception):
    """A statement failed; the text says why, without any secret."""


def check_url(url: str, name: str, use: str) -> None:
    """Check that the database driver can parse ``url``.

    Args:
        url: the URL, or off.
        name: the setting that has it, without prefix.
        use: what the database is for.

    Raises:
        SettingError: it cannot. The text does not repeat the URL, which contains a password.
    """
    try:
        extensions.parse_dsn("" if url == "off" else url)
    except psycopg2.Error:
        raise SettingError(
            "the value cannot be parsed",
            where=PREFIX + name,
            expected="postgresql://user:password@host:port/database, special characters in it as %XX",
            hint=f"correct the variable, or unset it to switch the {use} off",
        ) from None


class Connection:
    """One connection, opened when it is needed and closed after any failure. For one thread.

    Args:
        url: connection URL of libpq.
        seconds: time-out of a statement; it may be changed at any time.
    """

    def __init__(self, url: str, seconds: float = STATEMENT_TIMEOUT_SECONDS) -> None:
        self._url = url
        self._connection: Any = None
        self._usual_seconds = seconds
        self.seconds = seconds

    def open(self) -> None:
        """Connect, unless connected.

        Raises:
            DatabaseError: the database is unreachable, or cannot be used.
        """
        if self._connection is None:
            self._run(lambda: None)

    def close(self) -> None:
        """Close the connection, if there is one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(psycopg2.Error):
                connection.close()

    def _prepare(self) -> None:
        """Do what a new connection needs first."""

    def _run(self, action: Callable[[], Result]) -> Result:
        """Return the result of ``action``, with an open connection.

        Raises:
            DatabaseError: the database is unreachable, or a statement failed.
            ValueError: the database refuses the data.
        """
        try:
            if self._connection is None:
                self._open()
            return action()
        except psycopg2.DataError as error:
            self.close()
            raise ValueError(_first_line(error)) from None
        except psycopg2.Error as error:
            self.close()
            raise DatabaseError(_first_line(error)) from None
        except ValueError:  # of the driver, about a value that Python does not have; a transaction may be open
            self.close()
            raise

    def _open(self) -> None:
        self._connection = psycopg2.connect(self._url, application_name=APPLICATION, async_=True)
        self._wait(CONNECT_TIMEOUT_SECONDS)
        milliseconds = int(self.seconds * 1000)
        self._execute(
            "SET timezone = 'UTC'; SET statement_timeout = %s; SET lock_timeout = %s", milliseconds, milliseconds
        )
        self._prepare()

    def _execute(self, statement: str, *values: Any) -> Any:
        """Run a statement, wait for its end, and return its cursor."""
        cursor = self._connection.cursor()
        cursor.execute(statement, values)
        self._wait(STATEMENT_TIMEOUT_SECONDS)
        return cursor

    def _execute_long(self, statement: str, seconds: float, *values: Any) -> Any:
        """Run a statement that may take ``seconds``, in the present transaction, and return its cursor.

        A lowered ``self.seconds`` ends it.
        """
        self._execute("SELECT set_config('statement_timeout', %s, true)", str(int(seconds * 1000)))
        cursor = self._connection.cursor()
        cursor.execute(statement, values or None)
        self._wait(seconds, long=True)
        return cursor

    def _wait(self, seconds: float, *, long: bool = False) -> None:
        """Wait until the server has answered, at most ``seconds`` and at most the present ``self.seconds``.

        If ``long``, ``self.seconds`` matters only once it is lower than at first: when the process stops.
        """
        start = time.monotonic()
        while (state := self._connection.poll()) != extensions.POLL_OK:
            poller = select.poll()
            poller.register(
                self._connection.fileno(), select.POLLIN if state == extensions.POLL_READ else select.POLLOUT
            )
            while not poller.poll(POLL_MILLISECONDS):
                limit = seconds if long and self.seconds >= self._usual_seconds else min(seconds, self.seconds)
                if time.monotonic() - start >= limit:
                    raise psycopg2.OperationalError(f"no response within {limit:g} seconds")


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
