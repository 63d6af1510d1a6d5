"""Measures batch scoring: CPU, wall time and peak memory beside pandas with scikit-learn and beside MLflow.

Each measurement is a process of its own that reads the same CSV file and writes a Parquet file: the own column, the
probability and the class. Start, imports and a first call on 1,000 rows are not counted; only Heartline checks the
records by the contract. Run it with
``PYTHONPATH=include .venv/bin/python -m tests.benchmarks.scoring --page docs/scoring.md``.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import csv

from heartline import contract
from tests.benchmarks.marked_part import MarkedPart
from tests.running import ROOT
from tests.serving import trained

PART = MarkedPart("scoring benchmark")
FAMILIES = {"logistic_regression": "logistic regression", "random_forest": "random forest"}
WAYS = {
    "heartline": "Heartline",
    "sklearn": "pandas + scikit-learn",
    "mlflow": "MLflow, `pyfunc.predict`",
}
BLOCK = 100_000  # records of the file that are drawn at a time


@dataclass(frozen=True)
class Measured:
    """What one process has used.

    Attributes:
        cpu: seconds, user and system.
        wall: seconds.
        memory: bytes, the peak of the whole process.
    """

    cpu: float
    wall: float
    memory: int


def write_records(path: Path, rows: int) -> None:
    """Write a CSV file of legal records with an own column; some optional values are missing."""
    random = np.random.default_rng(7)
    schema = None
    with path.open("wb") as file:
        for start in range(0, rows, BLOCK):
            count = min(BLOCK, rows - start)
            columns: dict[str, pa.Array] = {
                "patient_id": pa.array([f"P{one:08}" for one in range(start, start + count)])
            }
            for column in contract.FEATURES:
                if column.codes:
                    drawn = random.choice(np.array(list(column.codes), "float64"), count)
                elif column.whole:
                    low, high = column.usual or (column.minimum, column.maximum)
                    drawn = random.integers(int(low), int(high) + 1, count).astype("float64")
                else:
                    drawn = random.integers(0, 66, count) / 10
                missing = random.random(count) < (0.05 if column.optional else 0)
                values = pa.array(drawn, mask=missing)
                columns[column.name] = values if not column.whole else values.cast(pa.int64())
            table = pa.table(columns)
            writer = csv.CSVWriter(file, table.schema, write_options=csv.WriteOptions(include_header=schema is None))
            writer.write_table(table)
            writer.close()
            schema = table.schema


def measure(way: str, family: str, records: Path, folder: Path) -> Measured:
    """Run one way of scoring in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.scoring_ways", way, family, str(records), str(folder)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'include'}:{ROOT}", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    return Measured(**json.loads(done.stdout.splitlines()[-1]))


def best(found: Sequence[Measured]) -> Measured:
    """Return the least of each figure: other processes of the machine only add to them."""
    return Measured(min(one.cpu for one in found), min(one.wall for one in found), min(one.memory for one in found))


def table(found: dict[tuple[str, str], Measured], rows: int) -> str:
    """Return the comparison as Markdown."""
    lines = [
        f"{rows:,} rows of CSV to Parquet, one core; the least of the rounds.",
        "",
        "| family | way | CPU | share of the CPU | wall | peak memory |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for family, title in FAMILIES.items():
        peer = found[family, "sklearn"].cpu
        for way, name in WAYS.items():
            one = found[family, way]
            figures = f"{one.cpu:.2f} s | {one.cpu / peer:.0%} | {one.wall:.2f} s | {one.memory / 1e6:.0f} MB"
            lines.append(f"| {title} | {name} | {figures} |")
    return "\n".join(lines)


def growth(found: dict[int, Measured]) -> str:
    """Return CPU and memory by the number of rows as Markdown."""
    lines = ["| rows | CPU | CPU for a million rows | peak memory |", "| --- | --- | --- | --- |"]
    for rows, one in found.items():
        lines.append(f"| {rows:,} | {one.cpu:.2f} s | {one.cpu / rows * 1e6:.2f} s | {one.memory / 1e6:.0f} MB |")
    return "\n".join(lines)


def main() -> None:
    """Measure, and print or write the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--growth", type=int, nargs="*", default=[100_000, 1_000_000, 10_000_000])
    parser.add_argument("--page", type=Path)
    given = parser.parse_args()
    PART.expect(parser, given.page)
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        records = folder / "records.csv"
        write_records(records, given.rows)
        for family in FAMILIES:
            (folder / family).mkdir()
            for name, data in trained.bundle(family).items():
                (folder / family / name).write_bytes(data)
        rounds: dict[tuple[str, str], list[Measured]] = {}
        for _ in range(given.rounds):
            for family in FAMILIES:
                for way in WAYS:
                    rounds.setdefault((family, way), []).append(measure(way, family, records, folder))
        compared = table({key: best(found) for key, found in rounds.items()}, given.rows)
        grown = {}
        for rows in given.growth:
            write_records(records, rows)
            grown[rows] = best([measure("heartline", "logistic_regression", records, folder) for _ in range(2)])
    text = f"{compared}\n\nHeartline, logistic regression, by the number of rows:\n\n{growth(grown)}"
    if given.page:
        PART.write(given.page, text)
    else:
        print(text)


if __name__ == "__main__":
    main()
