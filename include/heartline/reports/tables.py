"""What the comparison page and the model card say alike: scores, subgroups and facts, in words for their templates."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from heartline import contract
from heartline.comparison import wording
from heartline.comparison.compare import OutOfFoldPredictions
from heartline.comparison.verdict import BETTER, VETOED, Verdict
from heartline.evaluation import metrics, subgroups
from heartline.evaluation.cross_validation import Evaluation
from heartline.evaluation.metrics import Estimate

# What ``about`` must hold, and what it may hold beside, in the order and words of the page.
REQUIRED = ("run", "source", "origin", "snapshot", "folds", "contract", "profile")
TITLES = {
    "run": "Run",
    "source": "Source",
    "origin": "Origin",
    "encoding": "Codes read as",
    "rows": "Rows in the source",
    "used": "Records used",
    "duplicates": "Rows that repeated a record",
    "quarantined": "Rows in quarantine",
    "training": "Records trained on",
    "holdout": "Records held out",
    "snapshot": "Snapshot (sha256)",
    "folds": "Folds (sha256)",
    "contract": "Data contract",
    "profile": "Profile",
    "seed": "Seed",
}
MEANINGS = {
    "roc_auc": "pairs of a sick and a healthy patient that are in the right order",
    "pr_auc": "precision, averaged over all thresholds",
    "accuracy": "right answers",
    "balanced_accuracy": "mean of recall and specificity",
    "precision": "of those called sick, the share who are",
    "recall": "of the sick, the share who are found",
    "specificity": "of the healthy, the share called healthy",
    "f1": "harmonic mean of precision and recall",
    "log_loss": "0 is best; sure and wrong costs most",
    "brier": "0 is best: mean squared error of the probability",
    "rmse": "0 is best: root of the Brier score",
    "calibration_slope": "1 is best; below it the model is too sure",
    "calibration_intercept": "0 is best; above it risks are higher than predicted",
}


def warnings(about: Mapping[str, str]) -> list[str]:
    """Return what a reader must know before any number.

    Raises:
        ValueError: ``about`` is not complete.
    """
    if missing := [name for name in REQUIRED if name not in about]:
        raise ValueError(f"about does not say: {', '.join(missing)}")
    found = []
    if about["origin"] == "sample":
        found.append(
            "Synthetic sample: these patients do not exist. The numbers show that everything works, and nothing about "
            "real patients."
        )
    if about["profile"] == "quick":
        found.append(
            "Quick profile: fewer folds, repeats and trees than the full one. Its numbers are for trying things out, "
            "not for deciding."
        )
    return found


def facts(about: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return what ``about`` says, in the words and the order of ``TITLES``, then the rest."""
    names = [*(name for name in TITLES if name in about), *(name for name in about if name not in TITLES)]
    return [(TITLES.get(name, _words(name)), about[name]) for name in names]


def tone(verdict: Verdict) -> str:
    """Return the colour of a verdict, as the stylesheet names it."""
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
                {"kind": group.kind, "name": group.name, "n": group.n, "sick": group.positives, "models": []},
            )
            row["models"].append((position, [cell(group.estimates.get(score)) for score in subgroups.TITLES]))
    return list(found.values())


def cell(estimate: Estimate | None) -> dict[str, str]:
    """Return an estimate in words: value and interval, or a note on why there is none."""
    if estimate is None or estimate.value is None or not math.isfinite(estimate.value):
        return {"value": "", "interval": "", "note": (estimate.note if estimate else "") or "not determined"}
    interval = ""
    if estimate.low is not None and estimate.high is not None:
        interval = f"{estimate.low:.3f} to {estimate.high:.3f}"
    return {"value": f"{estimate.value:.3f}", "interval": interval, "note": ""}


def confusion(predictions: OutOfFoldPredictions) -> list[dict[str, Any]]:
    """Return the confusion matrix by row, the healthy first: counts, and shares of the row from 0 to 1."""
    called = (predictions.probabilities >= contract.THRESHOLD).astype(int)
    counts = np.bincount(2 * predictions.labels + called, minlength=4).reshape(2, 2)
    return [
        {
            "title": title,
            "cells": [
                {"count": f"{count:,}", "share": count / max(1, row.sum()), "right": column == position}
                for column, count in enumerate(row)
            ],
        }
        for position, (title, row) in enumerate(zip(("No disease", "Disease"), counts, strict=True))
    ]


def _words(name: str) -> str:
    words = wording.plain(name)
    return words[:1].upper() + words[1:]
