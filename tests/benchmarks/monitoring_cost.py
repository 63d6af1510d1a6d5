"""Measures what the daily monitoring costs: CPU and memory of the task ``days`` for one day with many predictions.

    PYTHONPATH=include .venv/bin/python -m tests.benchmarks.monitoring_cost --page docs/monitoring.md

The prediction log is in PostgreSQL, and holds one day of each size with an outcome for a tenth of the predictions. Each
size is measured in a process of its own; the CPU time of PostgreSQL is not in it.
"""

import argparse
import datetime
import json
import multiprocessing
import os
import resource
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from heartline import contract
from heartline.ingestion.sample import synthetic
from heartline.ledger import store as ledger
from heartline.monitoring import advance, references, state
from heartline.monitoring.daily import Monitor
from heartline.monitoring.inputs import Reference, Settings
from heartline.monitoring.prediction_log import PredictionLog
from heartline.monitoring.store import Store
from heartline.registry import mlflow_registry
from serving.prediction_log.database import LogDatabase
from tests.benchmarks.clock import cpu_seconds
from tests.benchmarks.marked_part import MarkedPart
from tests.postgres import Postgres

SIZES = (10_000, 100_000, 1_000_000)
OUTCOMES = 10  # one prediction in so many has an outcome
GROWTH = 1.1
FIRST = datetime.date(2026, 3, 2)
DIGEST = "d" * 64
PART = MarkedPart("monitoring-cost")

_PREDICTIONS = """
    INSERT INTO prediction (prediction_id, request_id, request_row, answered, logged, model_key, has_heart_disease,
        probability, imputed, features)
    SELECT md5(%(day)s || n::text)::uuid, 'r', 0, at, at, 'k', p >= 0.5, p, '{}', records.record
    FROM generate_series(1, %(rows)s) AS n
    CROSS JOIN LATERAL (SELECT %(day)s::timestamptz + n * interval '1 millisecond' AS at,
        ('x' || substr(md5(n::text), 1, 7))::bit(28)::int / 268435456.0 AS p) AS drawn
    JOIN records ON records.number = n %% %(records)s"""
_OUTCOMES = """
    INSERT INTO outcome (prediction_id, revision, outcome, observed_at, received)
    SELECT md5(%(day)s || n::text)::uuid, 1, p >= 0.5, %(day)s::timestamptz, %(day)s::timestamptz
    FROM generate_series(1, %(rows)s, %(every)s) AS n
    CROSS JOIN LATERAL (SELECT ('x' || substr(md5(n::text), 1, 7))::bit(28)::int / 268435456.0 AS p) AS drawn"""


def fill(postgres: Postgres, sizes: tuple[int, ...]) -> None:
    """Fill the log: on each day, from ``FIRST`` on, as many predictions as a size says."""
    tables = LogDatabase(postgres.url)
    tables.open()
    tables.close()
    frame = synthetic.generate(1000)[list(contract.FEATURE_NAMES)]
    texts = [json.dumps({k: None if v != v else v for k, v in row.items()}) for row in frame.to_dict("records")]
    postgres.run("CREATE TABLE records (number int PRIMARY KEY, record jsonb)")
    for number, text in enumerate(texts):
        postgres.run("INSERT INTO records VALUES (%s, %s)", number, text)
    postgres.run(
        "INSERT INTO model (key, name, version, alias, family, origin, snapshot, contract_version, bundle) "
        "VALUES ('k', 'heart-disease', '1', 'production', 'f', 'o', 's', 'c', %s)",
        DIGEST,
    )
    for place, rows in enumerate(sizes):
        day = (FIRST + datetime.timedelta(days=place)).isoformat()
        for query in (_PREDICTIONS, _OUTCOMES):
            values = {"day": day, "rows": rows, "records": len(texts), "every": OUTCOMES}
            postgres.run(query, values)


def reference() -> Reference:
    """Return a reference of Cleveland's size."""
    frame = synthetic.generate(303)
    labels = (frame["num"].to_numpy() > 0).astype(np.int64)
    features = frame[list(contract.FEATURE_NAMES)].to_numpy("float64")
    return Reference("1", DIGEST, "s", features, np.random.default_rng(0).random(303), labels)


def measure(place: int, urls: Sequence[str], into: Any) -> None:
    """Compute one day in this process, and put its CPU seconds and the growth of its peak memory in bytes."""
    found = reference()
    references.of = lambda version, digest: found  # type: ignore[assignment]
    mlflow_registry.aliased = lambda alias: None  # type: ignore[assignment]
    ledger.entries = lambda **given: []  # type: ignore[assignment]
    monitor = Monitor(Store(urls[0]), PredictionLog(urls[1]), Settings(), advance.advance, state.State.from_json)
    day = FIRST + datetime.timedelta(days=place)
    peak, cpu = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, cpu_seconds()
    monitor.run(day, datetime.datetime.combine(day, datetime.time(), datetime.UTC) + datetime.timedelta(days=2))
    into.put((cpu_seconds() - cpu, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak) * 1024))


def run(sizes: tuple[int, ...] = SIZES) -> list[dict[str, float]]:
    """Return rows, CPU seconds and bytes of each size, the smallest one first."""
    with tempfile.TemporaryDirectory() as folder:
        postgres = Postgres(Path(folder) / "home")
        try:
            fill(postgres, sizes)
            name, password = postgres.login("monitoring").split(":")
            urls = tuple(
                postgres.server.address(name, password, driver=None, database=one)
                for one in ("heartline", "predictions")
            )
            context = multiprocessing.get_context("spawn")
            found = []
            for place, rows in enumerate(sizes):
                answers = context.Queue()
                process = context.Process(target=measure, args=(place, urls, answers))
                process.start()
                cpu, memory = answers.get(timeout=1800)
                process.join()
                found.append({"rows": rows, "cpu": cpu, "memory": memory})
            return found
        finally:
            postgres.remove()


def exponent(found: list[dict[str, float]]) -> float:
    """Return the growth exponent of the CPU time between the two largest sizes."""
    small, large = found[-2:]
    return float(np.log(large["cpu"] / small["cpu"]) / np.log(large["rows"] / small["rows"]))


def markdown(found: list[dict[str, float]]) -> str:
    """Return the table."""
    lines = [
        "| predictions of the day | CPU | memory beside the libraries |",
        "| ---: | ---: | ---: |",
        *(f"| {one['rows']:,.0f} | {one['cpu']:.1f} s | {one['memory'] / 1e6:,.0f} MB |" for one in found),
    ]
    return "\n".join(
        [
            *lines,
            "",
            f"One day of a version, with an outcome for one in {OUTCOMES} predictions, without a candidate. The CPU "
            f"time grows with the power {exponent(found):.2f} of the predictions.",
        ]
    )


def main() -> int:
    """Measure, print and write the part of a page; return 1 if the growth is above ``GROWTH``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--page", type=Path, help="page whose part is written anew")
    parser.add_argument("--most", type=int, default=SIZES[-1], help="largest size")
    given = parser.parse_args()
    PART.expect(parser, given.page)
    found = run(tuple(one for one in SIZES if one <= given.most))
    print(markdown(found))
    if given.page:
        PART.write(given.page, markdown(found))
    return int(exponent(found) > GROWTH)


if __name__ == "__main__":
    os.environ.setdefault("HEARTLINE_LEDGER_URL", "")
    sys.exit(main())
