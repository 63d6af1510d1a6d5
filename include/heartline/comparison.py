"""Whether one family is better than another: a paired test on shared folds. Pure functions."""

import math
from dataclasses import dataclass

from scipy import stats

from heartline.dataset import Floats

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Difference:
    """A difference in ROC AUC between a challenger and an incumbent.

    Attributes:
        challenger: the family that would replace the incumbent.
        incumbent: the family that stays unless the challenger is better.
        delta: mean of challenger minus incumbent over the shared folds.
        low: lower end of the 95 % interval.
        high: upper end of the 95 % interval.
        p_value: two-sided, of no difference.
    """

    challenger: str
    incumbent: str
    delta: float
    low: float
    high: float
    p_value: float


def paired_difference(challenger: tuple[str, Floats], incumbent: tuple[str, Floats], *, splits: int) -> Difference:
    """Compare fold scores by the corrected resampled t-test.

    Training sets of different folds overlap, so the plain t-test finds differences where there are none. The variance
    is therefore taken times 1/k + n_test/n_train instead of 1/k (Nadeau and Bengio 2003, "Inference for the
    Generalization Error", Machine Learning 52).

    Args:
        challenger: name and (k,) scores, one for each fold of each repeat.
        incumbent: the same, on the same folds.
        splits: folds in a repeat, so that n_test/n_train is 1/(splits - 1).

    Raises:
        ValueError: the scores are not from the same number of folds.
    """
    (name, scores), (other, base) = challenger, incumbent
    if scores.shape != base.shape:
        raise ValueError(f"scores of {name} and {other} come from different folds: {scores.shape}, {base.shape}")
    differences = scores - base
    k = len(differences)
    delta = float(differences.mean())
    spread = math.sqrt(float(differences.var(ddof=1)) * (1 / k + 1 / (splits - 1)))
    if spread == 0.0:
        return Difference(name, other, delta, delta, delta, 1.0 if delta == 0.0 else 0.0)
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, k - 1)) * spread
    p_value = 2 * float(stats.t.sf(abs(delta) / spread, k - 1))
    return Difference(name, other, delta, delta - half, delta + half, p_value)
