"""What the search of hyperparameters costs and gains: each fixed choice against the tuned family, on Cleveland.

    HEARTLINE_REAL_DATA=… PYTHONPATH=include python -m tests.benchmarks.search_spaces --page docs/evaluation.md

Takes about one and a half minutes of CPU. Profile ``full``, the folds of the run.
"""

import argparse
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from textwrap import fill
from unittest import mock

import numpy as np
from threadpoolctl import threadpool_limits

from heartline import scores
from heartline.evaluation import cross_validation
from heartline.storage import record_identity, splits
from heartline.storage.splits import LabelledDataset
from heartline.training import families
from tests import data_page
from tests.benchmarks.patients import replaced

LBFGS = {"C": 1.0, "solver": "lbfgs", "tol": 1e-4, "max_iter": 1000}
"""The logistic regression of Heartline 0.3, with scikit-learn's defaults."""


def evaluated(family: families.Family, records: LabelledDataset) -> cross_validation.CrossValidation:
    """Return the family's cross-validation on the records, with the folds of the profile ``full``."""
    profile = families.PROFILES["full"]
    plan = splits.plan_folds(records, splits=profile.splits, repeats=profile.repeats, seed=0)
    with mock.patch.dict(families.FAMILIES, {family.name: family}):  # type: ignore[arg-type]
        return cross_validation.cross_validate(family.name, records, plan, profile=profile, seed=0)


def table(training: LabelledDataset, everything: LabelledDataset) -> str:
    """Return the table of the page: each hyperparameter set by itself, and the family that chooses in each fold."""
    lines = ["| family | recipe | ROC AUC, mean over folds | Brier, averaged |", "| --- | --- | ---: | ---: |"]
    notes = []
    for family in families.FAMILIES.values():
        recipes = {"tuned in each fold": family}
        for fixed in family.grid:
            ((name, value),) = fixed.items()
            recipes[f"`{name}` = {value:g} throughout"] = replace(family, grid=(fixed,))
        if family.name == families.LOGISTIC_REGRESSION:
            recipes["tuned, `lbfgs` with `tol` 1e-4"] = replace(
                family, parameters=lambda profile, rows=0: dict(LBFGS), fast_equivalent=None
            )
        found = {title: evaluated(recipe, training) for title, recipe in recipes.items()}
        for number, (title, cv) in enumerate(found.items()):
            brier = scores.brier(training.labels, cv.averaged)
            first = family.title.lower() if number == 0 else ""
            lines.append(f"| {first} | {title} | {np.nanmean(cv.fold_aucs):.4f} | {brier:.4f} |")
        tuned = found["tuned in each fold"]
        counts = Counter(", ".join(f"`{name}` = {value:g}" for name, value in one.items()) for one in tuned.chosen)
        whole = float(np.nanmean(evaluated(family, everything).fold_aucs))
        notes.append(
            f"{family.title}: the folds chose {', '.join(f'{one} ({count})' for one, count in counts.most_common())}. "
            f"On all {len(everything)} records the mean over folds is {whole:.3f}."
        )
    return "\n\n".join(["\n".join(lines), *notes])


def _filled(text: str) -> str:
    return "\n\n".join(one if one.startswith("|") else fill(one, 118) for one in text.split("\n\n"))


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table, and replace that of a page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--page", type=Path, help="the page whose table is replaced")
    given = parser.parse_args(arguments)
    raw = record_identity.canonical(data_page.cleveland(Path(os.environ["HEARTLINE_REAL_DATA"]).resolve()))
    with threadpool_limits(1):
        made = table(splits.to_labelled(splits.train_test_split(raw)[0]), splits.to_labelled(raw))
    print(made)
    if given.page:
        given.page.write_text(replaced(given.page.read_text(), "search spaces", _filled(made)))


if __name__ == "__main__":
    main()
