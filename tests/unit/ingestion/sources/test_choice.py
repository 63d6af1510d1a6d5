from pathlib import Path

import pandas as pd
import pytest

from heartline import contract
from heartline.errors import ParameterError, SourceError
from heartline.ingestion import sources
from heartline.ingestion.sample import synthetic
from heartline.ingestion.sources import Settings
from tests.unit.ingestion.sources.support import BRIEF, refused


@pytest.mark.parametrize(
    "spec", ["", "smaple", "sample:", "sample:ten", "sample:-5", "data.csv", "ftp://host/x", "UCI"]
)
def test_an_unknown_source_is_refused(spec):
    error = refused(spec, kind=ParameterError)
    assert error.what.startswith("unknown source")
    assert error.where == "parameter source"


def test_a_query_without_postgres_is_refused():
    error = refused("sample", query="SELECT 1", kind=ParameterError)
    assert error.what == "this source takes no query"
    assert error.where == "parameter query, with source 'sample'"
    assert error.expected == "no query, or the source postgres"


@pytest.mark.parametrize(("spec", "rows"), [("sample", 303), ("sample:25", 25), (" sample:20 ", 20)])
def test_the_sample(spec, rows):
    found = sources.read(spec, settings=BRIEF)
    pd.testing.assert_frame_equal(found.table.frame, synthetic.generate(rows))
    assert found.table.unparseable.empty
    assert (found.table.names, found.table.absent, found.table.dropped) == (contract.COLUMN_NAMES, (), ())
    assert found.origin == "sample"
    assert found.sha256 is None
    assert "synthetic" in found.description


@pytest.mark.parametrize("n", [0, 19, 10_000_001])
def test_a_sample_out_of_range_is_refused(n):
    error = refused(f"sample:{n}")
    assert error.where == f"source sample:{n}"
    assert error.expected == "a number of rows from 20 to 10000000"


def test_settings_come_from_the_environment():
    found = Settings.from_environment(
        {
            "HEARTLINE_UCI_URL": "https://mirror/heart.zip",
            "HEARTLINE_HOME": "/var/lib/heartline",
            "HEARTLINE_DATABASE_URL": "postgresql://anna:geheim@host/heart",
            "HEARTLINE_SOURCE_SECONDS": "7",
            "HEARTLINE_SOURCE_MAX_BYTES": "1000",
            "HEARTLINE_SOURCE_MAX_ROWS": "500",
        }
    )
    assert found.uci_url == "https://mirror/heart.zip"
    assert found.cache == Path("/var/lib/heartline/cache")
    assert (found.limits.seconds, found.limits.size, found.limits.rows) == (7, 1000, 500)
    assert "geheim" not in repr(found)
    assert Settings.from_environment({"HEARTLINE_CACHE_DIR": "/c", "HEARTLINE_HOME": "/h"}).cache == Path("/c")
    assert Settings.from_environment({"HEARTLINE_UCI_URL": ""}) == Settings()


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "soon"])
def test_a_setting_that_is_not_a_number_is_refused(text):
    with pytest.raises(SourceError) as caught:
        Settings.from_environment({"HEARTLINE_SOURCE_SECONDS": text})
    assert caught.value.where == "setting HEARTLINE_SOURCE_SECONDS"
