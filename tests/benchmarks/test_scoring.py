"""The benchmark of batch scoring runs, and memory does not grow with the number of rows."""

from pathlib import Path

import pytest

from tests.benchmarks import scoring
from tests.serving import trained

LINEAR = "logistic_regression"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / LINEAR).mkdir()
    for name, data in trained.bundle(LINEAR).items():
        (tmp_path / LINEAR / name).write_bytes(data)
    return tmp_path


def test_each_way_scores_a_file(folder: Path) -> None:
    scoring.write_records(folder / "records.csv", 2_000)
    found = {(LINEAR, way): scoring.measure(way, LINEAR, folder / "records.csv", folder) for way in scoring.WAYS}
    found |= {("random_forest", way): found[LINEAR, way] for way in scoring.WAYS}
    assert all((folder / f"scored-{way}.parquet").exists() for way in scoring.WAYS)
    assert "| logistic regression | Heartline |" in scoring.table(found, 2_000)
    assert "| 2,000 |" in scoring.growth({2_000: found[LINEAR, "heartline"]})


@pytest.mark.slow
def test_memory_of_a_million_rows_is_that_of_a_tenth(folder: Path) -> None:
    peaks = []
    for rows in (100_000, 1_000_000):
        scoring.write_records(folder / "records.csv", rows)
        peaks.append(scoring.measure("heartline", LINEAR, folder / "records.csv", folder).memory)
    assert peaks[1] < 1.25 * peaks[0]
