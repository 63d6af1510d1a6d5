"""The sample cohort: any number of synthetic records with the statistics of UCI Cleveland.

The generator reads `cohort_facts.json`, which holds statistics of the two classes and no patient's row. In each class
the columns have the margins of these statistics, and a Gaussian copula (`copula.py`) gives them the listed
correlations. Columns without a listed correlation are conditionally independent given the others.
docs/sample-cohort.md compares the result with the real file.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from heartline import contract
from heartline.arrays import Floats
from heartline.errors import SourceError
from heartline.ingestion import source_catalog
from heartline.ingestion.sample.copula import Margin, complete, match_correlation, match_cramers_v

DEFAULT_ROWS = 303  # the size of the Cleveland file
DEFAULT_SEED = 3  # of the first hundred, one whose 303 rows give scores like Cleveland's
MIN_ROWS = source_catalog.SAMPLE_MIN_ROWS
MAX_ROWS = source_catalog.SAMPLE_MAX_ROWS

_BLOCK = 100_000  # rows drawn at a time: limits the memory in addition to the frame
_NORMAL = NormalDist()
_QUANTILES = {"q05": 0.05, "q25": 0.25, "q50": 0.5, "q75": 0.75, "q95": 0.95}


@dataclass(frozen=True, eq=False)
class Population:
    """One class of the cohort.

    Attributes:
        margins: one for each feature, in the contract's order.
        factor: shape [features, features], lower triangular; times independent normals it gives the latent variables.
        missing: the share of missing values by feature.
    """

    margins: tuple[Margin, ...]
    factor: Floats
    missing: Mapping[str, float]


@lru_cache(maxsize=1)
def facts() -> dict[str, Any]:
    """Return the statistics of the real cohort that the sample is generated from, and the scores to reach."""
    content: dict[str, Any] = json.loads(Path(__file__).with_name("cohort_facts.json").read_text(encoding="utf-8"))
    return content


def generate(n: int = DEFAULT_ROWS, seed: int = DEFAULT_SEED) -> pd.DataFrame:
    """Return a synthetic cohort; the same n and seed give the same records on every machine.

    Args:
        n: number of rows, from MIN_ROWS to MAX_ROWS.
        seed: an integer, at least 0.

    Returns:
        Shape [n, 14]: the contract's columns as float64, missing values as NaN, rows numbered from 1.

    Raises:
        SourceError: n is out of range.
    """
    if not MIN_ROWS <= n <= MAX_ROWS:
        raise SourceError(
            f"a sample cannot have {n} rows",
            where=f"source sample:{n}",
            expected=f"a number of rows from {MIN_ROWS} to {MAX_ROWS}",
            hint="choose another number",
        )
    rng = np.random.Generator(np.random.PCG64(seed))
    label = _labels(n, rng)
    values = np.empty((len(contract.COLUMNS), n))
    values[-1] = label
    for disease, population in enumerate(_populations()):
        members = np.flatnonzero((label > 0) == disease)
        for start in range(0, len(members), _BLOCK):
            rows = members[start : start + _BLOCK]
            _fill(values, rows, population, rng)
        for name, share in population.missing.items():
            blank = rng.choice(members, round(share * len(members)), replace=False)
            values[contract.FEATURE_NAMES.index(name), blank] = np.nan
    index = pd.RangeIndex(1, n + 1, name="row")
    return pd.DataFrame(values.T, columns=list(contract.COLUMN_NAMES), index=index, copy=False)


def _labels(n: int, rng: np.random.Generator) -> NDArray[np.int8]:
    """Return, shape [n], labels in random order, with the real shares as closely as n allows."""
    counts = facts()["num_counts"]
    exact = np.array(list(counts.values())) * n / sum(counts.values())
    quota = np.floor(exact).astype(int)
    short = n - quota.sum()
    quota[np.argsort(quota - exact, kind="stable")[:short]] += 1
    return rng.permutation(np.repeat(np.array([int(code) for code in counts], dtype=np.int8), quota))


def _fill(values: Floats, rows: NDArray[np.intp], population: Population, rng: np.random.Generator) -> None:
    normals = rng.standard_normal((len(population.margins), len(rows)))
    for column, margin in enumerate(population.margins):
        # Summed term by term: the order of additions in a matrix product depends on the machine.
        latent = np.zeros(len(rows))
        for term in range(column + 1):
            latent += population.factor[column, term] * normals[term]
        values[column, rows] = margin.at(latent)


@lru_cache(maxsize=1)
def _populations() -> tuple[Population, Population]:
    """Return the class without disease and the class with it."""
    margins = [{column.name: _margin(column, disease) for column in contract.FEATURES} for disease in ("0", "1")]
    sizes = _class_sizes()
    shared = _links_in_both_classes(margins[0], margins[1])
    populations = []
    for disease, columns in zip(("0", "1"), margins, strict=True):
        matrix = complete(contract.FEATURE_NAMES, {**shared, **_links(columns, disease)})
        # Rounded, so that rounding differences between linear algebra libraries cannot move a value across a cut.
        factor = np.round(np.linalg.cholesky(matrix), 6)
        missing = {name: counts[disease] / sizes[disease] for name, counts in facts()["missing_by_disease"].items()}
        populations.append(Population(tuple(columns.values()), factor, missing))
    return populations[0], populations[1]


def _class_sizes() -> dict[str, int]:
    counts = facts()["num_counts"]
    return {"0": counts["0"], "1": sum(counts.values()) - counts["0"]}


def _margin(column: contract.Column, disease: str) -> Margin:
    if column.name in facts()["categorical"]:
        shares = facts()["categorical"][column.name][disease]
        return _normalised(np.array([float(code) for code in shares]), np.array(list(shares.values())))
    if column.name in facts()["numeric"]:
        return _measured(facts()["numeric"][column.name], disease)
    # A column of the contract without statistics: uniform over its legal values, independent of the others.
    values = np.array([*column.codes] or np.linspace(column.minimum, column.maximum, 101), dtype=float)
    values = np.unique(np.round(values, column.decimals))
    return _normalised(values, np.ones(len(values)))


def _measured(column: Mapping[str, Any], disease: str) -> Margin:
    """Return the margin of a measurement: linear in the latent variable between the known quantiles.

    Beyond the outer quantiles the tails are normal, and end at the smallest and largest observed value.
    """
    known = column[disease]
    edge = 0.5 / _class_sizes()[disease]
    zero = column.get("share_zero", {}).get(disease, 0.0)
    points = [(edge, known["min"]), *((share, known[name]) for name, share in _QUANTILES.items())]
    points.append((1 - edge, known["max"]))
    per_unit = round(1 / column.get("step", 1))
    if zero:
        points = [(zero, 0.5 / per_unit), *(point for point in points if point[0] > zero and point[1] > 0)]
    ticks = np.arange(round(points[0][1] * per_unit + 0.01), round(known["max"] * per_unit) + 1)
    heights = [_NORMAL.inv_cdf(share) for share, _ in points]
    borders = np.interp(np.append(ticks - 0.5, ticks[-1] + 0.5) / per_unit, [value for _, value in points], heights)
    shares = np.diff([_NORMAL.cdf(border) for border in borders])
    shares *= _digit_preference(ticks, shares, column)
    if zero:
        ticks, shares = np.append(0, ticks), np.append(zero, shares * (1 - zero) / shares.sum())
    return _normalised(ticks / per_unit, shares)


def _digit_preference(ticks: NDArray[np.int64], shares: Floats, column: Mapping[str, Any]) -> Floats:
    """Return, shape [ticks], the factor by which digit preference changes the frequency of each value."""
    factors = np.ones(len(ticks))
    if "multiple_of_10" not in column:
        return factors
    tens, even = ticks % 10 == 0, ticks % 2 == 0
    groups = [(tens, column["multiple_of_10"])]
    if "even" in column:
        groups += [(even & ~tens, column["even"] - column["multiple_of_10"]), (~even, 1 - column["even"])]
    else:
        groups += [(~tens, 1 - column["multiple_of_10"])]
    for members, share in groups:
        factors[members] = share / shares[members].sum()
    return factors


def _normalised(values: Floats, shares: Floats) -> Margin:
    return Margin(values, shares / shares.sum())


def _links(columns: Mapping[str, Margin], disease: str) -> dict[tuple[str, str], float]:
    """Return the latent correlations of one class, by pairs of columns."""
    found = {}
    for pair, rho in facts()["spearman_by_disease"][disease].items():
        a, b = pair.split("~")
        found[a, b] = match_correlation(columns[a], columns[a].ranks(), columns[b], columns[b].ranks(), rho)
    shares = {name: by_class[disease] for name, by_class in facts()["links_by_disease"].items()}
    found["cp", "exang"] = _match_shares(
        columns["cp"], 4, columns["exang"], 1, shares["p(exang=1|cp=4)"], shares["p(exang=1|cp!=4)"]
    )
    found["sex", "thal"] = _match_shares(
        columns["sex"], 1, columns["thal"], 7, shares["p(thal=7|male)"], shares["p(thal=7|female)"]
    )
    for name in ("oldpeak", "thalach"):
        found[name, "slope"] = _match_means(columns[name], columns["slope"], shares[f"mean_{name}_by_slope"])
    return found


def _match_shares(a: Margin, if_a: float, b: Margin, is_b: float, share_if: float, share_else: float) -> float:
    """Return the latent correlation with which b is ``is_b`` in ``share_if`` of the rows where a is ``if_a``."""
    in_a, in_b = (a.values == if_a).astype(float), (b.values == is_b).astype(float)
    of_a = float(a.shares @ in_a)
    of_b = of_a * share_if + (1 - of_a) * share_else
    covariance = of_a * (share_if - of_b)
    return match_correlation(a, in_a, b, in_b, covariance / np.sqrt(of_a * (1 - of_a) * of_b * (1 - of_b)))


def _match_means(a: Margin, b: Margin, means: Mapping[str, float]) -> float:
    """Return the latent correlation with which a's mean differs as given between b's first value and the rest."""
    first = b.shares[0]
    others = sum(share * mean for share, mean in zip(b.shares[1:], list(means.values())[1:], strict=True)) / (1 - first)
    gap = others - next(iter(means.values()))
    deviation = np.sqrt(a.shares @ a.values**2 - (a.shares @ a.values) ** 2)
    above = (b.values != b.values[0]).astype(float)
    return match_correlation(a, a.values, b, above, gap * np.sqrt(first * (1 - first)) / deviation)


def _links_in_both_classes(
    negative: Mapping[str, Margin], positive: Mapping[str, Margin]
) -> dict[tuple[str, str], float]:
    """Return the latent correlations of the pairs of categories whose link is known over both classes only."""
    sizes = _class_sizes()
    n = sum(sizes.values())
    found = {}
    for pair, target in facts()["cramers_v_overall"].items():
        a, b = pair.split("~")
        groups = [(sizes["0"] / n, negative[a], negative[b]), (sizes["1"] / n, positive[a], positive[b])]
        found[a, b] = match_cramers_v(groups, target)
    return found
