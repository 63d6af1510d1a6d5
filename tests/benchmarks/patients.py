"""Measures what second visits of patients do to the verdict, and what folds by hash do to Cleveland's scores.

    HEARTLINE_REAL_DATA=… PYTHONPATH=include .venv/bin/python -m tests.benchmarks.patients --page docs/data.md

Cohorts are synthetic. A second visit has the first one's label and codes, age + 1, and other measurements: pressure
± 10, rate ± 8, cholesterol ± 20, uniform. Both families are evaluated with the profile quick, and the minimum
requirements are not applied. Equal seeds give equal figures.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats
from threadpoolctl import threadpool_limits

from heartline import contract, scores
from heartline.arrays import Folds
from heartline.comparison import verdict
from heartline.comparison.compare import OutOfFoldPredictions, compare
from heartline.evaluation import cross_validation
from heartline.ingestion.sample import synthetic
from heartline.storage import near_duplicates, record_identity, splits
from heartline.storage.record_identity import PATIENT
from heartline.storage.splits import GROUP, LabelledDataset
from heartline.training import families
from tests import data_page

COHORTS = 20
DESIGNS = ((300, 0), (240, 60), (150, 150))  # patients, and how many of them have a second visit
WAYS = {"features": "equal features only (0.3)", "near": "near duplicates", "key": "patient key"}
PASSES = verdict.Performance(auc=1.0, slope=1.0)
FAMILIES = ("logistic_regression", "random_forest")

SEEDS = 8


def cohort(patients: int, twice: int, seed: int) -> pd.DataFrame:
    """Return canonical records with the key of the patient: one for each patient, and a second one for the first."""
    first = synthetic.generate(patients, seed).reset_index(drop=True)
    random = np.random.default_rng([seed, 1])
    again = first.iloc[:twice].copy()
    again["age"] += 1
    for name, most in (("trestbps", 10), ("thalach", 8), ("chol", 20)):
        again[name] += random.integers(-most, most + 1, twice)
    for column in contract.FEATURES:
        again[column.name] = again[column.name].clip(column.minimum, column.maximum)
    keys = record_identity.mixed(np.arange(patients, dtype=np.uint64), 0)
    both = pd.concat([first.assign(**{PATIENT: keys}), again.assign(**{PATIENT: keys[:twice]})], ignore_index=True)
    return record_identity.canonical(both)


def grouped(records: pd.DataFrame, way: str) -> pd.DataFrame:
    """Return records with the column that decides which of them belong together."""
    if way == "key":
        return records
    without = records.drop(columns=PATIENT)
    if way == "near":
        return splits.with_groups(without)
    return without.assign(**{GROUP: record_identity.feature_hashes(without)})


def evaluate(seed: int, *, patients: int, twice: int, way: str) -> dict[str, bool | float]:
    """Return whether the forest is called better, and the share of second visits on the other side of the split."""
    records = cohort(patients, twice, seed)
    together = grouped(records, way)
    held_out = splits.group_keys(together) < np.uint64(splits.HOLDOUT_SHARE * 2**64)
    sides = pd.Series(held_out).groupby(records[PATIENT]).nunique()
    profile = families.PROFILES["quick"]
    training = splits.to_labelled(splits.train_test_split(together)[0])
    plan = splits.plan_folds(training, splits=profile.splits, repeats=profile.repeats, seed=seed)
    predictions = _predictions(training, plan, profile, seed)
    found = compare(predictions[1], predictions[0], splits=profile.splits, seed=seed)
    decided = verdict.decide(
        FAMILIES[0], [found], performances=dict.fromkeys(FAMILIES, PASSES), simplicity={FAMILIES[1]: 1}
    )
    return {
        "better": decided.verdict == verdict.BETTER,
        "apart": float((sides > 1).sum() / twice) if twice else 0.0,
        "auc": found.aucs[1],
        "delta": found.auc.value,
    }


def _predictions(
    records: LabelledDataset, plan: Folds, profile: families.Profile, seed: int
) -> list[OutOfFoldPredictions]:
    made = []
    for name in FAMILIES:
        cv = cross_validation.cross_validate(name, records, plan, profile=profile, seed=seed)
        made.append(OutOfFoldPredictions(name, cv.averaged, records.labels, records.groups, cv.fold_aucs, {}))
    return made


def visits(cohorts: int, jobs: int) -> str:
    """Return the table of verdicts and split."""
    rows = []
    with ProcessPoolExecutor(jobs, initializer=threadpool_limits, initargs=(1,)) as pool:
        for patients, twice in DESIGNS:
            for way, title in WAYS.items():
                if not twice and way == "key":
                    continue
                one = partial(evaluate, patients=patients, twice=twice, way=way)
                found = list(pool.map(one, range(cohorts)))
                better = sum(bool(each["better"]) for each in found)
                means = [float(np.mean([each[name] for each in found])) for name in ("apart", "auc", "delta")]
                apart = f"{means[0]:.0%}" if twice else "–"
                rows.append(
                    f"| {patients}, {twice} of them twice | {title} | {_rate(better, cohorts)} | {apart} "
                    f"| {means[1]:.3f} | {means[2]:+.3f} |"
                )
                print(rows[-1], file=sys.stderr, flush=True)
    head = "| patients | kept together by | forest called *better* | second visits on the other side | AUC of logistic "
    return "\n".join([f"{head}regression | Δ AUC of the forest |", "| --- | --- | ---: | ---: | ---: | ---: |", *rows])


def _rate(count: int, of: int) -> str:
    low, high = stats.binomtest(count, of).proportion_ci(method="wilson")
    return f"{count} of {of} ({100 * low:.0f} to {100 * high:.0f} %)"


def pairs(cohorts: int) -> str:
    """Return the table of near duplicates: found, by chance, grouped."""
    rows = []
    for patients, twice in ((303, 0), (1000, 0), (10_000, 0), (285, 15), (240, 60), (150, 150), (2000, 500)):
        times = cohorts if patients < 5000 else 2
        found = [near_duplicates.find(cohort(patients, twice, seed).drop(columns=PATIENT)) for seed in range(times)]
        mean, chance = (np.mean([f(one) for one in found]) for f in (lambda x: len(x.pairs), lambda x: x.by_chance))
        certain = sum(one.certain for one in found)
        rows.append(f"| {patients:,} | {twice} | {mean:,.1f} | {chance:,.1f} | {certain} of {times} |")
    head = "| patients | second visits | pairs found, mean | by chance, as estimated | grouped in |"
    return "\n".join([head, "| ---: | ---: | ---: | ---: | ---: |", *rows])


def stratified(records: LabelledDataset, *, folds: int, repeats: int, seed: int) -> Folds:
    """Return the fold plan of Heartline 0.3: stratified by label, numbers drawn anew for each set of records."""
    positive = np.bincount(records.groups, weights=records.labels) > 0
    members = [np.flatnonzero(positive == bool(label)) for label in (0, 1)]
    shares = np.split(np.resize(np.arange(folds, dtype=np.int8), len(positive)), [len(members[0])])
    plan, of_group = np.empty((repeats, len(records)), dtype=np.int8), np.empty(len(positive), dtype=np.int8)
    for repeat in range(repeats):
        random = np.random.default_rng([seed, repeat])
        for group, share in zip(members, shares, strict=True):
            of_group[group] = random.permutation(share)
        plan[repeat] = of_group[records.groups]
    return plan


def folds_of_cleveland(folder: Path) -> str:
    """Return the table of folds before and by hash: sizes, scores of Cleveland, and what one new record moves."""
    raw = data_page.cleveland(folder)
    profile = families.PROFILES["full"]
    fewer, records = (_training(frame) for frame in (raw.iloc[:-1], raw))
    columns: dict[str, list[str]] = {}
    for title, make in (("drawn, stratified (0.3)", stratified), ("by hash", _hashed)):
        plan, before = (make(one, folds=profile.splits, repeats=profile.repeats, seed=0) for one in (records, fewer))
        rows = np.searchsorted(np.sort(records.keys), fewer.keys)
        moved = (plan[:, np.argsort(records.keys)][:, rows] != before).mean()
        sizes = np.array([np.bincount(one, minlength=profile.splits) for one in plan])
        seeds = [make(records, folds=profile.splits, repeats=profile.repeats, seed=seed) for seed in range(SEEDS)]
        made = [_predictions(records, one, profile, seed) for seed, one in enumerate(seeds)]
        columns[title] = [f"{moved:.0%}", f"{sizes.min()} to {sizes.max()}"]
        for score in (scores.roc_auc, scores.brier):
            for family in range(len(FAMILIES)):
                found = [score(one[family].labels, one[family].probabilities) for one in made]
                columns[title].append(f"{np.mean(found):.4f} ± {np.std(found, ddof=1):.4f}")
        differences = [compare(forest, linear, splits=profile.splits, seed=0).auc for linear, forest in made]
        columns[title].append(
            " to ".join(f"{one.value:+.4f}" for one in sorted(differences, key=lambda one: one.value)[:: SEEDS - 1])
        )
        columns[title].append(f"{sum(one.low > 0 or one.high < 0 for one in differences)} of {SEEDS}")
    names = ["records that change fold when one is added", "records in a fold"]
    names += [f"{score}, {title}" for score in ("ROC AUC", "Brier") for title in ("LR", "forest")]
    names += ["Δ AUC of the forest", "intervals of Δ AUC that exclude 0"]
    lines = [f"| {name} | {' | '.join(values)} |" for name, *values in zip(names, *columns.values(), strict=True)]
    head = f"| Cleveland, full profile, mean ± standard deviation over {SEEDS} seeds | {' | '.join(columns)} |"
    return "\n".join([head, "| --- | ---: | ---: |", *lines])


def _hashed(records: LabelledDataset, *, folds: int, repeats: int, seed: int) -> Folds:
    return splits.plan_folds(records, splits=folds, repeats=repeats, seed=seed)


def _training(frame: pd.DataFrame) -> LabelledDataset:
    return splits.to_labelled(splits.train_test_split(record_identity.canonical(frame))[0])


def replaced(text: str, name: str, table: str) -> str:
    """Return a page with another table between the markers of this name."""
    begin, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
    before, _, rest = text.partition(begin)
    return f"{before}{begin}{table}\n{end}{rest.partition(end)[2]}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the simulations of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cohorts", type=int, default=COHORTS, help="synthetic cohorts of each design")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--page", type=Path, help="a page whose tables are replaced")
    given = parser.parse_args(arguments)
    tables: dict[str, Any] = {"near duplicates": pairs(given.cohorts)}
    if folder := os.environ.get("HEARTLINE_REAL_DATA"):
        tables["folds"] = folds_of_cleveland(Path(folder).resolve())
    tables["second visits"] = visits(given.cohorts, given.jobs)
    for name, table in tables.items():
        print(f"{table}\n")
        if given.page:
            given.page.write_text(replaced(given.page.read_text(), name, table))


if __name__ == "__main__":
    main()
