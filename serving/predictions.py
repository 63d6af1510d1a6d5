"""From valid records to answers."""

import uuid
from collections.abc import Sequence

import msgspec

from serving.bundle import Model
from serving.records import Record


class Prediction(msgspec.Struct, frozen=True):
    """The answer for one record."""

    prediction_id: str
    has_heart_disease: bool
    probability: float
    imputed: list[str]


def predict(model: Model, records: Sequence[Record]) -> list[Prediction]:
    """Return the answer of ``model`` for each of ``records``, which its contract allows.

    Raises:
        BundleError: the model gave something that is not a probability.
    """
    probabilities = model.probabilities(model.contract.matrix(records))
    positive = probabilities >= model.about.threshold
    return [
        # the shortest text of a float32, not that of the float64 next to it: 0.9 instead of 0.8999999761581421
        Prediction(str(uuid.uuid4()), bool(has), float(str(probability)), model.contract.imputed(record))
        for record, probability, has in zip(records, probabilities, positive, strict=True)
    ]
