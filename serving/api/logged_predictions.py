"""``GET /predictions/{id}``: a logged prediction with its lineage: version, training run, snapshot, data source."""

import uuid

import msgspec
from flask import Blueprint, Flask, Response, current_app

from serving.api.responses import LoggedPredictionResponse
from serving.prediction_log.connection import DatabaseError
from serving.prediction_log.writer import PredictionLog
from serving.problems import Problem

SWITCHED_OFF = "the prediction log is switched off"

logged_predictions = Blueprint("logged_predictions", __name__)


def install(app: Flask) -> None:
    """Add the endpoint to ``app``."""
    app.register_blueprint(logged_predictions)


@logged_predictions.get("/predictions/<prediction_id>")
def prediction(prediction_id: str) -> Response:
    """Return a prediction with its record, its time and its lineage."""
    log: PredictionLog = current_app.extensions["prediction_log"]
    if not log.enabled:
        raise Problem("log-unavailable", reason=SWITCHED_OFF)
    known = _canonical(prediction_id)
    try:
        found = log.find(known) if known else None
    except DatabaseError as error:
        raise unreachable(error) from error
    if found is None:
        dropped = log.describe().dropped
        raise Problem(
            "prediction-not-found",
            dropped=f"; {dropped} predictions were dropped since the service started" if dropped else "",
        )
    return Response(msgspec.json.encode(LoggedPredictionResponse.of(found)), mimetype="application/json")


def unreachable(error: Exception) -> Problem:
    """Return the answer while the database of the log cannot be used."""
    return Problem("log-unavailable", reason=f"the database of the prediction log is unreachable: {error}")


def _canonical(text: str) -> str | None:
    """Return an id in the form in which it is stored; None if it is not a UUID."""
    try:
        return str(uuid.UUID(text))
    except ValueError:
        return None
