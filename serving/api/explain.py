"""Explanations: how much each value of a record changes the prediction, compared with a typical record.

Only the ONNX model is used. All features of the baseline record are missing, so that the model imputes the typical
values of its training records. A contribution is a Shapley value (Shapley 1953; Lundberg and Lee 2017, with a single
baseline): the difference that a value makes, averaged over all orders in which the values of the record can replace the
typical ones. So a typical value contributes nothing, even if it goes with a high risk. The contributions add up to the
prediction for the record minus the base.
"""

import logging
import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from weakref import WeakKeyDictionary

import msgspec
import numpy as np
from numpy.typing import NDArray

from serving.api.responses import Contribution, ExplainedPrediction, Explanation
from serving.model.bundle import TOLERANCE, Model
from serving.model.predict import Prediction
from serving.model.records import SHOWN_CHARACTERS, Matrix, Record
from serving.problems import Problem

MAX_RECORDS = 20  # in one request: about a second of CPU time for a forest of 300 trees
EXACT_FEATURES = 14  # with up to so many present values all subsets are used: at most 16,384 predictions a record
SEED = 0  # of the random orders with more values, so that the same record gets the same explanation
LOG = logging.getLogger(__name__)

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Explainer:
    """Explains the predictions of one model.

    Attributes:
        model: the model.
        additive: whether the effects of its features add up on the log-odds, so that single changes are enough.
    """

    model: Model
    additive: bool

    def explain(self, record: Record) -> Explanation:
        """Return the contribution of each value of ``record``, which is valid.

        Raises:
            BundleError: a prediction is not a probability.
        """
        row = self.model.contract.matrix([record])[0]
        present = np.flatnonzero(~np.isnan(row))
        errors: Floats | None = None
        if self.additive:
            base = float(_log_odds(_base(self.model, len(row)))[0])
            values = _single_changes(self.model, row, base)
        else:
            base = float(_base(self.model, len(row))[0])
            values = np.zeros(len(row))
            if len(present) <= EXACT_FEATURES:
                values[present] = self._exact(row, present)
            else:
                errors = np.zeros(len(row))
                values[present], errors[present] = self._sampled(row, present)
        features = {
            name: Contribution(
                record.get(name), float(values[i]) + 0.0, msgspec.UNSET if errors is None else float(errors[i])
            )
            for i, name in enumerate(self.model.contract.features)
        }
        return Explanation(
            "log_odds" if self.additive else "probability", "exact" if errors is None else "sampled", base, features
        )

    def _exact(self, row: Matrix, present: NDArray[np.intp]) -> Floats:
        """Return the Shapley values of the ``present`` features from the predictions for all their subsets."""
        count = len(present)
        subsets = (np.arange(2**count)[:, None] >> np.arange(count)) & 1 == 1
        predictions = self._predict(row, present, subsets)
        values = np.empty(count)
        for feature in range(count):
            # the feature's bit is the middle axis: subsets without it, and the same subsets with it
            pairs = predictions.reshape(-1, 2, 2**feature)
            values[feature] = ((pairs[:, 1] - pairs[:, 0]) * _weights(count).reshape(pairs[:, 0].shape)).sum()
        return values

    def _sampled(self, row: Matrix, present: NDArray[np.intp]) -> tuple[Floats, Floats]:
        """Return estimates of the Shapley values, and their standard errors.

        They are means over random orders (Castro, Gómez, Tejada 2009), each taken forwards and backwards (antithetic
        pairs; Mitchell, Cooper, Frank, Holmes 2022). Every order adds up to the same sum, and so do the means.
        """
        count = len(present)
        pairs = 2**EXACT_FEATURES // (2 * (count + 1))
        random = np.random.default_rng(SEED)
        found = np.empty((pairs, count))
        forwards = random.permuted(np.tile(np.arange(count), (pairs, 1)), axis=1)
        for i, order in enumerate(forwards):
            both = np.stack([order, order[::-1]])
            # the position of each feature in the order; after n steps the features before position n are known
            positions = np.argsort(both, axis=1)
            steps = positions[:, None, :] < np.arange(count + 1)[None, :, None]
            predictions = self._predict(row, present, steps.reshape(-1, count)).reshape(2, count + 1)
            found[i] = np.take_along_axis(np.diff(predictions, axis=1), positions, axis=1).mean(axis=0)
        return found.mean(axis=0), found.std(axis=0, ddof=1) / math.sqrt(pairs)

    def _predict(self, row: Matrix, present: NDArray[np.intp], subsets: NDArray[np.bool_]) -> Floats:
        """Return the probability for each of ``subsets`` (n, present), (n,); the other features are missing."""
        rows = _all_missing(len(subsets), len(row))
        rows[:, present] = np.where(subsets, row[present], np.nan)
        return self.model.probabilities(rows).astype(np.float64)


# by model, so that each is tested once; a value must not refer to the model, which would never be freed then
_additive: WeakKeyDictionary[Model, bool | str] = WeakKeyDictionary()
_lock = threading.Lock()


def is_additive(model: Model) -> bool:
    """Return whether the effects of the features of ``model`` add up on the log-odds.

    This is tested, not derived from the model's family: for each reference record, the sum of the changes that single
    values make must give the prediction for the complete record.

    Raises:
        Problem: the model has no prediction for a record with all values missing.
    """
    with _lock:
        found = _additive.get(model)
        if found is None:
            try:
                found = all(_adds_up(model, row) for row in model.reference)
            except Exception as error:  # onnxruntime has many exception types
                found = str(error).partition("\n")[0]
                LOG.warning("the predictions of this model cannot be explained: %s", found)
            _additive[model] = found
    if isinstance(found, str):
        raise Problem("not-explainable", reason=found)
    return found


def asked(values: Sequence[str]) -> bool:
    """Return whether the query parameter ``explain`` with these ``values`` requests contributions.

    Raises:
        Problem: the parameter is neither true nor false, or occurs twice.
    """
    if len(values) > 1 or not {*values} <= {"true", "false"}:
        raise Problem("invalid-parameter", found=", ".join(values)[:SHOWN_CHARACTERS])
    return "true" in values


def check_count(count: int) -> None:
    """Check that the number of records to explain is within the limit.

    Raises:
        Problem: there are too many.
    """
    if count > MAX_RECORDS:
        reason = f"the list has {count} records, each with an explanation"
        raise Problem("content-too-large", reason=reason, limit=f"{MAX_RECORDS} records with explain=true")


def explained(model: Model, records: Sequence[Record], predictions: Sequence[Prediction]) -> list[Prediction]:
    """Return ``predictions`` with the contributions of each of ``records``, which are valid.

    Raises:
        Problem: the model cannot be explained.
        BundleError: a prediction is not a probability.
    """
    explainer = Explainer(model, is_additive(model))
    return [
        ExplainedPrediction(**msgspec.structs.asdict(prediction), contributions=explainer.explain(record))
        for record, prediction in zip(records, predictions, strict=True)
    ]


def _adds_up(model: Model, row: Matrix) -> bool:
    base = _base(model, len(row))
    found = _log_odds(base)[0] + _single_changes(model, row, _log_odds(base)[0]).sum()
    return bool(abs((1 + math.tanh(found / 2)) / 2 - model.probabilities(row[None])[0]) <= TOLERANCE)


def _base(model: Model, width: int) -> NDArray[np.float32]:
    """Return the prediction for a record with all values missing, (1,)."""
    return model.probabilities(_all_missing(1, width))


def _single_changes(model: Model, row: Matrix, base: float) -> Floats:
    """Return how much each single value of ``row`` changes the log-odds ``base``: (features,), 0 where missing."""
    width = len(row)
    rows = _all_missing(width, width)
    np.fill_diagonal(rows, row)
    found: Floats = np.where(np.isnan(row), 0.0, _log_odds(model.probabilities(rows)) - base)
    return found


def _log_odds(probabilities: NDArray[np.float32]) -> Floats:
    # a probability that float32 rounds to 0 or 1 counts as the nearest value that is neither
    smallest = float(np.finfo(np.float32).epsneg)
    wide = np.clip(probabilities.astype(np.float64), smallest, 1 - smallest)
    found: Floats = np.log(wide) - np.log1p(-wide)
    return found


def _all_missing(count: int, width: int) -> Matrix:
    return np.full((count, width), np.nan, dtype=np.float32)


@lru_cache(maxsize=EXACT_FEATURES + 1)
def _weights(count: int) -> Floats:
    """Return the Shapley weight of each subset of ``count`` - 1 features, by its number in binary: (2**(count-1),)."""
    sizes = np.array([number.bit_count() for number in range(2 ** (count - 1))])
    by_size = np.array([1 / (count * math.comb(count - 1, size)) for size in range(count)])
    found: Floats = by_size[sizes]
    return found
