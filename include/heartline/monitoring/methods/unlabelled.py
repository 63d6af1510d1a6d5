"""The Brier score and ROC AUC that are expected before outcomes arrive: confidence-based estimation.

Each prediction counts as a positive record with its probability, and as a negative one with the rest (CBPE of NannyML,
https://nannyml.readthedocs.io/en/stable/how_it_works/performance_estimation.html).

What is assumed: that the probabilities are calibrated for the present patients. So the estimate shows what other
patients change in the scores, and can never show that the model has become wrong.
"""

from collections.abc import Mapping

import numpy as np

from heartline.arrays import Ints
from heartline.scores import roc_auc_from_counts

ASSUMPTION = "if the probabilities are calibrated for these patients"


def estimate(counts: Ints) -> Mapping[str, float]:
    """Return ``brier``, ``auc`` and ``predictions``, without ``auc`` where all probabilities are 0 or all are 1.

    Args:
        counts: (cells,) predictions by probability, in equal steps from 0 to 1.

    Returns:
        Empty without a prediction.
    """
    total = int(counts.sum())
    if not total:
        return {}
    probabilities = np.linspace(0.0, 1.0, len(counts))
    found = {"brier": float((counts * probabilities * (1 - probabilities)).sum() / total), "predictions": float(total)}
    auc = float(
        roc_auc_from_counts((counts * probabilities)[None, ::-1], (counts * (1 - probabilities))[None, ::-1])[0]
    )
    return found if np.isnan(auc) else {**found, "auc": auc}
