"""Measures how often a year of nightly comparisons moves production, by the verdict alone and with looks.

    .venv/bin/python tests/benchmarks/year.py --page docs/evidence.md

The rules are Heartline's own (`compare.compare`, `verdict.decide`, `looks`); only the predictions are simulated. Equal
seeds give equal figures. docs/evidence.md describes the simulation.
"""

import argparse
import json
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "include"))

import numpy as np
from marked_part import MarkedPart
from numpy.typing import NDArray
from scipy import special, stats
from threadpoolctl import threadpool_limits

from heartline.comparison import looks, paired_tests, verdict
from heartline.comparison.compare import Comparison, OutOfFoldPredictions, compare
from heartline.comparison.verdict_names import BETTER
from heartline.evaluation.intervals import Z
from heartline.ingestion.sample import synthetic
from heartline.scores import roc_auc
from heartline.storage import splits
from heartline.training.preprocessing import preprocessor
from tests.benchmarks.verdicts import AUC, CORRELATION, NOISE, PASSES, PREVALENCE, REPEATS, SPLITS, rate
from tests.benchmarks.verdicts import logistic_regression as fit
from tests.benchmarks.verdicts import table as markdown_table

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Result = dict[str, Any]

PART = MarkedPart("year")
MONTH, YEAR = 30, 365
START = 242
GAIN = 0.03
BATCH = 20  # years that are simulated at the same time
SCREEN = 0.5  # standard errors below a look's level at which DeLong's test already rules the look out


@dataclass(frozen=True)
class Design:
    """How the training set changes from night to night.

    Attributes:
        title: for the table.
        new: records that come each night; 0 for a fresh set each night.
        rolling: whether the oldest ones leave.
    """

    title: str
    new: int
    rolling: bool = False


DESIGNS = {
    "grow5": Design("grows by 5 a night", 5),
    "grow25": Design("grows by 25 a night", 25),
    "rolling5": Design("rolling window of 242, 5 new a night", 5, rolling=True),
    "rolling25": Design("rolling window of 242, 25 new a night", 25, rolling=True),
    "fresh": Design("fresh set of 242 each night", 0),
}
FITTED = {
    "shuffled": "grows by 5 a night, fitted, folds dealt anew each night",
    "hashed": "grows by 5 a night, fitted, each record keeps its fold",
}
COLUMNS = {
    "before30": f"verdict alone, {MONTH} nights",
    "before365": f"verdict alone, {YEAR} nights",
    "after30": f"with looks, {MONTH} nights",
    "after365": f"with looks, {YEAR} nights",
}


def main(arguments: list[str] | None = None) -> None:
    """Run the simulations of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--drawn", type=int, default=2000, help="years of two equal models, drawn, for each design")
    parser.add_argument("--power", type=int, default=500, help="years of a true difference, drawn, for each design")
    parser.add_argument("--fitted", type=int, default=300, help="years of two equal models, fitted, for each design")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--json", type=Path, help="a file for the figures")
    parser.add_argument("--page", type=Path, help="a page whose part between the markers is replaced")
    given = parser.parse_args(arguments)
    PART.expect(parser, given.page)
    results = simulate(given.drawn, given.power, given.fitted, given.jobs)
    if given.json:
        given.json.write_text(json.dumps(results, indent=1) + "\n")
    if given.page:
        PART.write(given.page, markdown(results))
    print(markdown(results))


def simulate(drawn: int, power: int, fitted: int, jobs: int) -> Result:
    """Return by design the number of years and of those in which production moved at least once."""
    with ProcessPoolExecutor(jobs, initializer=threadpool_limits, initargs=(1,)) as pool:

        def run(one: Callable[[int], list[Result]], years: int, what: str, batch: int) -> Result:
            print(f"{years} years: {what}", file=sys.stderr, flush=True)
            found = [year for years in pool.map(one, range(math.ceil(years / batch))) for year in years][:years]
            counted = {name: sum(bool(one[name]) for one in found) for name in COLUMNS if name in found[0]}
            return {"years": years, "moved": counted, "looks": float(np.mean([one["looks"] for one in found]))}

        return {
            "null": {
                name: run(partial(drawn_years, design=name, gain=0.0), drawn, one.title, BATCH)
                for name, one in DESIGNS.items()
            },
            "fitted": {name: run(partial(fitted_year, folds=name), fitted, title, 1) for name, title in FITTED.items()},
            "power": {
                name: run(partial(drawn_years, design=name, gain=GAIN), power, f"{one.title}, Δ {GAIN}", BATCH)
                for name, one in DESIGNS.items()
            },
        }


class LookRule:
    """Applies the rules of the looks to the nights of one year."""

    def __init__(self) -> None:
        self.number = 0
        self.moved: int | None = None

    def look(self, z: float, compared: Callable[[], Comparison], night: int) -> None:
        """Take a look; ``z`` is the difference in standard errors of DeLong, which rules most looks out."""
        self.number += 1
        level = looks.level(self.number)
        if self.moved is not None or z < stats.norm.isf(level) - SCREEN:
            return
        one = compared()
        if looks.p_values([one])["second"] <= level and _verdict(one) == BETTER:
            self.moved = night

    def result(self) -> Result:
        """Return in which of the two spans production moved, and the number of looks."""
        moved = YEAR if self.moved is None else self.moved
        return {"after30": moved < MONTH, "after365": moved < YEAR, "looks": self.number}


def _verdict(one: Comparison) -> str:
    found = verdict.decide("first", [one], performances={"first": PASSES, "second": PASSES}, simplicity={"second": 1})
    return found.verdict


def _compared(labels: Ints, probabilities: Sequence[Floats]) -> Comparison:
    halves = [np.arange(len(labels)) % 2 == half for half in (0, 1)]
    first, second = (
        OutOfFoldPredictions(
            name, p, labels, np.arange(len(labels)), np.array([roc_auc(labels[one], p[one]) for one in halves]), {}
        )
        for name, p in zip(("first", "second"), probabilities, strict=True)
    )
    return compare(second, first, splits=2, seed=0)


class Cohorts:
    """The scores of two models for the training sets of several years, and who ranks which pair of records higher.

    Attributes:
        scores: by class (without, with disease) the scores (years, records, 2 models).
        gains: by class (years, records): in how many pairs the second model orders the record right, minus the first.
    """

    def __init__(self, distances: tuple[float, float], sizes: tuple[int, int], random: np.random.Generator) -> None:
        self._distances, self._random = distances, random
        self.scores = [self._drawn(label, size) for label, size in enumerate(sizes)]
        d = self._pairs(self.scores[0], self.scores[1])
        self.gains = [d.sum(axis=1, dtype=np.int32), d.sum(axis=2, dtype=np.int32)]
        self._oldest = [0, 0]

    def _drawn(self, label: int, size: int) -> Floats:
        common = math.sqrt(CORRELATION) * self._random.standard_normal((BATCH, size, 1))
        own = math.sqrt(1 - CORRELATION) * self._random.standard_normal((BATCH, size, 2))
        return common + own + label * np.array(self._distances)

    @staticmethod
    def _pairs(negative: Floats, positive: Floats) -> NDArray[np.int8]:
        """Return (years, positive, negative): 1 where only the second model orders the pair right, -1 the first."""
        first, second = (positive[:, :, None, m] > negative[:, None, :, m] for m in (0, 1))
        return second.view(np.int8) - first.view(np.int8)

    def add(self, label: int, count: int, *, rolling: bool) -> None:
        """Add records of a class; ``rolling``: in place of the oldest."""
        if not count:
            return
        mine, others = self.scores[label], self.scores[1 - label]
        drawn = self._drawn(label, count)
        at = np.arange(self._oldest[label], self._oldest[label] + count) % mine.shape[1]
        if rolling:
            self._count(label, mine[:, at], others, -1)
            mine[:, at] = drawn
            self._oldest[label] += count
        found = self._count(label, drawn, others, 1)
        if rolling:
            self.gains[label][:, at] = found
        else:
            self.scores[label] = np.concatenate([mine, drawn], axis=1)
            self.gains[label] = np.concatenate([self.gains[label], found], axis=1)

    def _count(self, label: int, some: Floats, others: Floats, sign: int) -> NDArray[np.int32]:
        """Add the pairs of some records of a class to the gains of the other class; return their own gains."""
        d = self._pairs(others, some) if label else self._pairs(some, others)
        self.gains[1 - label] += sign * d.sum(axis=2 - label, dtype=np.int32)
        own: NDArray[np.int32] = d.sum(axis=1 + label, dtype=np.int32)
        return own

    def probabilities(self, label: int) -> Floats:
        """Return the true probability given each score of a class: (years, records, 2)."""
        d = np.array(self._distances)
        found: Floats = special.expit(d * self.scores[label] - d**2 / 2 + special.logit(PREVALENCE))
        return found

    def tests(self) -> tuple[Floats, Floats, NDArray[np.bool_]]:
        """Return for each year the difference in ROC AUC, its standard error by DeLong, and whether it is *better*.

        The intervals are DeLong's and a normal one for the Brier score: the bootstrap of each night would take days.
        """
        sizes = [one.shape[1] for one in self.gains]
        parts = [one / other for one, other in zip(self.gains, reversed(sizes), strict=True)]
        delta = parts[1].mean(axis=1)
        error = np.sqrt(sum(part.var(axis=1, ddof=1) / part.shape[1] for part in parts))
        better = (delta - Z * error > 0) & (delta > verdict.RULES.margin)
        if better.any():
            better &= self._brier_high() < verdict.RULES.brier_margin
        return delta, error, better

    def _brier_high(self) -> Floats:
        losses = [np.diff((self.probabilities(label) - label) ** 2, axis=2)[:, :, 0] for label in (0, 1)]
        n = sum(one.shape[1] for one in losses)
        mean = sum(one.sum(axis=1) for one in losses) / n
        variance = sum(one.var(axis=1) * one.shape[1] for one in losses) / n**2
        found: Floats = mean + Z * np.sqrt(variance)
        return found

    def compared(self, year: int) -> Comparison:
        """Compare the two models of a year as a run does."""
        chosen = [self.probabilities(label)[year] for label in (0, 1)]
        labels = np.repeat(np.array([0, 1], dtype=np.int64), [len(one) for one in chosen])
        order = np.random.default_rng(0).permutation(len(labels))
        p = np.concatenate(chosen)[order]
        return _compared(labels[order], [p[:, 0], p[:, 1]])


def drawn_years(seed: int, *, design: str, gain: float) -> list[Result]:
    """Draw the scores of two models, for ``BATCH`` years of nightly comparisons.

    In each class both scores are normal and correlated. A record keeps its scores as long as it is in the set.
    """
    one = DESIGNS[design]
    random = np.random.default_rng([seed, round(1e6 * gain), list(DESIGNS).index(design), 3])
    distances = tuple(math.sqrt(2) * float(stats.norm.ppf(auc)) for auc in (AUC, AUC + gain))
    with_disease = round(PREVALENCE * START)
    sizes = (START - with_disease, with_disease)
    cohorts = Cohorts((distances[0], distances[1]), sizes, random)
    better = np.zeros((YEAR, BATCH), dtype=np.bool_)
    rules = [LookRule() for _ in range(BATCH)]
    planned = list(_looks(one))
    for night in range(YEAR):
        if night and not one.new:
            cohorts = Cohorts((distances[0], distances[1]), sizes, random)
        elif night:
            positives = round(PREVALENCE * one.new * (night + 1)) - round(PREVALENCE * one.new * night)
            for label, count in ((0, one.new - positives), (1, positives)):
                cohorts.add(label, count, rolling=one.rolling)
        delta, error, better[night] = cohorts.tests()
        if night in planned:
            for year, rule in enumerate(rules):
                rule.look(delta[year] / error[year], partial(cohorts.compared, year), night)
    return [
        {"before30": better[:MONTH, year].any(), "before365": better[:, year].any(), **rule.result()}
        for year, rule in enumerate(rules)
    ]


def _looks(design: Design) -> Iterator[int]:
    """Yield the nights of the looks."""
    last, size = 0, START  # night and size of the last look
    for night in range(YEAR):
        new = (night - last) * design.new if design.new else size
        if not night or new >= looks.needed(size):
            yield night
            last, size = night, START + (0 if design.rolling else night * design.new)


def fitted_year(seed: int, *, folds: str) -> list[Result]:
    """Fit two equally good models on a set that grows by 5 a night, every night of a month and at each look of a year.

    Each model gets the records with independent noise of equal distribution, as in ``verdicts.refitted_pair``.

    Args:
        seed: of the cohort.
        folds: ``shuffled``: all folds are dealt anew each night; ``hashed``: a record's folds depend on itself.
    """
    design = DESIGNS["grow5"]
    records = splits.to_labelled(synthetic.generate(START + design.new * (YEAR - 1), seed))
    features = preprocessor(scale=True).fit_transform(records.features)
    random = np.random.default_rng([seed, 4])
    copies = [features + NOISE * random.standard_normal(features.shape) for _ in range(2)]
    own = random.integers(0, SPLITS, (REPEATS, len(features)))
    rule, better = LookRule(), [False] * MONTH
    planned = [night for night in _looks(design) if folds == "hashed" or night < MONTH]
    for night in sorted({*range(MONTH), *planned}):
        n = START + design.new * night
        labels = records.labels[:n]
        plan = own[:, :n] if folds == "hashed" else _dealt(labels, np.random.default_rng([seed, night, 5]))
        probabilities = [_out_of_fold(copy[:n], labels, plan) for copy in copies]
        z, possible = _screened(labels, probabilities)
        if night < MONTH and possible:
            better[night] = _verdict(_compared(labels, probabilities)) == BETTER
        if night in planned:
            rule.look(z, partial(_compared, labels, probabilities), night)
    found = {"before30": any(better), **rule.result()}
    return [found if folds == "hashed" else {name: value for name, value in found.items() if name != "after365"}]


def _dealt(labels: Ints, random: np.random.Generator) -> Ints:
    """Return stratified folds (repeats, n)."""
    plan = np.empty((REPEATS, len(labels)), dtype=np.int64)
    for repeat in range(REPEATS):
        for label in (0, 1):
            members = np.flatnonzero(labels == label)
            plan[repeat, members] = random.permutation(np.arange(len(members)) % SPLITS)
    return plan


def _out_of_fold(features: Floats, labels: Ints, plan: Ints) -> Floats:
    tests = np.concatenate([plan == fold for fold in range(SPLITS)])
    found: Floats = (fit(features, labels, ~tests) * tests).sum(axis=0) / len(plan)
    return found


def _screened(labels: Ints, probabilities: Sequence[Floats]) -> tuple[float, bool]:
    """Return the difference in standard errors of DeLong, and whether *better* is possible at all."""
    found = paired_tests.delong(labels, probabilities[1], probabilities[0])
    z = found.auc.value / found.standard_error
    return z, z > Z - SCREEN and found.auc.value > verdict.RULES.margin


def markdown(results: Result) -> str:
    """Return the tables."""

    def row(title: str, found: Result) -> list[str]:
        cells = [rate(found["moved"][name], found["years"]) if name in found["moved"] else "–" for name in COLUMNS]
        return [title, *cells, f"{found['looks']:.0f}" if "after365" in found["moved"] else "–"]

    head = ["training set", *COLUMNS.values(), "looks a year"]
    null = [row(DESIGNS[name].title, one) for name, one in results["null"].items()]
    fitted = [row(FITTED[name], one) for name, one in results["fitted"].items()]
    power = [row(DESIGNS[name].title, one) for name, one in results["power"].items()]
    years = {name: next(iter(results[name].values()))["years"] for name in results}
    return "\n\n".join(
        [
            f"Production moved at least once, though both models are equally good ({years['null']:,} years for each "
            f"design with drawn scores, {years['fitted']:,} with fitted models):",
            markdown_table(head, [*null, *fitted]),
            f"Production moved to a model whose true ROC AUC is higher by {GAIN} ({years['power']:,} years for each "
            "design, drawn scores):",
            markdown_table(head, power),
        ]
    )


if __name__ == "__main__":
    main()
