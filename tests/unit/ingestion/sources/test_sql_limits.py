"""The limits of a query, on PostgreSQL."""

from collections.abc import Iterator

import pandas as pd
import pytest

from heartline import contract
from heartline.errors import TooLargeError
from heartline.ingestion import sources
from heartline.ingestion.access import http
from heartline.ingestion.sources import Settings
from tests.postgres import Postgres

CELLS = ", ".join(f"1 AS {name}" for name in contract.COLUMN_NAMES)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    server = Postgres(tmp_path_factory.mktemp("postgres") / "home")
    yield server.url
    server.remove()


def _read(url: str, query: str, rows: int = 100_000) -> pd.DataFrame:
    settings = Settings(database_url=url, limits=http.Limits(rows=rows))
    return sources.read("postgres", query=query, settings=settings).table.frame


def _refused(url: str, query: str, rows: int = 100_000) -> TooLargeError:
    with pytest.raises(TooLargeError) as caught:
        _read(url, query, rows)
    assert "query: SELECT" in caught.value.where
    return caught.value


def test_a_query_of_a_billion_rows_is_not_started(url):
    error = _refused(url, f"SELECT {CELLS} FROM generate_series(1, 1000000000)")
    assert error.what == "the query would return about 1,000,000,000 rows, as PostgreSQL estimates it"
    assert error.expected == "at most 100,000 rows"
    assert "HEARTLINE_SOURCE_MAX_ROWS" in error.hint


def test_rows_up_to_the_limit_are_read(url):
    assert len(_read(url, f"SELECT {CELLS} FROM generate_series(1, 120000)", rows=120_000)) == 120_000
    error = _refused(url, f"SELECT {CELLS} FROM generate_series(1, 120001)", rows=120_000)
    assert error.what == "the source has more than 120,000 rows"


def test_a_long_cell_is_refused(url):
    error = _refused(url, f"SELECT {CELLS}, repeat('x', 5000000) AS note FROM generate_series(1, 1000)")
    assert error.what == "a cell of the column note has 5,000,000 characters"


def test_too_many_columns_are_refused(url):
    many = ", ".join(f"1 AS c{n}" for n in range(1001))
    assert _refused(url, f"SELECT {many}").what == "the source has 1,001 columns"
