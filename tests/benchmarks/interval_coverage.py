"""Measures how often the 95 % interval of each score covers the true value.

    .venv/bin/python tests/benchmarks/interval_coverage.py --page docs/evaluation.md

The intervals are Heartline's own (`metrics.evaluate`); labels and probabilities are drawn from two normal distributions
with Cleveland's ROC AUC and prevalence, and the probabilities are calibrated. Equal seeds give equal figures.
"""

import argparse
import math
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "include"))

import numpy as np
from marked_part import MarkedPart
from numpy.typing import NDArray
from scipy.special import expit, logit
from scipy.stats import norm

from heartline.evaluation import metrics
from heartline.evaluation.intervals import CONFIDENCE

PART = MarkedPart("coverage")
SIZES = (68, 235)  # records of Cleveland's hold-out and training set
PREVALENCE, AUC = 139 / 303, 0.91
SEPARATION = math.sqrt(2) * norm.ppf(AUC)  # of the two classes, in standard deviations
POPULATION = 2_000_000  # records that the true values are computed from
RECORDS_SEED, TRUTH_SEED = 7, 1


@dataclass
class Coverage:
    """How the intervals of one score did.

    Attributes:
        covered: number of intervals that cover the true value.
        intervals: number of samples with an interval.
        width: sum of their widths.
    """

    covered: int = 0
    intervals: int = 0
    width: float = 0.0


def main(arguments: list[str] | None = None) -> None:
    """Run the simulation of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=2000, help="samples of each size")
    parser.add_argument("--draws", type=int, default=metrics.DRAWS, help="bootstrap draws of each sample")
    parser.add_argument("--population", type=int, default=POPULATION, help="records for the true values")
    parser.add_argument("--page", type=Path, help="a page whose part between the markers is replaced")
    options = parser.parse_args(arguments)
    PART.expect(parser, options.page)
    truth = true_values(options.population)
    found = {n: measure(n, truth, samples=options.samples, draws=options.draws) for n in SIZES}
    text = markdown(found, truth, samples=options.samples, draws=options.draws)
    print(text)
    if options.page:
        PART.write(options.page, text)


def sample(n: int, seed: Sequence[int]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return (n,) labels and their (n,) true probabilities."""
    random = np.random.default_rng(seed)
    labels = (random.random(n) < PREVALENCE).astype("int64")
    log_odds = SEPARATION * random.normal(SEPARATION * labels, 1) - SEPARATION**2 / 2 + logit(PREVALENCE)
    return labels, expit(log_odds)


def true_values(population: int) -> dict[str, float]:
    """Return each score of a large sample."""
    labels, probabilities = sample(population, [TRUTH_SEED])
    found = metrics.evaluate(labels, probabilities, np.arange(population), seed=0, draws=1)
    values = {name: one.value for name, one in found.items()}
    # what the large sample can only be near to: the probabilities are the true ones
    return {name: value for name, value in values.items() if value is not None} | {
        "roc_auc": AUC,
        "calibration_slope": 1.0,
        "calibration_in_the_large": 0.0,
    }


def measure(n: int, truth: dict[str, float], *, samples: int, draws: int) -> dict[str, Coverage]:
    """Return how the intervals of samples of n records did, by score."""
    found = {name: Coverage() for name in truth}
    for number in range(samples):
        labels, probabilities = sample(n, [RECORDS_SEED, n, number])
        for name, one in metrics.evaluate(labels, probabilities, np.arange(n), seed=number, draws=draws).items():
            if one.low is None or one.high is None:
                continue
            found[name].intervals += 1
            found[name].covered += one.low <= truth[name] <= one.high
            found[name].width += one.high - one.low
    return found


def markdown(found: dict[int, dict[str, Coverage]], truth: dict[str, float], *, samples: int, draws: int) -> str:
    """Return the table, Markdown."""
    head = ["score", "true value", *(text for n in found for text in (f"{n} records: coverage", "mean width"))]
    rows = [
        [
            metrics.TITLES[name],
            f"{truth[name]:.3f}",
            *(text for one in found.values() for text in _shown(one[name])),
        ]
        for name in truth
    ]
    error = math.sqrt(CONFIDENCE * (1 - CONFIDENCE) / samples)
    lost = [
        f"{samples - one[name].intervals:,} of {metrics.TITLES[name]} at {n} records"
        for n, one in found.items()
        for name in truth
        if one[name].intervals < samples
    ]
    without = f"Samples without an interval are not counted: {', '.join(lost)}." if lost else "All have an interval."
    return (
        f"{_table(head, rows)}\n\n{samples:,} samples of each size, {draws:,} draws each; one standard error of a "
        f"coverage of 95 % is {error:.1%}.\n{without}"
    )


def _shown(one: Coverage) -> tuple[str, str]:
    if not one.intervals:
        return "–", "–"
    return f"{one.covered / one.intervals:.1%}", f"{one.width / one.intervals:.3f}"


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    main()
