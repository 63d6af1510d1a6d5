"""Compares the sample cohort with the real one; prints the tables of docs/sample-cohort.md.

python tests/benchmarks/sample_page.py PATH-TO/processed.cleveland.data
"""

import argparse
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.model_selection import RepeatedStratifiedKFold, cross_validate

from heartline import contract
from heartline.ingestion import sources
from heartline.ingestion.access import files
from heartline.ingestion.sample import synthetic
from heartline.training.families import family

CLASSES = {"0": "no disease", "1": "disease"}
METRICS = {"auc": "roc_auc", "acc": "accuracy", "f1": "f1", "brier": "neg_brier_score"}

_QUANTILES = {"min": 0.0, "q05": 0.05, "q25": 0.25, "q50": 0.5, "q75": 0.75, "q95": 0.95, "max": 1.0}
_LARGE = 100_000
_SEEDS = range(20)


def describe(frame: pd.DataFrame) -> dict[str, Any]:
    """Return the statistics of records, nested and named as in ``cohort_facts.json``.

    Args:
        frame: shape [n, 14], the contract's columns, with both classes.
    """
    groups = {code: frame[(frame[contract.LABEL.name] > 0) == (code == "1")] for code in CLASSES}
    known = synthetic.facts()
    numeric: dict[str, dict[str, Any]] = {}
    for name, content in known["numeric"].items():
        numeric[name] = {code: _moments(group[name]) for code, group in groups.items()}
        if "multiple_of_10" in content:
            numeric[name]["multiple_of_10"] = float((frame[name] % 10 == 0).mean())
        if "even" in content:
            numeric[name]["even"] = float((frame[name] % 2 == 0).mean())
        if "share_zero" in content:
            numeric[name]["share_zero"] = {code: float((group[name] == 0).mean()) for code, group in groups.items()}
    return {
        "num_counts": {code: int((frame[contract.LABEL.name] == int(code)).sum()) for code in known["num_counts"]},
        "missing_by_disease": {
            name: {code: int(group[name].isna().sum()) for code, group in groups.items()}
            for name in known["missing_by_disease"]
        },
        "numeric": numeric,
        "categorical": {
            name: {
                code: {value: float((group[name].dropna() == int(value)).mean()) for value in shares[code]}
                for code, group in groups.items()
            }
            for name, shares in known["categorical"].items()
        },
        "spearman_by_disease": {
            code: {pair: _spearman(group, pair) for pair in known["spearman_by_disease"][code]}
            for code, group in groups.items()
        },
        "links_by_disease": _links(groups),
        "cramers_v_overall": {pair: _cramers_v(frame, pair) for pair in known["cramers_v_overall"]},
    }


def flatten(nested: Mapping[str, Any], *path: str) -> Iterator[tuple[tuple[str, ...], float]]:
    """Yield each number of a nested mapping with its path of keys."""
    for key, value in nested.items():
        if isinstance(value, Mapping):
            yield from flatten(value, *path, key)
        elif isinstance(value, int | float):
            yield (*path, key), float(value)


def scores(frame: pd.DataFrame, *, repeats: int = 1, trees: int = 0, folds: int = 10) -> dict[str, dict[str, float]]:
    """Return the mean scores over stratified cross-validation folds of Heartline's own recipes.

    Args:
        frame: shape [n, 14], the contract's columns.
        repeats: the number of repeats of the cross-validation, each with other folds.
        trees: the number of trees of the random forest; 0 for no forest.
        folds: folds in each repeat.

    Returns:
        By recipe, as named in ``cohort_facts.json``: ``auc`` (ROC), ``acc``, ``f1``, ``brier``.
    """
    labels = (frame[contract.LABEL.name] > 0).to_numpy("int64")
    features = frame[list(contract.FEATURE_NAMES)]
    logistic = family("logistic_regression").build({"C": 1.0, "max_iter": 1000}, 0)
    # a constant column has no effect
    blinded = features.assign(ca=0.0, thal=3.0)
    recipes = {"LR_C1": (logistic, features), "LR_without_ca_thal": (logistic, blinded)}
    if trees:
        recipes["RF300"] = (family("random_forest").build({"n_estimators": trees}, 0), features)
    plan = RepeatedStratifiedKFold(n_splits=folds, n_repeats=repeats, random_state=0)
    found = {}
    for name, (recipe, inputs) in recipes.items():
        by_fold = cross_validate(recipe, inputs.to_numpy("float64"), labels, cv=plan, scoring=METRICS)
        found[name] = {metric: float(abs(by_fold[f"test_{metric}"].mean())) for metric in METRICS}
    return found


def statistics_tables(real: pd.DataFrame) -> str:
    """Return Markdown tables, by class and overall, of the real cohort, the default sample and a large sample."""
    cohorts = [real, synthetic.generate(), synthetic.generate(_LARGE)]
    names = ["Cleveland", f"sample of {synthetic.DEFAULT_ROWS}", f"sample of {_LARGE:,}"]
    columns = [dict(flatten(describe(cohort))) for cohort in cohorts]
    by_class = [f"{name}, {title}" for title in CLASSES.values() for name in names]
    within, overall = [_table_head("statistic", by_class)], [_table_head("statistic", names)]
    for path in columns[0]:
        place = _place_of_class(path)
        if place is None:
            overall.append(_table_row(_title(path), [column[path] for column in columns]))
        elif path[place] == "0":
            title = _title((*path[:place], *path[place + 1 :]))
            paths = [(*path[:place], code, *path[place + 1 :]) for code in CLASSES]
            within.append(_table_row(title, [column[path] for path in paths for column in columns]))
    return "\n".join([*within, "", *overall])


def scores_table(real: pd.DataFrame) -> str:
    """Return a Markdown table of scores: the real cohort, the default sample, and the spread over seeds."""
    pair = [scores(frame, repeats=10, trees=300) for frame in (real, synthetic.generate())]
    spread = [scores(synthetic.generate(seed=seed), trees=300) for seed in _SEEDS]
    lines = [
        _table_head("score", ["Cleveland", f"sample of {synthetic.DEFAULT_ROWS}", f"mean of {len(_SEEDS)} seeds", "sd"])
    ]
    for recipe in pair[0]:
        for metric in METRICS:
            values = np.array([result[recipe][metric] for result in spread])
            cells = [*(result[recipe][metric] for result in pair), values.mean(), values.std()]
            lines.append(_table_row(f"{recipe} {metric}", cells))
    return "\n".join(lines)


def draw(real: pd.DataFrame, path: Path) -> None:
    """Draw Spearman's correlations of the features in each class, the real cohort beside the default sample."""
    from matplotlib.figure import Figure  # only this function needs matplotlib

    names = list(contract.FEATURE_NAMES)
    figure = Figure(figsize=(9, 8.4), layout="constrained")
    axes = figure.subplots(2, 2)
    for row, (code, title) in zip(axes, CLASSES.items(), strict=True):
        for axis, (cohort, frame) in zip(row, {"Cleveland": real, "sample": synthetic.generate()}.items(), strict=True):
            group = frame[(frame[contract.LABEL.name] > 0) == (code == "1")]
            image = axis.imshow(group[names].corr(method="spearman"), cmap="RdBu_r", vmin=-0.8, vmax=0.8)
            axis.set_title(f"{cohort}, {title}")
            axis.set_xticks(range(len(names)), names, rotation=90, fontsize=8)
            axis.set_yticks(range(len(names)), names, fontsize=8)
    figure.colorbar(image, ax=axes, shrink=0.6, label="Spearman's correlation")
    figure.savefig(path, dpi=80)


def main() -> None:
    """Print the tables, and draw the figure if it is requested."""
    parser = argparse.ArgumentParser(prog="python tests/benchmarks/sample_page.py", description=__doc__)
    parser.add_argument("file", type=Path, help="processed.cleveland.data of the UCI archive")
    parser.add_argument("--figure", type=Path, help="write a figure of the correlations to this PNG file")
    arguments = parser.parse_args()
    real = sources.read(str(arguments.file.resolve()), settings=sources.Settings(folders=files.ANYWHERE)).table.frame
    if arguments.figure:
        draw(real, arguments.figure)
    print(scores_table(real), statistics_tables(real), sep="\n\n")


def _moments(values: pd.Series) -> dict[str, Any]:
    quantiles = {name: float(values.quantile(share)) for name, share in _QUANTILES.items()}
    return {"mean": float(values.mean()), "sd": float(values.std()), **quantiles}


def _spearman(group: pd.DataFrame, pair: str) -> float:
    a, b = pair.split("~")
    return float(group[a].corr(group[b], method="spearman"))


def _links(groups: Mapping[str, pd.DataFrame]) -> dict[str, dict[str, Any]]:
    links: dict[str, dict[str, Any]] = {name: {} for name in synthetic.facts()["links_by_disease"]}
    for code, group in groups.items():
        asymptomatic, male = group["cp"] == 4, group["sex"] == 1
        links["p(exang=1|cp=4)"][code] = float(group.loc[asymptomatic, "exang"].mean())
        links["p(exang=1|cp!=4)"][code] = float(group.loc[~asymptomatic, "exang"].mean())
        links["p(thal=7|male)"][code] = float((group.loc[male, "thal"] == 7).mean())
        links["p(thal=7|female)"][code] = float((group.loc[~male, "thal"] == 7).mean())
        for name in ("oldpeak", "thalach"):
            wanted = synthetic.facts()["links_by_disease"][f"mean_{name}_by_slope"][code]
            links[f"mean_{name}_by_slope"][code] = {
                slope: float(group.loc[group["slope"] == int(slope), name].mean()) for slope in wanted
            }
    return links


def _cramers_v(frame: pd.DataFrame, pair: str) -> float:
    a, b = pair.split("~")
    table = pd.crosstab(frame[a], frame[b]).to_numpy("float64")
    expected = np.outer(table.sum(axis=1), table.sum(axis=0)) / table.sum()
    chi_square = ((table - expected) ** 2 / expected).sum()
    return float(np.sqrt(chi_square / table.sum() / (min(table.shape) - 1)))


def _place_of_class(path: tuple[str, ...]) -> int | None:
    """Return the position of the key that is a class, or None."""
    if path[0] == "num_counts":
        return None
    return next((place for place, key in enumerate(path) if key in CLASSES), None)


def _title(path: tuple[str, ...]) -> str:
    return " ".join(path).replace("_by_disease", "").replace("_", " ").replace("|", " given ")


def _table_head(first: str, others: list[str]) -> str:
    return f"| {first} | {' | '.join(others)} |\n| --- |{' ---: |' * len(others)}"


def _table_row(title: str, numbers: list[float]) -> str:
    cells = (f"{number:.0f}" if number >= 1 and number == round(number) else f"{number:.3f}" for number in numbers)
    return f"| {title} | {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
