"""Measures how often the verdict is wrong for two equally good models, and its power for a true difference.

    .venv/bin/python tests/benchmarks/verdicts.py --page docs/evidence.md --figure docs/images/verdict-power.svg

The verdicts are Heartline's own (`compare.compare`, `verdict.decide`); only the predictions are simulated. Equal seeds
give equal figures. docs/evidence.md describes the simulation.
"""

import argparse
import json
import math
import sys
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "include"))

import numpy as np
from marked_part import MarkedPart
from numpy.typing import NDArray
from scipy import special, stats
from threadpoolctl import threadpool_limits

from heartline.comparison import verdict as promotion
from heartline.comparison.compare import Comparison, OutOfFoldPredictions, compare
from heartline.comparison.verdict_names import BETTER
from heartline.evaluation.intervals import ALPHA
from heartline.ingestion.sample import synthetic
from heartline.scores import roc_auc
from heartline.storage import splits
from heartline.training.preprocessing import preprocessor

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Result = dict[str, Any]

PART = MarkedPart("verdicts")
AUC, CORRELATION, PREVALENCE = 0.91, 0.85, 139 / 303  # of logistic regression and forest on Cleveland
SPLITS, REPEATS = 10, 10
NOISE = 0.25  # added to each model's copy of the records, in standard deviations of a column
# 242 is four fifths of Cleveland's 303 records, the nominal size of its training set; the real one has 235.
GAINS = {242: (0.01, 0.02, 0.03, 0.04, 0.05), 1000: (0.005, 0.01, 0.015, 0.02, 0.025, 0.03)}
RULES = {
    "split": "one 80/20 split: Δ over 0.01",
    "t": "t-test over the 100 folds",
    "folds": "Nadeau–Bengio over the 100 folds",
    "delong": "DeLong, averaged out-of-fold probabilities",
    "bootstrap": "paired bootstrap, averaged out-of-fold probabilities",
    "verdict": "**Heartline's *better***",
}
PASSES = promotion.Performance(auc=1.0, slope=1.0)  # the minimum requirements are not simulated


def main(arguments: list[str] | None = None) -> None:
    """Run the simulations of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--refitted", type=int, default=2000, help="cohorts on which two equal models are fitted")
    parser.add_argument("--drawn", type=int, default=1000, help="pairs of score vectors at each true difference")
    parser.add_argument("--null", type=int, default=4000, help="pairs of score vectors of equal models")
    parser.add_argument("--draws", type=int, default=2000, help="bootstrap draws")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--json", type=Path, help="a file for the figures")
    parser.add_argument("--page", type=Path, help="a page whose part between the markers is replaced")
    parser.add_argument("--figure", type=Path, help="an SVG file for the power curves")
    given = parser.parse_args(arguments)
    PART.expect(parser, given.page)
    results = simulate(given.refitted, given.null, given.drawn, given.draws, given.jobs)
    if given.json:
        given.json.write_text(json.dumps(results, indent=1) + "\n")
    if given.page:
        PART.write(given.page, markdown(results))
    if given.figure:
        draw(results, given.figure)
    print(markdown(results))


def simulate(refitted: int, null: int, drawn: int, draws: int, jobs: int) -> Result:
    """Return the counts of all simulations."""
    with ProcessPoolExecutor(jobs, initializer=threadpool_limits, initargs=(1,)) as pool:

        def run(one: Callable[[int], Result], times: int, what: str) -> list[Result]:
            print(f"{times} × {what}", file=sys.stderr, flush=True)
            return list(pool.map(one, range(times), chunksize=max(1, min(20, times // (4 * jobs)))))

        pairs = run(partial(refitted_pair, draws=draws), refitted, "two equal models, fitted")
        equal = {
            n: run(partial(drawn_pair, n=n, gain=0.0, draws=draws), null, f"two equal models, drawn, n = {n}")
            for n in GAINS
        }
        power = {
            n: {
                gain: run(partial(drawn_pair, n=n, gain=gain, draws=draws), drawn, f"Δ = {gain}, n = {n}")
                for gain in gains
            }
            for n, gains in GAINS.items()
        }
    return {
        "draws": draws,
        "refitted": {**_counts(pairs), **{what: _mean(pairs, what) for what in ("auc", "correlation", "gain")}},
        "spread": {"refitted": _spread(pairs), "drawn": _spread(equal[242])},
        "null": {str(n): _counts(found) for n, found in equal.items()},
        "power": {str(n): {str(gain): _counts(found) for gain, found in by.items()} for n, by in power.items()},
    }


def _counts(found: Sequence[Result]) -> Result:
    counted = {rule: sum(one[rule] for one in found) for rule in RULES if rule in found[0]}
    return {"times": len(found), "better": counted}


def _mean(found: Sequence[Result], what: str) -> float:
    return float(np.mean([one[what] for one in found]))


def _spread(found: Sequence[Result]) -> float:
    return float(np.std([one["gain"] for one in found]))


def refitted_pair(seed: int, *, n: int = 242, draws: int = 2000) -> Result:
    """Fit two equally good models on one synthetic cohort, and return the result of each rule for the second.

    Each model gets the cohort with independent noise of equal distribution, so neither model is better and no rule can
    distinguish them.
    """
    records = splits.to_labelled(synthetic.generate(n, seed))
    features = preprocessor(scale=True).fit_transform(records.features)
    random = np.random.default_rng([seed, 1])
    copies = [features + NOISE * random.standard_normal(features.shape) for _ in range(2)]
    plan = splits.plan_folds(records, splits=SPLITS, repeats=REPEATS, seed=seed)
    tests = np.concatenate([plan == fold for fold in range(SPLITS)])
    predictions = [
        np.where(tests, logistic_regression(copy, records.labels, ~tests), np.nan) for copy in copies
    ]  # (folds, n), NaN for training records
    folds = [
        np.array([roc_auc(records.labels[t], p[t]) for t, p in zip(tests, one, strict=True)]) for one in predictions
    ]
    averaged = [np.nanmean(one, axis=0) for one in predictions]
    one = compared(records.labels, averaged, folds, draws)

    split = splits.plan_folds(records, splits=5, repeats=1, seed=seed + 1)[0] == 0
    on_split = [
        roc_auc(records.labels[split], logistic_regression(copy, records.labels, ~split[None])[0, split])
        for copy in copies
    ]
    t_test = stats.ttest_rel(folds[1], folds[0])
    return {
        **_decisions(one),
        "split": on_split[1] - on_split[0] > promotion.RULES.margin,
        "t": bool(t_test.pvalue < ALPHA and t_test.statistic > 0),
        "folds": one.folds.low > 0,
        "auc": one.aucs[1],
        "correlation": _correlation(records.labels, averaged),
    }


def logistic_regression(features: Floats, labels: Ints, trained_on: NDArray[np.bool_]) -> Floats:
    """Fit scikit-learn's LogisticRegression(C=1) on many subsets of the records at once, by Newton's method.

    Args:
        features: (n, p).
        labels: (n,) 0 or 1.
        trained_on: (fits, n) whether each fit uses each record.

    Returns:
        (fits, n) probabilities of each fit for each record.
    """
    design = np.column_stack([features, np.ones(len(features))])
    # the fits differ by a tenth of the records: from the fit to all of them few steps are left
    everything = _newton(design, labels, np.ones((1, len(labels)), dtype=np.bool_), np.zeros((1, design.shape[1])))
    weights = _newton(design, labels, trained_on, np.repeat(everything, len(trained_on), axis=0))
    found: Floats = special.expit(weights @ design.T)
    return found


def _newton(design: Floats, labels: Ints, trained_on: NDArray[np.bool_], weights: Floats) -> Floats:
    """Return the weights (fits, p) that minimise the penalised log loss, from the given ones on."""
    width = design.shape[1]
    above = np.triu_indices(width)
    products = design[:, above[0]] * design[:, above[1]]  # the curvature is symmetric
    penalty = np.diag(np.append(np.ones(width - 1), 1e-9))  # the intercept is free
    used = trained_on.astype(np.float64)
    for _ in range(12):
        p = special.expit(weights @ design.T)
        gradient = (used * (p - labels)) @ design + weights @ penalty
        curvature = np.empty((len(used), width, width))
        curvature[:, above[0], above[1]] = curvature[:, above[1], above[0]] = (used * p * (1 - p)) @ products
        step = np.linalg.solve(curvature + penalty, gradient[:, :, None])[:, :, 0]
        weights = weights - step
        if np.abs(step).max() < 1e-6:
            break
    return weights


def drawn_pair(
    seed: int, *, n: int, gain: float, draws: int = 2000, auc: float = AUC, correlation: float = CORRELATION
) -> Result:
    """Draw the probabilities of two models of known ROC AUC, and return the result of each rule for the second.

    In each class both scores are normal and correlated; the probability is the true one given the score.
    """
    random = np.random.default_rng([seed, n, round(1e6 * gain), 2])
    labels = np.zeros(n, dtype=np.int64)
    labels[: round(PREVALENCE * n)] = 1
    common = random.standard_normal(n)
    probabilities = []
    for area in (auc, auc + gain):
        distance = math.sqrt(2) * stats.norm.ppf(area)
        noise = math.sqrt(correlation) * common + math.sqrt(1 - correlation) * random.standard_normal(n)
        score = noise + distance * labels
        probabilities.append(special.expit(distance * score - distance**2 / 2 + special.logit(PREVALENCE)))
    folds = np.array_split(random.permutation(n), 2)
    aucs = [np.array([roc_auc(labels[fold], p[fold]) for fold in folds]) for p in probabilities]
    return _decisions(compared(labels, probabilities, aucs, draws, splits=len(folds)))


def compared(
    labels: Ints, probabilities: Sequence[Floats], folds: Sequence[Floats], draws: int, splits: int = SPLITS
) -> Comparison:
    first, second = (
        OutOfFoldPredictions(name, p, labels, np.arange(len(labels)), aucs, {})
        for name, p, aucs in zip(("first", "second"), probabilities, folds, strict=True)
    )
    return compare(second, first, splits=splits, seed=0, draws=draws)


def _decisions(one: Comparison) -> Result:
    verdict = promotion.decide(
        "first", [one], performances={"first": PASSES, "second": PASSES}, simplicity={"second": 1}
    )
    return {
        "verdict": verdict.verdict == BETTER,
        "bootstrap": one.auc.low > 0,
        "delong": one.delong.auc.low > 0,
        "gain": one.auc.value,
    }


def _correlation(labels: Ints, probabilities: Sequence[Floats]) -> float:
    """Return the mean correlation of two models' log odds within a class."""
    logits = special.logit(np.clip(probabilities, 0.005, 0.995))
    return float(np.mean([np.corrcoef(logits[:, labels == label])[0, 1] for label in (0, 1)]))


def rate(better: int, times: int) -> str:
    """Return a rate in per cent with its 95 % interval (Wilson)."""
    low, high = stats.binomtest(better, times).proportion_ci(method="wilson")
    return f"{100 * better / times:.1f} % ({100 * low:.1f} to {100 * high:.1f})"


def needed(power: dict[str, Result], share: float = 0.8) -> float | None:
    """Return the true difference at which ``share`` of the verdicts is *better*, interpolated; None without one."""
    gains = [float(gain) for gain in power]
    rates = [one["better"]["verdict"] / one["times"] for one in power.values()]
    for at in range(1, len(gains)):
        if rates[at - 1] < share <= rates[at]:
            part = (share - rates[at - 1]) / (rates[at] - rates[at - 1])
            return gains[at - 1] + part * (gains[at] - gains[at - 1])
    return None


def markdown(results: Result) -> str:
    """Return the tables."""
    fitted, null, power = results["refitted"], results["null"], results["power"]
    sizes = list(null)
    drawn = [
        [text, *(rate(null[n]["better"][rule], null[n]["times"]) if rule in null[n]["better"] else "–" for n in sizes)]
        for rule, text in RULES.items()
    ]
    power_at = [
        f"At n = {n} the verdict is *better* 80 % of the time from a true Δ of {found:.3f} on."
        if (found := needed(power[n])) is not None
        else f"At n = {n} none of these differences gives *better* 80 % of the time."
        for n in sizes
    ]
    return "\n\n".join(
        [
            "False *better* between two equally good models:",
            table(
                ["decision rule", f"fitted, n = 242, {fitted['times']:,} cohorts"]
                + [f"drawn, n = {n}, {null[n]['times']:,} pairs" for n in sizes],
                [
                    [row[0], rate(fitted["better"][rule], fitted["times"]), *row[1:]]
                    for rule, row in zip(RULES, drawn, strict=True)
                ],
            ),
            f"The fitted models have a ROC AUC of {fitted['auc']:.3f} on average, and log odds that correlate by "
            f"{fitted['correlation']:.2f} within a class;\nthe drawn ones {AUC} and {CORRELATION}. Δ has a standard "
            f"deviation of {results['spread']['refitted']:.4f} and {results['spread']['drawn']:.4f} (n = 242).",
            "*Better*, by the true difference in ROC AUC:",
            *(
                table(
                    [f"true Δ, n = {n}", *power[n]],
                    [["*better*", *(rate(one["better"]["verdict"], one["times"]) for one in power[n].values())]],
                )
                for n in sizes
            ),
            "\n".join(power_at),
        ]
    )


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def draw(results: Result, path: Path) -> None:
    """Write the power curves as SVG."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams.update({"svg.hashsalt": "verdicts", "svg.fonttype": "none", "font.family": "sans-serif"})
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6, 3.2), layout="constrained")
    for (n, by), colour, marker in zip(results["power"].items(), ("#0072b2", "#d55e00"), "os", strict=True):
        null = results["null"][n]
        points = {0.0: null, **{float(gain): one for gain, one in by.items()}}
        shares = [100 * one["better"]["verdict"] / one["times"] for one in points.values()]
        axes.plot(list(points), shares, color=colour, marker=marker, label=f"n = {n}")
    axes.axhline(80, color="0.5", linestyle=":", linewidth=1)
    axes.axhline(5, color="0.5", linestyle=":", linewidth=1)
    axes.set(xlabel="true difference in ROC AUC", ylabel="verdict “better”, %", ylim=(0, 100), xlim=(0, None))
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, metadata={"Date": None, "Creator": None})
    pyplot.close(figure)


if __name__ == "__main__":
    main()
