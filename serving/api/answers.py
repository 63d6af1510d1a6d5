"""From valid records to the answer: what the model says, in JSON, counted and logged."""

from collections.abc import Sequence

import msgspec

from serving.api import explain
from serving.metrics import prometheus
from serving.model.model_store import Served
from serving.model.predict import predict
from serving.model.records import Record
from serving.prediction_log.writer import PredictionLog


def answer(
    served: Served,
    records: Sequence[Record],
    log: PredictionLog,
    request_id: str | None,
    *,
    single: bool,
    explaining: bool = False,
) -> bytes:
    """Return the JSON that answers ``records``, which the contract of ``served`` allows.

    Args:
        served: what answers.
        records: at least one.
        log: gets the answers.
        request_id: as the client says it.
        single: whether the client sent its record alone, not in a list.
        explaining: whether each answer comes with its contributions.

    Raises:
        BundleError: the model gave something that is not a probability. Nothing is counted or logged then.
        Problem: the answers cannot be explained.
    """
    predictions = predict(served.model, records)
    if explaining:
        predictions = explain.explained(served.model, records, predictions)
    found = msgspec.structs.asdict(predictions[0]) if single else {"predictions": predictions}
    content = msgspec.json.encode({**found, "model": served.describe()})
    prometheus.count_predictions(served.version.version, predictions)
    log.add(predictions, records, served, request_id)
    return content
