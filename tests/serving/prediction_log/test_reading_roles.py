"""The roles that read the log: who may do what, whether the tables are made before the roles or after."""

import uuid
from collections.abc import Iterator
from contextlib import closing

import psycopg2
import pytest
from psycopg2 import errors

from serving.prediction_log.database import LogDatabase
from stack.processes.reading_roles import MONITORING, READER
from tests.postgres import Postgres
from tests.serving.prediction_log.test_schema import FIRST, batch

TABLES = ("prediction", "model", "outcome", "rejected")
OUTCOME = f"INSERT INTO outcome (prediction_id, revision, outcome, observed_at) VALUES ('{FIRST}', 1, true, now())"
WRITES = [
    "UPDATE prediction SET probability = 0",
    "DELETE FROM prediction",
    "TRUNCATE prediction CASCADE",
    "INSERT INTO prediction SELECT * FROM prediction",
    "UPDATE model SET version = '2'",
    "UPDATE outcome SET outcome = NOT outcome",
    "DELETE FROM outcome",
    "INSERT INTO rejected VALUES (current_date, 'x', 1)",
    "DELETE FROM rejected",
    "DELETE FROM prediction_log",
    "DROP TABLE outcome",
    "ALTER TABLE prediction DROP COLUMN features",
    "CREATE TABLE mine (n integer)",
    "CREATE TEMPORARY TABLE mine (n integer)",
    "CREATE SCHEMA mine",
    "SELECT * FROM prediction FOR UPDATE",
    "SET ROLE predictions",
]


@pytest.fixture(params=["the roles are made first", "the tables are made first"])
def log(request: pytest.FixtureRequest, postgres: Postgres) -> Iterator[Postgres]:
    """A log with a prediction, whose tables were made before the roles were granted anything, or after."""
    first = request.param == "the roles are made first"
    service = LogDatabase(postgres.url)
    assert service.write(batch(FIRST)) == 1
    service.close()
    if not first:
        postgres.run(f"REVOKE ALL ON {', '.join(TABLES)}, prediction_log FROM {MONITORING}, {READER}")
        postgres.provide()  # as `up` does
    yield postgres


def run(log: Postgres, role: str, statement: str, database: str = "predictions") -> list[tuple[object, ...]]:
    with (
        closing(log.server.connect(role, log.login(role).partition(":")[2], database)) as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute(statement)
        return list(cursor.fetchall()) if cursor.description else []


@pytest.mark.parametrize("role", [MONITORING, READER])
def test_both_read_every_table(log: Postgres, role: str) -> None:
    for table in TABLES:
        assert run(log, role, f"SELECT count(*) FROM {table}")[0][0] == int(table in ("prediction", "model"))


@pytest.mark.parametrize("statement", [*WRITES, OUTCOME])
def test_a_reader_writes_nothing(log: Postgres, statement: str) -> None:
    with pytest.raises(errors.InsufficientPrivilege):
        run(log, READER, statement)
    assert run(log, READER, "SELECT count(*) FROM prediction") == [(1,)]


@pytest.mark.parametrize("statement", WRITES)
def test_the_monitoring_changes_and_deletes_nothing(log: Postgres, statement: str) -> None:
    run(log, MONITORING, OUTCOME)
    with pytest.raises(errors.InsufficientPrivilege):
        run(log, MONITORING, statement)
    assert run(log, MONITORING, "SELECT probability, outcome FROM prediction JOIN outcome USING (prediction_id)") == [
        (0.5, True)
    ]


def test_the_monitoring_has_a_schema_of_its_own(postgres: Postgres) -> None:
    run(
        postgres,
        MONITORING,
        "CREATE TABLE monitoring.state (n integer); INSERT INTO monitoring.state VALUES (1)",
        "heartline",
    )
    try:
        assert run(postgres, MONITORING, "SELECT n FROM monitoring.state", "heartline") == [(1,)]
        for role in (READER, "heartline", "ledger", "ledger_service"):
            with pytest.raises(errors.InsufficientPrivilege):
                run(postgres, role, "SELECT n FROM monitoring.state", "heartline")
        for statement in ("CREATE SCHEMA other", "CREATE TABLE public.mine (n int)", "SELECT * FROM ledger.entries"):
            with pytest.raises(errors.InsufficientPrivilege):
                run(postgres, MONITORING, statement, "heartline")
        postgres.provide()
        assert run(postgres, MONITORING, "SELECT n FROM monitoring.state", "heartline") == [(1,)]
    finally:
        run(postgres, MONITORING, "DROP TABLE monitoring.state", "heartline")


def test_neither_is_a_superuser_or_gets_in_with_another_password(postgres: Postgres) -> None:
    for role in (MONITORING, READER):
        with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
            postgres.server.connect(role, uuid.uuid4().hex, "predictions")
        found = postgres.run(
            "SELECT rolsuper, rolcreaterole, rolcreatedb, rolbypassrls FROM pg_roles WHERE rolname = %s", role
        )
        assert found == [(False, False, False, False)]
