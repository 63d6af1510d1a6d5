"""Predictions for valid records."""

import os
import uuid
from typing import Annotated

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from serving.model.bundle import Model
from serving.model.records import Matrix

FEWEST_DIGITS, MOST_DIGITS = 5, 9  # after the decimal point; very small values may need more


class Prediction(msgspec.Struct, frozen=True, gc=False):  # it refers to nothing that could refer to it
    """The prediction for one record."""

    prediction_id: Annotated[str, Meta(extra_json_schema={"format": "uuid"})]
    has_heart_disease: Annotated[bool, Meta(description="Whether the probability reaches the threshold.")]
    probability: Annotated[float, Meta(ge=0, le=1, description="Of heart disease.")]
    imputed: Annotated[
        list[str],
        Meta(description="Missing fields that the model imputed.", extra_json_schema={"uniqueItems": True}),
    ]


def predict(model: Model, matrix: Matrix) -> list[Prediction]:
    """Return the prediction of ``model`` for each row of ``matrix`` (n, features), as its contract makes it.

    Raises:
        BundleError: the model returned a value that is not a probability.
    """
    probabilities = model.probabilities(matrix)
    positive = probabilities >= model.about.threshold
    imputed = model.contract.imputed(matrix)
    return list(map(Prediction, new_ids(len(matrix)), positive.tolist(), shortest(probabilities), imputed))


def new_ids(count: int) -> list[str]:
    """Return ``count`` random UUIDs (version 4, RFC 9562), vectorised."""
    if count == 1:
        return [str(uuid.uuid4())]
    drawn = np.frombuffer(bytearray(os.urandom(16 * count)), np.uint8).reshape(count, 16)
    drawn[:, 6] = drawn[:, 6] & 0x0F | 0x40
    drawn[:, 8] = drawn[:, 8] & 0x3F | 0x80
    digits = np.frombuffer(drawn.tobytes().hex().encode(), np.uint8).reshape(count, 32)
    text = np.insert(digits, (8, 12, 16, 20), ord("-"), axis=1).tobytes().decode()
    return [text[start : start + 36] for start in range(0, len(text), 36)]


def shortest(values: NDArray[np.float32]) -> list[float]:
    """Return float32 values as the shortest decimal numbers that round to them: 0.9, not 0.8999999761581421."""
    if len(values) == 1:
        return [float(str(values[0]))]
    exact = values.astype(np.float64)
    found = exact.round(FEWEST_DIGITS)
    for digits in range(FEWEST_DIGITS + 1, MOST_DIGITS + 1):
        wrong = found.astype(np.float32) != values
        found[wrong] = exact[wrong].round(digits)
    for row in np.flatnonzero(found.astype(np.float32) != values):
        found[row] = float(str(values[row]))
    numbers: list[float] = found.tolist()
    return numbers
