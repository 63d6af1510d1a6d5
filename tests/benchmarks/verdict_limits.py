"""Measures the verdict where it is weakest: small sets, no signal, other ROC AUCs, and the recall requirement.

    .venv/bin/python tests/benchmarks/verdict_limits.py --page docs/evidence.md

The rules are Heartline's own; only the predictions are simulated. Equal seeds give equal figures. docs/evidence.md
describes the simulation.
"""

import argparse
import json
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "include"))

import numpy as np
from marked_part import MarkedPart
from scipy import stats
from threadpoolctl import threadpool_limits

from heartline.comparison import verdict
from heartline.comparison.verdict import Performance, Recall
from heartline.comparison.verdict_names import BETTER
from heartline.evaluation import metrics, subgroups
from heartline.ingestion.sample import synthetic
from heartline.storage import splits
from heartline.training.preprocessing import preprocessor
from tests.benchmarks import verdicts
from tests.benchmarks.verdicts import NOISE, REPEATS, SPLITS, rate, table

Result = dict[str, Any]

PART = MarkedPart("limits")
GAIN = 0.03
AUCS, CORRELATIONS = (0.75, 0.80, 0.85, 0.91), (0.5, 0.7, 0.85)
TRUE_RECALLS, POSITIVES = (0.2, 0.3, 0.4, 0.6, 0.7), (20, 40)


def main(arguments: list[str] | None = None) -> None:
    """Run the simulations of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", type=int, default=1000, help="cohorts of 100 records")
    parser.add_argument("--signal", type=int, default=400, help="cohorts without signal")
    parser.add_argument("--power", type=int, default=400, help="pairs at each ROC AUC and correlation")
    parser.add_argument("--recall", type=int, default=400, help="cohorts for the recall requirement")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--page", type=Path, help="a page whose part between the markers is replaced")
    parser.add_argument("--json", type=Path, help="a file for the figures")
    given = parser.parse_args(arguments)
    PART.expect(parser, given.page)
    results = simulate(given.small, given.signal, given.power, given.recall, given.jobs)
    if given.json:
        given.json.write_text(json.dumps(results, indent=1) + "\n")
    if given.page:
        PART.write(given.page, markdown(results))
    print(markdown(results))


def simulate(small: int, signal: int, power: int, recall: int, jobs: int) -> Result:
    """Return the counts of all simulations."""
    with ProcessPoolExecutor(jobs, initializer=threadpool_limits, initargs=(1,)) as pool:

        def run(one: Callable[[int], Result], times: int, what: str) -> Result:
            print(f"{times} × {what}", file=sys.stderr, flush=True)
            found = list(pool.map(one, range(times), chunksize=max(1, times // (4 * jobs))))
            return {"times": times, **{name: sum(bool(each[name]) for each in found) for name in found[0]}}

        return {
            "small": run(partial(fitted, n=100, signal=True), small, "n = 100"),
            "signal": run(partial(fitted, n=242, signal=False), signal, "without signal"),
            "power": {
                f"{auc} {correlation}": run(
                    partial(drawn, auc=auc, correlation=correlation), power, f"AUC {auc}, correlation {correlation}"
                )
                for auc in AUCS
                for correlation in CORRELATIONS
            },
            "recall": run(good_model, recall, "recall requirement"),
        }


def fitted(seed: int, *, n: int, signal: bool) -> Result:
    """Compare two equally good logistic regressions on a cohort, as ``verdicts.refitted_pair``.

    Args:
        seed: of the cohort.
        n: number of records.
        signal: False: the labels are permuted, so that no feature says anything.
    """
    records, probabilities = _cohort(seed, n, signal=signal, models=2)
    folds = [np.full(SPLITS, 0.5)] * 2
    one = verdicts.compared(records.labels, probabilities, folds, 2000)
    performances = {name: _performance(records, p) for name, p in zip(("first", "second"), probabilities, strict=True)}
    better = verdict.decide(
        "first", [one], performances={k: v[0] for k, v in performances.items()}, simplicity={"second": 1}
    )
    unguarded = verdict.decide(
        "first", [one], performances=dict.fromkeys(performances, verdicts.PASSES), simplicity={"second": 1}
    )
    return {
        "excludes": one.auc.low > 0 or one.auc.high < 0,
        "verdict": unguarded.verdict == BETTER,
        "moved": better.verdict == BETTER,
    }


def _cohort(seed: int, n: int, *, signal: bool, models: int) -> tuple[splits.LabelledDataset, list[Any]]:
    """Return a cohort, and the averaged out-of-fold probabilities of logistic regressions on noisy copies of it."""
    records = splits.to_labelled(synthetic.generate(n, seed))
    random = np.random.default_rng([seed, n, 6])
    if not signal:
        records = splits.LabelledDataset(records.features, random.permutation(records.labels), records.groups)
    features = preprocessor(scale=True).fit_transform(records.features)
    plan = splits.plan_folds(records, splits=SPLITS, repeats=REPEATS, seed=seed)
    tests = np.concatenate([plan == fold for fold in range(SPLITS)])
    noise = NOISE if models > 1 else 0.0
    copies = [features + noise * random.standard_normal(features.shape) for _ in range(models)]
    fits = [verdicts.logistic_regression(copy, records.labels, ~tests) for copy in copies]
    return records, [(one * tests).sum(axis=0) / REPEATS for one in fits]


def _performance(records: splits.LabelledDataset, p: Any) -> tuple[Performance, Performance]:
    """Return the scores that the requirements are about, decided on the recall's interval and on its point estimate."""
    found = metrics.evaluate(records.labels, p, records.groups, seed=0, draws=40)
    recalls = {
        f"{one.kind} {one.name}": (recall.value, recall.value if recall.high is None else recall.high, one.positives)
        for one in subgroups.evaluate(records, p, seed=0)
        if (recall := one.estimates["recall"]).value is not None
    }
    auc, slope = (found[name].value or float("nan") for name in ("roc_auc", "calibration_slope"))
    return (
        Performance(auc, slope, {name: Recall(*one) for name, one in recalls.items()}),
        Performance(auc, slope, {name: Recall(value, value, n) for name, (value, _, n) in recalls.items()}),
    )


def drawn(seed: int, *, auc: float, correlation: float) -> Result:
    """Draw the probabilities of two models, of which the second has a ROC AUC that is higher by ``GAIN``."""
    found = verdicts.drawn_pair(seed, n=242, gain=GAIN, auc=auc, correlation=correlation)
    return {"verdict": found["verdict"]}


def good_model(seed: int) -> Result:
    """Return which requirements the out-of-fold scores of a logistic regression on 242 records violate."""
    records, (p,) = _cohort(seed, 242, signal=True, models=1)
    by_interval, by_point = _performance(records, p)
    return {
        "point": any("recall" in one for one in verdict.violations(by_point, verdict.RULES)),
        "interval": any("recall" in one for one in verdict.violations(by_interval, verdict.RULES)),
        "auc": not by_point.auc >= verdict.RULES.min_auc,
        "slope": not verdict.RULES.slope[0] <= by_point.slope <= verdict.RULES.slope[1],
    }


def vetoed(recall: float, positives: int) -> tuple[float, float]:
    """Return how likely a subgroup's recall violates the requirement, by its point estimate and by its interval.

    The counts are binomial; the upper end is that of the percentile bootstrap, the binomial quantile.
    """
    counts = np.arange(positives + 1)
    likely = stats.binom.pmf(counts, positives, recall)
    high = stats.binom.ppf(0.975, positives, counts / positives) / positives
    limit = verdict.RULES.min_recall
    return float(likely[counts / positives < limit].sum()), float(likely[high < limit].sum())


def markdown(results: Result) -> str:
    """Return the tables."""
    small, signal, recall = results["small"], results["signal"], results["recall"]

    def cells(found: Result, *names: str) -> list[str]:
        return [rate(found[name], found["times"]) for name in names]

    requirements = {
        "recall in a subgroup, point estimate (before)": "point",
        "recall in a subgroup, whole interval": "interval",
        "ROC AUC, point estimate": "auc",
        "calibration slope, point estimate": "slope",
    }
    power = [
        [
            f"ROC AUC {auc}",
            *(cells(results["power"][f"{auc} {correlation}"], "verdict")[0] for correlation in CORRELATIONS),
        ]
        for auc in AUCS
    ]
    exact = [
        [f"{recall:g}", *(f"{100 * share:.1f} %" for n in POSITIVES for share in vetoed(recall, n))]
        for recall in TRUE_RECALLS
    ]
    return "\n\n".join(
        [
            "Two equally good models, fitted:",
            table(
                ["cohorts", "the interval of ΔAUC excludes 0", "*better* without minimum requirements", "*better*"],
                [
                    [f"n = 100, {small['times']:,} cohorts", *cells(small, "excludes", "verdict", "moved")],
                    [
                        f"n = 242, labels without signal, {signal['times']:,} cohorts",
                        *cells(signal, "excludes", "verdict", "moved"),
                    ],
                ],
            ),
            f"*Better*, by the incumbent's ROC AUC and the correlation of the scores within a class (true Δ {GAIN}, "
            f"n = 242, {next(iter(results['power'].values()))['times']:,} pairs each):",
            table(["incumbent", *(f"correlation {one}" for one in CORRELATIONS)], power),
            f"Logistic regression on cohorts like the sample (n = 242, {recall['times']:,} cohorts) violates a minimum "
            "requirement:",
            table(["requirement", "violated"], [[title, *cells(recall, name)] for title, name in requirements.items()]),
            "How often one subgroup of a true recall violates the requirement (binomial):",
            table(
                ["true recall", *(f"{n} with disease, {how}" for n in POSITIVES for how in ("point", "interval"))],
                exact,
            ),
        ]
    )


if __name__ == "__main__":
    main()
