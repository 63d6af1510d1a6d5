"""The endpoints."""

import math
from datetime import datetime
from typing import Any

import msgspec
from flask import Blueprint, Response, current_app, request

from serving import problems
from serving.api import auth, csv_body, explain
from serving.api.answers import answer
from serving.metrics import prometheus
from serving.model.model_store import ModelStore, Served, Status
from serving.model.records import Contract, MalformedError, Record, containers, parse
from serving.model.worker_states import Workers
from serving.prediction_log.writer import PredictionLog
from serving.settings import Settings

# Beyond the records, so that a body that is only a little too large, or has objects where none belong, is told exactly
# what is wrong with it. Parsed, the greatest body could be millions of them.
SPARE_CONTAINERS = 20_000
views = Blueprint("heartline", __name__)


@views.post("/predict")
def predict_records() -> Response:
    """Answer one record, or a list of them; all answers come from the same version."""
    served = _served(_status())
    explaining = explain.asked(request.args.getlist("explain")) if request.query_string else False
    contract = served.model.contract
    body, records = _table(contract) if request.mimetype == csv_body.MEDIA_TYPE else _value(contract)
    if explaining:
        explain.check_count(len(records))
    request_id = request.headers.get("X-Request-ID")
    content = answer(served, records, _log(), request_id, single=isinstance(body, dict), explaining=explaining)
    return Response(content, mimetype="application/json")


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
    return _json({"status": "ready", "model": served.describe(), **_followed(status), **_also()})


@views.get("/model")
def model() -> Response:
    """Describe the model that answers: its version, its scores, its contract, and how the registry is followed."""
    status = _status()
    served = _served(status)
    return _json(
        {
            "model": served.describe(),
            "bundle": served.model.digest,
            "threshold": served.model.about.threshold,
            "since": _iso(served.since),
            "metrics": served.evaluation.metrics,
            "metrics_reason": served.evaluation.reason,
            **_followed(status),
            "prediction_log": _log().describe(),
            "contract": served.model.contract.schema,
        }
    )


def served_now() -> Served:
    """Return what answers now.

    Raises:
        Problem: nothing does.
    """
    return _served(_status())


def _status() -> Status:
    store: ModelStore = current_app.extensions["model_store"]
    return store.status


def _log() -> PredictionLog:
    log: PredictionLog = current_app.extensions["prediction_log"]
    return log


def _settings() -> Settings:
    settings: Settings = current_app.extensions["settings"]
    return settings


def _served(status: Status) -> Served:
    if status.served is None:
        raise _not_ready(status.reason())
    return status.served


def _not_ready(reason: str) -> problems.Problem:
    return problems.not_ready(reason, math.ceil(_settings().poll_seconds))


def _also() -> dict[str, Any]:
    return {"keys": auth.problem(), "prediction_log": _log().describe()}


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


def _bytes() -> bytes:
    data = request.get_data(cache=False)
    if len(data) > _settings().max_body_bytes:
        raise problems.body_too_large(_settings().max_body_bytes)
    return data


def _value(contract: Contract) -> tuple[Any, list[Record]]:
    """Return the JSON value of the request, and the records in it; raise the problem that it has."""
    if request.mimetype != "application/json":
        raise problems.wrong_type(request.mimetype)
    data, limit = _bytes(), _settings().max_records
    if (found := containers(data, most := limit + SPARE_CONTAINERS)) > most:
        raise problems.too_many_records(found, limit, "the body has {} objects and arrays")
    try:
        body = parse(data)
    except MalformedError as error:
        raise problems.malformed(str(error)) from error
    return body, _checked(body, contract)


def _table(contract: Contract) -> tuple[list[Record], list[Record]]:
    """Return the records of a request in CSV, twice: they are answered as a list of them; raise its problem."""
    charset = request.mimetype_params.get("charset", "")
    if charset.lower() not in csv_body.CHARSETS:
        raise problems.wrong_type(f"{csv_body.MEDIA_TYPE} in {charset}")
    try:
        records, errors = csv_body.parse(_bytes(), contract, _settings().max_records)
    except MalformedError as error:
        raise problems.malformed_csv(str(error)) from error
    except csv_body.TooManyRowsError as error:
        raise problems.too_many_records(error.found, _settings().max_records) from error
    if errors:
        prometheus.count_invalid(contract, errors)
        raise problems.invalid_records(errors)
    return records, records


def _checked(body: Any, contract: Contract) -> list[Record]:
    """Return the records in ``body``; raise the problem that names every bad field."""
    limit = _settings().max_records
    if isinstance(body, list) and len(body) > limit:
        raise problems.too_many_records(len(body), limit)
    if isinstance(body, list) and body:
        errors = contract.list_errors(body)
        records = body
    else:
        errors = contract.errors(body)
        records = [body]
    if errors:
        prometheus.count_invalid(contract, errors)
        raise problems.invalid_records(errors)
    return records
