"""Tables that the comparison page and the model cards share: scores, subgroups and facts, for their templates."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from heartline import contract, origins
from heartline.comparison import wording
from heartline.comparison.compare import OutOfFoldPredictions
from heartline.comparison.verdict import Verdict
from heartline.comparison.verdict_names import BETTER, VETOED
from heartline.evaluation import metrics, subgroups
from heartline.evaluation.cross_validation import Evaluation
from heartline.evaluation.metrics import Estimate

# the required facts in ``about``, and the titles of all known facts in the order of the page
REQUIRED = ("run", "source", "origin", "snapshot", "folds", "contract", "profile")
PATIENTS = "patients"  # in ``about``: what is uncertain about the records of one patient, a warning and no fact
TITLES = {
    "run": "Run",
    "source": "Source",
    "origin": "Origin",
    "encoding": "Codes read as",
    "mapping": "Mapping",
    "rows": "Rows in the source",
    "used": "Records used",
    "duplicates": "Duplicate rows",
    "quarantined": "Rows in quarantine",
    "snapshot": "Snapshot (sha256)",
    "folds": "Folds (sha256)",
    "contract": "Data contract",
    "profile": "Profile",
    "seed": "Seed",
}
MEANINGS = {
    "roc_auc": "pairs of a patient with and one without disease in the right order",
    "pr_auc": "precision, averaged over all thresholds",
    "accuracy": "share of correct predictions",
    "balanced_accuracy": "mean of recall and specificity",
    "precision": "of the predicted positives, the share with disease",
    "recall": "of those with disease, the share predicted positive",
    "specificity": "of those without disease, the share predicted negative",
    "f1": "harmonic mean of precision and recall",
    "log_loss": "0 is best; confident errors cost most",
    "brier": "0 is best: mean squared error of the probability",
    "rmse": "0 is best: root of the Brier score",
    "calibration_slope": "1 is best; below 1 the model is overconfident",
    "calibration_in_the_large": "0 is best: observed minus predicted share; above 0, risks are higher than predicted",
}


def warnings(about: Mapping[str, str]) -> list[str]:
    """Return warnings to show before any number.

    Raises:
        ValueError: ``about`` is not complete.
    """
    if missing := [name for name in REQUIRED if name not in about]:
        raise ValueError(f"about does not say: {', '.join(missing)}")
    found = []
    if about["origin"] == origins.SAMPLE:
        found.append(
            "Synthetic sample: these patients do not exist. The numbers show that the pipeline works; they say nothing "
            "about real patients."
        )
    if about["profile"] == "quick":
        found.append(
            "Quick profile: fewer folds, repeats and trees than the full profile. Its numbers are for experiments, not "
            "for decisions."
        )
    if about.get(PATIENTS):
        found.append(about[PATIENTS])
    return found


def facts(about: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return the facts in ``about`` with their titles, in the order of ``TITLES``, then the rest."""
    names = [*(name for name in TITLES if name in about), *(name for name in about if name not in (*TITLES, PATIENTS))]
    return [(TITLES.get(name, _words(name)), about[name]) for name in names]


def tone(verdict: Verdict) -> str:
    """Return the CSS class of a verdict."""
    if verdict.winner is None:
        return "bad"
    return {BETTER: "", VETOED: "fair"}.get(verdict.verdict, "same")


def score_rows(columns: Sequence[Mapping[str, Estimate]]) -> list[dict[str, Any]]:
    """Return a row for each score that one of the columns has, with a cell for each column."""
    return [
        {"title": title, "meaning": MEANINGS.get(name, ""), "cells": [cell(one.get(name)) for one in columns]}
        for name, title in metrics.TITLES.items()
        if any(name in one for one in columns)
    ]


def subgroup_rows(evaluations: Sequence[Evaluation]) -> list[dict[str, Any]]:
    """Return the subgroups in order, each with one list of cells for each evaluation that has it."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for position, one in enumerate(evaluations):
        for group in one.subgroups:
            row = found.setdefault(
                (group.kind, group.name),
                {"kind": group.kind, "name": group.name, "n": group.n, "positives": group.positives, "models": []},
            )
            row["models"].append((position, [cell(group.estimates.get(score)) for score in subgroups.TITLES]))
    return list(found.values())


def cell(estimate: Estimate | None) -> dict[str, str]:
    """Return an estimate as text: value and interval, or a note on why there is none."""
    if estimate is None or estimate.value is None or not math.isfinite(estimate.value):
        return {"value": "", "interval": "", "note": (estimate.note if estimate else "") or "not determined"}
    interval = ""
    if estimate.low is not None and estimate.high is not None:
        interval = f"{estimate.low:.3f} to {estimate.high:.3f}"
    return {"value": f"{estimate.value:.3f}", "interval": interval, "note": ""}


def confusion(predictions: OutOfFoldPredictions) -> list[dict[str, Any]]:
    """Return the confusion matrix by row, negatives first: counts, and shares of the row from 0 to 1."""
    predicted = (predictions.probabilities >= contract.THRESHOLD).astype(int)
    counts = np.bincount(2 * predictions.labels + predicted, minlength=4).reshape(2, 2)
    return [
        {
            "title": title,
            "cells": [
                {"count": f"{count:,}", "share": count / max(1, row.sum()), "right": column == position}
                for column, count in enumerate(row)
            ],
        }
        for position, (title, row) in enumerate(zip(("Without disease", "With disease"), counts, strict=True))
    ]


def _words(name: str) -> str:
    words = wording.plain(name)
    return words[:1].upper() + words[1:]
