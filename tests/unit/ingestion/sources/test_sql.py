"""SQL sources on SQLite, for behaviour that is the same in all databases; the integration tests use PostgreSQL."""

import sqlite3

import numpy as np
import pandas as pd
import pytest

from heartline import contract
from heartline.errors import DataError
from heartline.ingestion import sources
from heartline.ingestion.sources import Settings
from tests.unit.ingestion.sources.support import BRIEF, FRAME, closed_port, refused


@pytest.fixture
def patients(tmp_path):
    path = tmp_path / "heart.db"
    with sqlite3.connect(path) as connection:
        FRAME.to_sql("patients", connection, index=False)
        connection.execute("CREATE TABLE nobody AS SELECT * FROM patients WHERE 0")
    connection.close()
    return Settings(database_url=f"sqlite:///{path}", limits=BRIEF.limits)


def test_the_table_of_patients(patients):
    found = sources.read("postgres", settings=patients)
    pd.testing.assert_frame_equal(found.table.frame, FRAME)
    assert found.origin == "postgres"
    assert "FROM patients" in found.description


def test_a_users_own_query(patients):
    query = "SELECT *, 'x%' AS ward, 1 || ':00' AS hour FROM patients WHERE age > 50;"
    found = sources.read("postgres", query=query, settings=patients)
    assert list(found.table.frame["age"]) == list(FRAME.loc[FRAME["age"] > 50, "age"])
    assert found.table.dropped == ("ward", "hour")


OTHERS = ", ".join(name for name in contract.COLUMN_NAMES if name not in ("age", "ca"))


def test_words_and_missing_values_in_a_table(patients):
    found = sources.read(
        "postgres", query=f"SELECT 'old' AS AGE, NULL AS ca, {OTHERS} FROM patients", settings=patients
    )
    assert np.isnan(found.table.frame[["age", "ca"]]).all(axis=None)
    assert found.table.unparseable.to_numpy().tolist() == [[row, "age", "old", "not a number"] for row in range(1, 31)]
    assert found.table.absent == ()


def test_numbers_and_words_in_one_column(patients):
    query = f"SELECT iif(rowid = 2, 'old', age) AS age, iif(rowid = 3, ' 2 ', ca) AS ca, {OTHERS} FROM patients"
    table = sources.read("postgres", query=query, settings=patients).table
    assert table.unparseable.to_numpy().tolist() == [[2, "age", "old", "not a number"]]
    assert list(table.frame["age"].drop(2)) == list(FRAME["age"].drop(2))
    assert table.frame["ca"][3] == 2


def test_a_column_that_a_query_lacks_is_absent(patients):
    table = sources.read("postgres", query=f"SELECT {OTHERS} FROM patients", settings=patients).table
    assert table.absent == ("age", "ca")
    assert np.isnan(table.frame[["age", "ca"]]).all(axis=None)


def test_bytes_in_a_column_are_refused(patients):
    error = refused("postgres", patients, query=f"SELECT x'01' AS age, {OTHERS} FROM patients", kind=DataError)
    assert error.what == "the type of 1 column cannot hold numbers"
    assert error.where.endswith(": age is binary")


@pytest.mark.parametrize(
    ("query", "problem"),
    [
        ("SELECT age FROM persons", "the query failed: no such table: persons"),
        ("SELEKT 1", 'the query failed: near "SELEKT": syntax error'),
        ("SELECT 1; DROP TABLE patients", "the query is not one statement"),
        (" ; ", "the query is not one statement"),
        ("DELETE FROM patients", "the query failed: This result object does not return rows"),
    ],
)
def test_a_failing_query_changes_nothing(patients, query, problem):
    assert refused("postgres", patients, query=query).what.startswith(problem)
    assert len(sources.read("postgres", settings=patients).table.frame) == 30


def test_a_table_without_rows_or_with_few_columns_is_refused(patients):
    assert refused("postgres", patients, query="SELECT * FROM nobody", kind=DataError).what == "there are no records"
    error = refused("postgres", patients, query="SELECT age, sex FROM patients", kind=DataError)
    assert error.what == "this is not a table of records: it has 2 of the 14 columns"
    assert error.where.endswith(", whose columns are: age, sex")


def test_an_unreachable_database():
    port = closed_port()
    error = refused("postgres", Settings(database_url=f"postgresql://anna:geheim@127.0.0.1:{port}/heart"))
    assert error.what.startswith("the database cannot be reached: ")
    assert error.where == f"postgresql://127.0.0.1:{port}/heart"
    assert "geheim" not in str(error)


@pytest.mark.parametrize("address", ["", "no address", "postgresql://anna:geheim@host:port/heart", "mydb://host/heart"])
def test_an_invalid_database_url(address):
    error = refused("postgres", Settings(database_url=address))
    assert "geheim" not in str(error)
