"""Synthetic models for the tests of the comparison page and the model card."""

import numpy as np

from heartline.comparison import compare
from heartline.comparison.candidates import Candidate
from heartline.comparison.compare import OutOfFoldPredictions
from heartline.comparison.verdict import Performance, decide
from heartline.evaluation import metrics
from heartline.evaluation.cross_validation import Evaluation
from heartline.evaluation.metrics import Estimate
from heartline.evaluation.subgroups import Subgroup

ROWS = 240
ABOUT = {
    "run": "manual__1",
    "source": "cleveland.csv",
    "origin": "uci",
    "snapshot": "5a" * 32,
    "folds": "f0" * 32,
    "contract": "1.1.0",
    "profile": "full",
}


def candidate(name="lr", title="Logistic regression", *, gain=0.0, rows=ROWS, **changed) -> Candidate:
    """A model whose scores are normal in each class; those of all candidates are of the same patients."""
    labels = (np.arange(rows) < 0.46 * rows).astype(np.int64)
    common = np.random.default_rng(0).normal(size=rows)
    own = np.random.default_rng(round(100 * gain) + 1000).normal(size=rows)
    probabilities = 1 / (1 + np.exp(1 - (0.9 * common + 0.4 * own + (1.9 + gain) * labels)))
    groups = np.arange(rows)
    found = metrics.evaluate(labels, probabilities, groups, seed=0, draws=40)
    shown = ("roc_auc", "recall", "specificity")
    few = Estimate(None, None, None, 12, "12 records of at least 20")
    large = Estimate(0.02, -0.05, 0.09, 160)
    small = dict.fromkeys([*shown, "calibration_in_the_large"], few)
    return Candidate(
        name,
        title,
        OutOfFoldPredictions(name, probabilities, labels, groups, 0.9 + gain / 20 + own[:10] / 50, {"snapshot": "5a"}),
        Evaluation(
            **{
                "out_of_fold": found,
                "holdout": {name: Estimate(one.value, one.low, one.high, 60) for name, one in found.items()},
                "subgroups": (
                    Subgroup("sex", "male", 160, 90, {**{one: found[one] for one in shown}, list(small)[3]: large}, ()),
                    Subgroup("sex", "female", 12, 3, small, ("female: no ROC AUC, 12 records of at least 20",)),
                ),
                "fold_auc_mean": 0.912,
                "fold_auc_sd": 0.031,
                "chosen": {"C=0.1": 8, "C=1.0": 2},
                "unconverged": 0,
                **changed,
            }
        ),
    )


def judged(*candidates):
    """The verdict over candidates, of which the first is the incumbent, and the comparisons."""
    incumbent, *challengers = candidates
    comparisons = [
        compare.compare(one.predictions, incumbent.predictions, splits=10, seed=0, draws=200) for one in challengers
    ]
    verdict = decide(
        incumbent.name,
        comparisons,
        performances={one.name: Performance(0.9, 1.0) for one in candidates},
        simplicity={one.name: rank for rank, one in enumerate(candidates)},
    )
    return verdict, comparisons
