"""Which errors of a database are retried: those that waiting can change. On a real PostgreSQL, and by SQLSTATE."""

from collections.abc import Iterator
from urllib.parse import urlsplit

import psycopg2
import pytest
from sqlalchemy.exc import OperationalError, ProgrammingError

from heartline.errors import PermanentError, SourceError
from heartline.ingestion.access import sql
from heartline.ingestion.access.http import Limits
from tests.postgres import Postgres
from tests.unit.ingestion.sources.support import closed_port


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[Postgres]:
    started = Postgres(tmp_path_factory.mktemp("postgres") / "home")
    yield started
    started.remove()


def _fails(url: str, query: str = "SELECT 1", seconds: float = 30) -> SourceError:
    with pytest.raises(SourceError) as caught:
        sql.select(url, query, Limits(seconds=seconds), lambda names, parts: list(parts))
    return caught.value


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("SELECT * FROM patients_of_nobody", 'relation "patients_of_nobody" does not exist'),
        ("SELEKT 1", "syntax error"),
        ("SELECT no_such_column FROM pg_class", 'column "no_such_column" does not exist'),
        ("SELECT * FROM pg_authid", "permission denied"),
        ("SELECT 1 / 0", "division by zero"),
    ],
)
def test_a_query_that_cannot_succeed_is_not_retried(server, query, said):
    error = _fails(server.url, query)
    assert said in error.what
    assert isinstance(error, PermanentError)
    assert "retries" not in error.hint


def test_a_query_that_takes_too_long_is_retried(server):
    error = _fails(server.url, "SELECT pg_sleep(30)", seconds=0.2)
    assert "statement timeout" in error.what
    assert not isinstance(error, PermanentError)
    assert "Airflow retries" in error.hint


@pytest.mark.parametrize("wrong", ["password", "user", "database"])
def test_a_login_that_cannot_succeed_is_not_retried(server, wrong):
    parts = urlsplit(server.url)
    user, password, database = str(parts.username), str(parts.password), parts.path[1:]
    if wrong == "password":
        password = "secret-of-nobody"
    elif wrong == "user":
        user = "nobody-of-this-name"
    else:
        database = "no_such_database"
    error = _fails(f"postgresql://{user}:{password}@{parts.hostname}:{parts.port}/{database}")
    assert error.what.startswith("the database refuses the connection: ")
    assert isinstance(error, PermanentError)
    assert "secret-of-nobody" not in str(error)


def test_a_database_that_does_not_run_is_retried():
    error = _fails(f"postgresql://anna:x@127.0.0.1:{closed_port()}/heart")
    assert error.what.startswith("the database cannot be reached: ")
    assert not isinstance(error, PermanentError)


class _Refused(psycopg2.Error):
    def __init__(self, state: str) -> None:
        super().__init__("an error")
        self.state = state

    @property
    def pgcode(self) -> str:  # type: ignore[override]
        return self.state


@pytest.mark.parametrize(
    ("state", "retried"),
    [
        ("08006", True),  # the connection was lost
        ("40001", True),  # serialization failure
        ("40P01", True),  # deadlock
        ("53300", True),  # too many connections
        ("53200", True),  # out of memory
        ("55P03", True),  # a lock
        ("57014", True),  # cancelled: the statement's time limit
        ("57P01", True),  # shut down by an administrator
        ("57P03", True),  # starting up
        ("58030", True),  # input/output
        ("57P04", False),  # the database was dropped
        ("22012", False),  # division by zero
        ("25006", False),  # read-only transaction
        ("28P01", False),  # wrong password
        ("28000", False),  # login not permitted
        ("3D000", False),  # no such database
        ("42501", False),  # no permission
        ("42601", False),  # syntax
        ("42703", False),  # no such column
        ("42P01", False),  # no such table
    ],
)
def test_by_sqlstate(state, retried):
    for kind in (OperationalError, ProgrammingError):
        error = sql._query_error(kind("SELECT 1", None, _Refused(state)), "a database")
        assert isinstance(error, PermanentError) is not retried


@pytest.mark.parametrize("url", ["no address", "mydb://host/heart", "postgresql://anna:geheim@host:port/heart"])
def test_an_address_that_is_none_is_not_retried(url):
    assert isinstance(_fails(url), PermanentError)
