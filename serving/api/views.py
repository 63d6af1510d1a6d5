"""The endpoints for predictions and for the state of the service."""

import math
from typing import Any

import msgspec
from flask import Blueprint, Response, current_app, request

from serving import problems
from serving.api import auth, csv_body, explain, request_body
from serving.api.prediction_responses import answer
from serving.api.responses import HealthResponse, ModelResponse, ReadinessResponse, RegistryState
from serving.ledger.writer import Ledger
from serving.metrics import prometheus
from serving.model.model_store import ModelStore, Served, Status, to_text
from serving.model.records import Contract, FieldError, MalformedError, Record, parse
from serving.model.worker_states import Workers
from serving.prediction_log.writer import PredictionLog
from serving.problems import Problem
from serving.settings import Settings

views = Blueprint("heartline", __name__)


@views.post("/predict")
def predict_records() -> Response:
    """Return the prediction for a record, or for each record of a list; all come from the same version."""
    served = _served(_status())
    explaining = explain.asked(request.args.getlist("explain")) if request.query_string else False
    contract = served.model.contract
    request_id = request.headers.get("X-Request-ID")
    if request.mimetype == csv_body.MEDIA_TYPE:
        records, single = _table(contract), False
    else:
        data = request_body.read_json(request, _settings())
        found = None if explaining else contract.decode_list(data)
        if found and len(found[0]) <= _settings().max_records:
            content = answer(served, found[0], _log(), request_id, single=False, matrix=found[1])
            return Response(content, mimetype="application/json")
        records, single = _value(data, contract)
    if explaining:
        explain.check_count(len(records))
    content = answer(served, records, _log(), request_id, single=single, explaining=explaining)
    return Response(content, mimetype="application/json")


@views.get("/healthz")
def healthz() -> Response:
    """Return 200 while the process runs."""
    return _json(HealthResponse())


@views.get("/readyz")
def readyz() -> Response:
    """Return 200 if every worker serves a verified model, with the state of registry and prediction log."""
    status = _status()
    served = _served(status)
    workers: Workers = current_app.extensions["workers"]
    if count := workers.not_ready():
        raise _not_ready(f"{count} of the workers have not loaded the model yet")
    return _json(
        ReadinessResponse(
            status="ready",
            model=served.describe(),
            registry=RegistryState.of(status),
            refused=status.refused,
            api_keys_error=auth.problem(),
            prediction_log=_log().describe(),
            ledger=_ledger().describe(),
        )
    )


@views.get("/model")
def model() -> Response:
    """Return the served version, its scores, its contract, and the state of the registry."""
    status = _status()
    served = _served(status)
    return _json(
        ModelResponse(
            model=served.describe(),
            bundle=served.model.digest,
            threshold=served.model.about.threshold,
            served_since=to_text(served.since) or "",
            metrics=served.evaluation.metrics,
            metrics_reason=served.evaluation.reason,
            registry=RegistryState.of(status),
            refused=status.refused,
            prediction_log=_log().describe(),
            contract=dict(served.model.contract.schema),
        )
    )


def served_now() -> Served:
    """Return the served model.

    Raises:
        Problem: no model is served.
    """
    return _served(_status())


def _status() -> Status:
    store: ModelStore = current_app.extensions["model_store"]
    return store.status


def _log() -> PredictionLog:
    log: PredictionLog = current_app.extensions["prediction_log"]
    return log


def _ledger() -> Ledger:
    ledger: Ledger = current_app.extensions["ledger"]
    return ledger


def _settings() -> Settings:
    settings: Settings = current_app.extensions["settings"]
    return settings


def _served(status: Status) -> Served:
    if status.served is None:
        raise _not_ready(status.reason())
    return status.served


def _not_ready(reason: str) -> Problem:
    return Problem("not-ready", reason=reason, retry_after=math.ceil(_settings().poll_seconds))


def _json(value: Any) -> Response:
    return Response(msgspec.json.encode(value), mimetype="application/json")


def _value(data: bytes, contract: Contract) -> tuple[list[Record], bool]:
    """Return the records in the JSON ``data``, and whether it is one record, not a list."""
    try:
        body = parse(data)
    except MalformedError as error:
        raise Problem("malformed-json", reason=error) from error
    return _checked(body, contract), isinstance(body, dict)


def _table(contract: Contract) -> list[Record]:
    """Return the records of a CSV request."""
    data = request_body.read_csv(request, _settings())
    try:
        records, errors = csv_body.parse(data, contract, _settings().max_records)
    except MalformedError as error:
        raise Problem("malformed-csv", reason=error, names="the contract's names") from error
    except csv_body.TooManyRowsError as error:
        raise problems.too_many_records(error.found, _settings().max_records) from error
    if errors:
        prometheus.count_invalid(contract, errors)
        raise problems.invalid_records(errors)
    return records


def _checked(body: Any, contract: Contract) -> list[Record]:
    """Return the records in ``body``, all of them valid."""
    limit = _settings().max_records
    if isinstance(body, list) and len(body) > limit:
        raise problems.too_many_records(len(body), limit)
    if isinstance(body, list) and body:
        errors = contract.list_errors(body)
        records = body
    elif isinstance(body, list):
        errors = [FieldError("", "the list is empty", "a list of at least one record")]
        records = []
    else:
        errors = contract.errors(body)
        records = [body]
    if errors:
        prometheus.count_invalid(contract, errors)
        raise problems.invalid_records(errors)
    return records
