"""PostgreSQL as the input, and a table as the output."""

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg2
import pyarrow as pa
import pytest

from heartline import contract
from heartline.errors import ParameterError, SourceRefusedError
from heartline.ingestion import sources
from heartline.ingestion.sample import synthetic
from heartline.scoring.model import ScoringModel
from heartline.scoring.reading.batches import Batch
from heartline.scoring.reading.layout import Layout
from heartline.scoring.writing import results
from heartline.scoring.writing.table_output import ScoreTable, TableError
from tests.postgres import Postgres
from tests.unit.scoring.conftest import Score, errors

NAMES = list(contract.FEATURE_NAMES)


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    server = Postgres(tmp_path_factory.mktemp("postgres") / "home")
    yield server
    server.remove()


@pytest.fixture(scope="module")
def url(postgres: Postgres) -> str:
    with closing(psycopg2.connect(postgres.url)) as connection, connection, connection.cursor() as cursor:
        columns = ", ".join(f"{name} double precision" for name in NAMES)
        cursor.execute(f"CREATE TABLE admissions (id bigint, {columns}, seen date, note text)")
        for number, row in enumerate(synthetic.generate(40, 4)[NAMES].itertuples(index=False), 1):
            values = [None if value != value else float(value) for value in row]
            cursor.execute(
                f"INSERT INTO admissions VALUES ({', '.join(['%s'] * (len(values) + 3))})",
                [9_007_199_254_740_993 + number, *values, "2026-01-02", None if number % 2 else f"note, {number}"],
            )
        cursor.execute("UPDATE admissions SET age = 300 WHERE id = 9007199254741000")
    return postgres.url


def query(url: str, text: str) -> list[tuple[Any, ...]]:
    with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        cursor.execute(text)
        return list(cursor.fetchall())


@pytest.fixture
def settings(url: str) -> sources.Settings:
    return sources.Settings(database_url=url)


def test_a_query(score: Score, settings: sources.Settings) -> None:
    found = score("postgres", query="SELECT * FROM admissions ORDER BY id", settings=settings)
    assert [one["id"] for one in found] == [str(9_007_199_254_740_993 + number) for number in range(1, 41)]
    assert found[0]["seen"] == "2026-01-02"
    assert found[1]["note"] == "note, 2"
    assert [errors(one) for one in found if one["reason"]] == [[("/age", "the value is not allowed")]]


def test_a_table_is_written_once_for_each_run(
    run: Callable[..., Any], score: Score, settings: sources.Settings, url: str
) -> None:
    given = {"query": "SELECT * FROM admissions ORDER BY id", "settings": settings}
    expected = score("postgres", **given)
    for _ in range(2):
        content = run("postgres", "postgres:scores", **given)
    rows = query(
        url, "SELECT row, probability, has_heart_disease, reason, errors, keys, run, version FROM scores ORDER BY row"
    )
    assert [row[0] for row in rows] == list(range(1, 41))
    for found, row in zip(expected, rows, strict=True):
        assert pa.scalar(row[1], pa.float32()).as_py() == found["probability"]
        assert row[2:4] == (found["has_heart_disease"], found["reason"])
        assert row[4] == (json.loads(found["errors"]) if found["errors"] else None)
        assert row[5] == {name: found[name] for name in ("id", "seen", "note")}
        assert row[6:] == ("r1", "7")
    ((manifest,),) = query(url, "SELECT manifest FROM scores_runs WHERE run = 'r1'")
    assert manifest == content
    assert (content["rows"], content["rejected"], content["output"]) == (40, 1, "postgres:scores")


def test_a_chunk_that_fails_leaves_the_rows_of_before(model: ScoringModel, url: str) -> None:
    table = ScoreTable("postgres:again", url)
    table.prepare()
    table.prepare()
    layout = Layout("text", (), {}, (), "", "", "contract", "here")
    rows = results.score(Batch(1, 3, {}, []), model, layout, results.Counts())
    assert table.write([rows], "r", 0) == 3

    def broken() -> Iterator[pa.Table]:
        yield rows.slice(0, 1)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        table.write(broken(), "r", 0)
    assert table.count("r") == 3
    with pytest.raises(TableError, match="duplicate key"):
        table.write([rows], "r", 1)  # another chunk with the same rows
    assert table.count("r") == 3


def test_what_is_refused(url: str) -> None:
    with pytest.raises(ParameterError, match="no table"):
        ScoreTable('postgres:x"; DROP', url)
    with pytest.raises(SourceRefusedError, match="no database"):
        ScoreTable("postgres:x", "")
    with pytest.raises(TableError, match="nowhere"):
        ScoreTable("postgres:nowhere.x", url).prepare()


def test_no_file_is_left(run: Callable[..., Any], settings: sources.Settings, tmp_path: Path) -> None:
    before = set(tmp_path.iterdir())
    run("postgres", "postgres:files", query="SELECT * FROM admissions", settings=settings)
    assert set(tmp_path.iterdir()) == before
