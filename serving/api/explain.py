"""Why a model answers as it does: how far each value of a record moves the answer away from that for a typical record.

Only the ONNX model is asked. The record to start from has every feature missing, so that the model's own imputation
fills in the typical values of its training records. A contribution is the Shapley value (Shapley 1953; Lundberg and Lee
2017, with a single baseline): the difference that a value makes, averaged over all orders in which the values of the
record can take the place of the typical ones. Contributions add up to the answer for the record less the base.
"""

import logging
import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal
from weakref import WeakKeyDictionary

import msgspec
import numpy as np
from numpy.typing import NDArray

from serving.model.bundle import TOLERANCE, Model
from serving.model.predict import Prediction
from serving.model.records import Matrix, Record
from serving.problems import Problem

MAX_RECORDS = 20  # in one request: about a second of CPU for a forest of 300 trees
EXACT_FEATURES = 14  # up to so many present values every subset is asked: at most 16,384 answers a record
SEED = 0  # of the orders that are drawn beyond that, so that the same record gets the same explanation
LOG = logging.getLogger(__name__)

Floats = NDArray[np.float64]
Scale = Literal["log_odds", "probability"]


class Contribution(msgspec.Struct, frozen=True, omit_defaults=True):
    """What one value of a record adds to the base.

    Args:
        value: as the record has it, None where the model filled it in.
        contribution: on the explanation's scale.
        standard_error: of the contribution, where it is an estimate.
    """

    value: float | int | None
    contribution: float
    standard_error: float | msgspec.UnsetType = msgspec.UNSET


class Explanation(msgspec.Struct, frozen=True):
    """The contributions to one answer.

    Args:
        scale: of base and contributions: natural logarithm of the odds, or probability.
        method: ``exact``, or ``sampled`` where a record has too many values to ask every subset.
        base: the answer for a record of which nothing is known.
        features: in the contract's order.
    """

    scale: Scale
    method: Literal["exact", "sampled"]
    base: float
    features: dict[str, Contribution]


class Explained(Prediction, frozen=True):
    """A prediction with the contributions to it."""

    contributions: Explanation


@dataclass(frozen=True)
class Explainer:
    """Explains the answers of one model.

    Attributes:
        model: the model.
        additive: whether its features add up on the log-odds, so that one change at a time tells everything.
    """

    model: Model
    additive: bool

    def explain(self, record: Record) -> Explanation:
        """Return the contributions of each value of ``record``, which the contract allows.

        Raises:
            BundleError: an answer is not a probability.
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
        """Return the Shapley values of the ``present`` features from the answers to all their subsets."""
        count = len(present)
        subsets = (np.arange(2**count)[:, None] >> np.arange(count)) & 1 == 1
        answers = self._answers(row, present, subsets)
        values = np.empty(count)
        for player in range(count):
            # with the player's bit on the middle axis: subsets without it, and the same with it
            pairs = answers.reshape(-1, 2, 2**player)
            values[player] = ((pairs[:, 1] - pairs[:, 0]) * _weights(count).reshape(pairs[:, 0].shape)).sum()
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
            # the place of each feature in the order; after n steps those before place n are known
            places = np.argsort(both, axis=1)
            steps = places[:, None, :] < np.arange(count + 1)[None, :, None]
            answers = self._answers(row, present, steps.reshape(-1, count)).reshape(2, count + 1)
            found[i] = np.take_along_axis(np.diff(answers, axis=1), places, axis=1).mean(axis=0)
        return found.mean(axis=0), found.std(axis=0, ddof=1) / math.sqrt(pairs)

    def _answers(self, row: Matrix, present: NDArray[np.intp], subsets: NDArray[np.bool_]) -> Floats:
        """Return the probability for each of ``subsets`` (n, present): what lies outside is missing. (n,)."""
        rows = _nothing(len(subsets), len(row))
        rows[:, present] = np.where(subsets, row[present], np.nan)
        return self.model.probabilities(rows).astype(np.float64)


# By model, so that it is found out once; what is kept must not refer to the model, which would then live for ever.
_scales: WeakKeyDictionary[Model, bool | str] = WeakKeyDictionary()
_finding = threading.Lock()


def is_additive(model: Model) -> bool:
    """Return whether the features of ``model`` add up on the log-odds.

    This follows from what the model does, not from what it is called: they do if, for each of its reference records,
    the changes that single values make lead to the answer for the whole record.

    Raises:
        Problem: it gives no answer to a record of which nothing is known.
    """
    with _finding:
        found = _scales.get(model)
        if found is None:
            try:
                found = all(_adds_up(model, row) for row in model.reference)
            except Exception as error:  # onnxruntime raises many types of its own
                found = str(error).partition("\n")[0]
                LOG.warning("no answer of this model can be explained: %s", found)
            _scales[model] = found
    if isinstance(found, str):
        raise not_explainable(found)
    return found


def asked(values: Sequence[str]) -> bool:
    """Return whether a request asks for contributions, whose parameter ``explain`` has these ``values``.

    Raises:
        Problem: the parameter is something else than true or false, or is there twice.
    """
    if len(values) > 1 or not {*values} <= {"true", "false"}:
        raise bad_parameter(", ".join(values))
    return "true" in values


def check_count(count: int) -> None:
    """Refuse more records than one request may have explained.

    Raises:
        Problem: there are more.
    """
    if count > MAX_RECORDS:
        raise too_many_to_explain(count)


def explained(model: Model, records: Sequence[Record], predictions: Sequence[Prediction]) -> list[Prediction]:
    """Return ``predictions`` with the contributions of each of ``records``, which the model's contract allows.

    Raises:
        Problem: the model cannot be explained.
        BundleError: an answer is not a probability.
    """
    explainer = Explainer(model, is_additive(model))
    return [
        Explained(**msgspec.structs.asdict(prediction), contributions=explainer.explain(record))
        for record, prediction in zip(records, predictions, strict=True)
    ]


def bad_parameter(found: str) -> Problem:
    """Return the answer to a parameter ``explain`` that is ``found``."""
    return Problem(
        400,
        "invalid-parameter",
        "Invalid parameter",
        f"explain is {found[:100]!r}",
        expected="explain=true or explain=false, once",
        hint="correct the address, or leave the parameter out",
    )


def too_many_to_explain(found: int) -> Problem:
    """Return the answer to ``found`` records that are to be explained."""
    return Problem(
        413,
        "too-large",
        "Too large",
        f"the list has {found} records, and each is to be explained",
        expected=f"at most {MAX_RECORDS} records with explain=true",
        hint="send the records in several requests, or without explain",
    )


def not_explainable(reason: str) -> Problem:
    """Return the answer where the served model has no answer to start an explanation from."""
    return Problem(
        409,
        "not-explainable",
        "This model cannot be explained",
        f"it does not answer a record of which nothing is known: {reason}",
        expected="a model that fills in every feature that is missing",
        hint="ask without explain",
    )


def _adds_up(model: Model, row: Matrix) -> bool:
    base = _base(model, len(row))
    found = _log_odds(base)[0] + _single_changes(model, row, _log_odds(base)[0]).sum()
    return bool(abs((1 + math.tanh(found / 2)) / 2 - model.probabilities(row[None])[0]) <= TOLERANCE)


def _base(model: Model, width: int) -> NDArray[np.float32]:
    """Return the answer for a record of which nothing is known, (1,)."""
    return model.probabilities(_nothing(1, width))


def _single_changes(model: Model, row: Matrix, base: float) -> Floats:
    """Return how far each value of ``row``, alone, moves the log-odds from ``base``: (features,), 0 where missing."""
    width = len(row)
    rows = _nothing(width, width)
    np.fill_diagonal(rows, row)
    found: Floats = np.where(np.isnan(row), 0.0, _log_odds(model.probabilities(rows)) - base)
    return found


def _log_odds(probabilities: NDArray[np.float32]) -> Floats:
    # a probability that float32 rounds to 0 or 1 is taken as the nearest one that it can tell from them
    smallest = float(np.finfo(np.float32).epsneg)
    wide = np.clip(probabilities.astype(np.float64), smallest, 1 - smallest)
    found: Floats = np.log(wide) - np.log1p(-wide)
    return found


def _nothing(count: int, width: int) -> Matrix:
    return np.full((count, width), np.nan, dtype=np.float32)


@lru_cache(maxsize=EXACT_FEATURES + 1)
def _weights(count: int) -> Floats:
    """Return the Shapley weight of each subset of ``count`` - 1 features, by its number in binary: (2**(count-1),)."""
    sizes = np.array([number.bit_count() for number in range(2 ** (count - 1))])
    by_size = np.array([1 / (count * math.comb(count - 1, size)) for size in range(count)])
    found: Floats = by_size[sizes]
    return found
