"""Predictions for valid records: made, encoded as JSON, counted and logged."""

from collections.abc import Sequence
from typing import Any, cast

import msgspec
from msgspec import UNSET

from serving.api import explain
from serving.api.responses import ExplainedPrediction, PredictionListResponse, PredictionResponse
from serving.metrics import prometheus
from serving.model.model_store import ModelDescription, Served
from serving.model.predict import Prediction, predict
from serving.model.records import Matrix
from serving.prediction_log.writer import PredictionLog


def answer(
    served: Served,
    records: Sequence[Any],
    log: PredictionLog,
    request_id: str | None,
    *,
    single: bool,
    matrix: Matrix | None = None,
    explaining: bool = False,
) -> bytes:
    """Return the response to ``records``, which are valid, as JSON.

    Args:
        served: the model.
        records: at least one, as dictionaries; as any values that encode to them, if ``matrix`` is given.
        log: gets the predictions.
        request_id: of the client, if it sent one.
        single: whether the client sent one record, not a list.
        matrix: the model's input for the records, if it is known.
        explaining: whether each prediction gets its contributions.

    Raises:
        BundleError: the model returned a value that is not a probability. Nothing is counted or logged then.
        Problem: the predictions cannot be explained.
    """
    predictions = predict(served.model, served.model.contract.matrix(records) if matrix is None else matrix)
    if explaining:
        predictions = explain.explained(served.model, records, predictions)
    model = served.describe()
    response = _single(predictions[0], model) if single else _several(predictions, model)
    content = msgspec.json.encode(response)
    prometheus.count_predictions(served.version.version, predictions)
    log.add(predictions, records, served, request_id)
    return content


def _single(prediction: Prediction, model: ModelDescription) -> PredictionResponse:
    return PredictionResponse(
        prediction.prediction_id,
        prediction.has_heart_disease,
        prediction.probability,
        prediction.imputed,
        prediction.contributions if isinstance(prediction, ExplainedPrediction) else UNSET,
        model=model,
    )


def _several(predictions: list[Prediction], model: ModelDescription) -> PredictionListResponse:
    # encoding does not look at the type: a Prediction is an ExplainedPrediction without contributions
    return PredictionListResponse(cast(list[ExplainedPrediction], predictions), model)
