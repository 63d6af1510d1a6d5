"""Compares the bootstrap of cells with the bootstrap of records: ends of the intervals, coverage and error rate.

    .venv/bin/python tests/benchmarks/cell_intervals.py --page docs/growth.md

Scores are binormal, of two models with a correlation of about 0.9 and the same ROC AUC; three in ten records are second
visits, drawn together with the first. docs/growth.md describes the method.
"""

import argparse
import math
import os
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "include"))

import numpy as np
from marked_part import MarkedPart

from heartline.comparison import paired_tests
from heartline.evaluation import cells, metrics

PART = MarkedPart("cells")
ROWS = (30_000, 100_000)
SEPARATION, NOISE, PREVALENCE, VISITS = 1.9, 0.45, 0.46, 0.3
SCORES = ("roc_auc", "pr_auc", "brier", "log_loss", "calibration_slope", "calibration_in_the_large")
Records = tuple[Any, Any, Any, Any]
Ways = dict[str, float]


def main(arguments: list[str] | None = None) -> None:
    """Simulate what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=ROWS, help="numbers of records")
    parser.add_argument("--draws", type=int, default=1000, help="of the intervals that are compared")
    parser.add_argument("--samples", type=int, default=200, help="data sets for coverage and error rate, at 30,000")
    parser.add_argument("--fast-draws", type=int, default=399, help="of each of their bootstraps")
    parser.add_argument("--page", type=Path, help="a page whose part between the markers is replaced")
    given = parser.parse_args(arguments)
    PART.expect(parser, given.page)
    text = markdown(given)
    if given.page:
        PART.write(given.page, text)
    print(text)


def records(n: int, seed: int) -> Records:
    """Return labels, the probabilities of two equally good models, and groups of n records."""
    random = np.random.default_rng([n, seed])
    patients = n - int(VISITS * n)
    patient = np.concatenate([np.arange(patients), np.arange(n - patients)])
    labels = (random.random(patients) < PREVALENCE).astype(np.int64)[patient]
    common = random.normal(size=patients)[patient]
    scores = [common + NOISE * random.normal(size=patients)[patient] for _ in range(2)]
    spread = 1 + NOISE**2
    odds = [SEPARATION * (one - SEPARATION / 2 + SEPARATION * labels) / spread for one in scores]
    prior = math.log(PREVALENCE / (1 - PREVALENCE))
    one, other = (1 / (1 + np.exp(-(each + prior))) for each in odds)
    return labels, one, other, patient


def ways(
    n: int, seed: int, draws: int, of: Records, scores: tuple[str, ...] = SCORES
) -> dict[str, tuple[dict[str, Any], Ways]]:
    """Return the intervals by both bootstraps, by name, and their CPU seconds."""
    labels, one, other, groups = of
    found = {}
    for name, limit in (("records", n), ("cells", n - 1)):
        cells.ROWS = limit
        started = time.process_time()
        scored = metrics.evaluate(labels, one, groups, seed=seed, draws=draws, names=scores)
        middle = time.process_time()
        paired = paired_tests.bootstrap(labels, one, other, groups, draws=draws, seed=seed)
        intervals = {key: (value.value, value.low, value.high) for key, value in scored.items()}
        intervals["delta_auc"] = (paired.auc.value, paired.auc.low, paired.auc.high)
        intervals["delta_brier"] = (paired.brier.value, paired.brier.low, paired.brier.high)
        found[name] = (intervals, {"scores": middle - started, "paired": time.process_time() - middle})
    return found


def markdown(given: argparse.Namespace) -> str:
    """Return the tables."""
    titles = {**metrics.TITLES, "delta_auc": "difference in ROC AUC", "delta_brier": "difference in Brier score"}
    parts = []
    for n in given.rows:
        print(f"{n:,} records", file=sys.stderr, flush=True)
        found = ways(n, 1, given.draws, records(n, 0))
        (by_records, cost), (by_cells, less) = found["records"], found["cells"]
        parts.append(
            f"{n:,} records, {given.draws} draws. CPU of the scores {cost['scores']:.1f} s by records, "
            f"{less['scores']:.1f} s by cells; of the paired bootstrap {cost['paired']:.1f} s and {less['paired']:.1f} "
            "s. Differences are in standard errors of the Monte Carlo error of an end."
        )
        rows = []
        for name, (value, low, high) in by_records.items():
            _, other_low, other_high = by_cells[name]
            error = (high - low) / 3.92 * math.sqrt(2 * 0.025 * 0.975 / given.draws) / 0.0584
            rows.append(
                f"| {titles[name]} | {value:.5f} | {low:.5f} to {high:.5f} | {other_low:.5f} to {other_high:.5f} | "
                f"{(other_low - low) / error:+.1f}, {(other_high - high) / error:+.1f} |"
            )
        parts.append(
            "\n".join(
                ["| | value | by records | by cells | difference |", "| --- | ---: | ---: | ---: | ---: |", *rows]
            )
        )
    parts += coverage(given)
    return "\n\n".join(
        part if part.startswith("|") else textwrap.fill(part, 120, break_on_hyphens=False) for part in parts
    )


def coverage(given: argparse.Namespace) -> list[str]:
    """Return the share of data sets whose interval covers the truth, by both bootstraps."""
    n = min(given.rows)
    names = ("roc_auc", "brier", "delta_auc", "delta_brier")
    large = records(2_000_000, 10**6)
    truth = {
        name: metrics.evaluate(*large[:2], large[3], seed=0, draws=2, names=(name,))[name].value for name in names[:2]
    }
    truth |= {"delta_auc": 0.0, "delta_brier": 0.0}
    covered: dict[str, dict[str, list[bool]]] = {way: {name: [] for name in names} for way in ("records", "cells")}
    for sample in range(given.samples):
        found = ways(n, sample, given.fast_draws, records(n, sample + 1), names[:2])
        for way, (intervals, _) in found.items():
            for name in names:
                covered[way][name].append(intervals[name][1] <= truth[name] <= intervals[name][2])
    titles = {
        **metrics.TITLES,
        "delta_auc": "difference in ROC AUC (true: 0)",
        "delta_brier": "difference in Brier score (true: 0)",
    }
    rows = []
    for name in names:
        one, other = (np.array(covered[way][name]) for way in ("records", "cells"))
        rows.append(
            f"| {titles[name]} | {_share(one)} | {_share(other)} | {int((one != other).sum())} of {given.samples} |"
        )
    return [
        f"Coverage of the 95 % intervals in {given.samples} data sets of {n:,} records, {given.fast_draws} draws each; "
        "in brackets its 95 % interval (Wilson). Both models of a data set are equally good: what does not cover 0 "
        "is a false difference.",
        "\n".join(["| | by records | by cells | not the same |", "| --- | ---: | ---: | ---: |", *rows]),
    ]


def _share(covered: Any) -> str:
    from heartline.evaluation.intervals import wilson

    low, high = wilson(float(covered.mean()), len(covered))
    return f"{covered.mean():.1%} ({low:.1%} to {high:.1%})"


if __name__ == "__main__":
    main()
