"""Where an answer came from: the model version, the run that trained it, the snapshot it was trained on, its source."""

import uuid
from typing import Any

import msgspec
from flask import Blueprint, Flask, Response, current_app

from serving import problems
from serving.prediction_log.database import LogDatabaseError
from serving.prediction_log.entries import Found

OFF = "the log of predictions is switched off"
RETRY_AFTER = 5  # seconds

lineage = Blueprint("lineage", __name__)


def install(app: Flask) -> None:
    """Answer ``GET /predictions/{id}``."""
    app.register_blueprint(lineage)


@lineage.get("/predictions/<prediction_id>")
def prediction(prediction_id: str) -> Response:
    """Return a record with its answer, the time, and where the answer came from."""
    log = current_app.extensions["prediction_log"]
    if not log.on:
        raise problems.log_away(OFF, RETRY_AFTER)
    known = _plain(prediction_id)
    try:
        found = log.find(known) if known else None
    except LogDatabaseError as error:
        raise problems.log_away(f"its database is away: {error}", RETRY_AFTER) from error
    if found is None:
        raise problems.unknown_prediction(log.describe()["dropped"])
    return Response(msgspec.json.encode(_answer(found)), mimetype="application/json")


def _plain(text: str) -> str | None:
    """Return the id as it is written here, or None where it is none."""
    try:
        return str(uuid.UUID(text))
    except ValueError:
        return None


def _answer(found: Found) -> dict[str, Any]:
    entry, model = found.entry, found.model
    return {
        "prediction_id": entry.prediction_id,
        "time": entry.answered,
        "request_id": entry.request_id,
        "row": entry.request_row,
        "record": entry.features,
        "has_heart_disease": entry.has_heart_disease,
        "probability": entry.probability,
        "imputed": entry.imputed,
        "lineage": {
            "model": {
                "name": model.name,
                "version": model.version,
                "alias": model.alias,
                "family": model.family,
                "contract_version": model.contract_version,
                "bundle": model.bundle,
            },
            "run": {"id": model.run_id, "trained_at": model.trained_at},
            "snapshot": {"sha256": model.snapshot, "origin": model.origin},
            "source": model.source,
        },
    }
