"""The endpoints."""

import math
from datetime import datetime
from typing import Any

import msgspec
from flask import Blueprint, Response, current_app, request

from serving import problems
from serving.model_store import ModelStore, Served, Status
from serving.predictions import predict
from serving.records import Contract, MalformedError, Record, parse
from serving.settings import Settings
from serving.workers import Workers

views = Blueprint("heartline", __name__)


@views.post("/predict")
def predict_records() -> Response:
    """Answer one record, or a list of them; all answers come from the same version."""
    served = _served(_status())
    if request.mimetype != "application/json":
        raise problems.wrong_type(request.mimetype)
    body = _body()
    records = _checked(body, served.model.contract)
    predictions = predict(served.model, records)
    if isinstance(body, dict):
        return _json({**msgspec.structs.asdict(predictions[0]), "model": served.describe()})
    return _json({"predictions": predictions, "model": served.describe()})


@views.get("/healthz")
def healthz() -> Response:
    """Say that the process lives."""
    return _json({"status": "ok"})


@views.get("/readyz")
def readyz() -> Response:
    """Say whether a verified and probed model answers in every worker, and what the registry last said."""
    status = _status()
    served = _served(status)
    workers: Workers = current_app.extensions["workers"]
    if waiting := workers.waiting():
        raise _not_ready(f"{waiting} more of the workers must load the model")
    return _json({"status": "ready", "model": served.describe(), **_followed(status)})


@views.get("/model")
def model() -> Response:
    """Describe the model that answers: its version, its contract, and how the registry is followed."""
    status = _status()
    served = _served(status)
    return _json(
        {
            "model": served.describe(),
            "bundle": served.model.digest,
            "threshold": served.model.about.threshold,
            "since": _iso(served.since),
            **_followed(status),
            "contract": served.model.contract.schema,
        }
    )


def _status() -> Status:
    store: ModelStore = current_app.extensions["model_store"]
    return store.status


def _settings() -> Settings:
    settings: Settings = current_app.extensions["settings"]
    return settings


def _served(status: Status) -> Served:
    if status.served is None:
        raise _not_ready(status.reason())
    return status.served


def _not_ready(reason: str) -> problems.Problem:
    return problems.not_ready(reason, math.ceil(_settings().poll_seconds))


def _followed(status: Status) -> dict[str, Any]:
    return {
        "registry": {
            "heard": status.silent is None,
            "last_heard": _iso(status.last_heard),
            "reason": status.silent or status.waiting,
        },
        "refused": status.refused,
    }


def _iso(time: datetime | None) -> str | None:
    return time.isoformat(timespec="milliseconds") if time else None


def _json(value: Any) -> Response:
    return Response(msgspec.json.encode(value), mimetype="application/json")


def _body() -> Any:
    """Return the JSON value of the request; raise the problem that it has."""
    data = request.get_data(cache=False)
    if len(data) > _settings().max_body_bytes:
        raise problems.body_too_large(_settings().max_body_bytes)
    try:
        return parse(data)
    except MalformedError as error:
        raise problems.malformed(str(error)) from error


def _checked(body: Any, contract: Contract) -> list[Record]:
    """Return the records in ``body``; raise the problem that names every bad field."""
    limit = _settings().max_records
    if isinstance(body, list) and len(body) > limit:
        raise problems.too_many_records(len(body), limit)
    if isinstance(body, list) and body:
        errors = [error for row, record in enumerate(body) for error in contract.errors(record, f"/{row}")]
        records = body
    else:
        errors = contract.errors(body)
        records = [body]
    if errors:
        raise problems.invalid_records(errors)
    return records
