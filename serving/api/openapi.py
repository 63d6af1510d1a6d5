"""The OpenAPI 3.1 document of the service, made from the contract of the served model."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from flask import Flask, Response, current_app

from serving.api import auth
from serving.api.auth import OUTCOMES_PATH
from serving.api.examples import csv_of, example_outcome, example_record, required_only
from serving.api.openapi_schemas import Schema, all_schemas, ref
from serving.api.responses import PredictionListResponse, PredictionResponse
from serving.api.views import served_now
from serving.model.model_store import Served
from serving.model.predict import predict
from serving.model.records import Contract
from serving.prediction_log.outcomes import FIELDS as OUTCOME_FIELDS
from serving.problems import MEDIA_TYPE, PROBLEMS, TYPE_PREFIX
from serving.settings import Settings

JSON, CSV, HTML = "application/json", "text/csv", "text/html"
NO_ID = "00000000-0000-4000-8000-000000000000"
# response headers of problems, by status
_HEADERS: dict[int, tuple[str, Schema, str]] = {
    401: ("WWW-Authenticate", {"type": "string"}, "The authentication schemes."),
    415: ("Accept-Post", {"type": "string"}, "The supported media types."),
    503: ("Retry-After", {"type": "integer", "minimum": 0}, "Seconds until the next attempt."),
}
# problems of every path; most occur before the path is known
COMMON_PROBLEMS = (
    "malformed-request",
    "request-timeout",
    "content-too-large",
    "headers-too-large",
    "internal-error",
    "unsupported-transfer-coding",
    "overloaded",
)
_DESCRIPTION = (
    "Predicts heart disease with the model under the registry's alias. Every error is a problem document (RFC 9457)."
)


def install(app: Flask) -> None:
    """Add ``GET /openapi.json`` to ``app``."""

    @app.get("/openapi.json")
    def openapi() -> Response:
        """Return the document for the served model."""
        settings: Settings = current_app.extensions["settings"]
        return Response(msgspec.json.encode(document(served_now(), settings)), mimetype=JSON)


def document(served: Served, settings: Settings) -> dict[str, Any]:
    """Return the OpenAPI document of a service with these ``settings`` that serves ``served``."""
    contract = served.model.contract
    paths = {
        "/predict": {"post": _predict(served)},
        "/model": {
            "get": _get("Return the served model, its scores and its contract", _json("ModelResponse"), "not-ready")
        },
        "/predictions/{prediction_id}": {"get": _logged()},
        OUTCOMES_PATH: {"post": _outcomes()},
        "/readyz": {"get": _get("Return whether every worker serves a model", _json("ReadinessResponse"), "not-ready")},
        "/healthz": {"get": _get("Return whether the process runs", _json("HealthResponse"))},
        "/metrics": {"get": _get("Return the metrics for Prometheus", _text("text/plain"))},
        "/openapi.json": {"get": _get("Return this document", {JSON: {"schema": {"type": "object"}}}, "not-ready")},
        "/docs": {"get": _get("Return this document as a page", _text(HTML), "not-ready")},
        "/": {"get": _form()},
        "/static/{filename}": {"get": _file()},
    }
    schemes = _require_keys(paths) if settings.api_keys else {}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Heartline", "version": contract.version, "description": _DESCRIPTION},
        "servers": [{"url": settings.public_service_url or "/"}],
        "paths": paths,
        "components": {
            "schemas": all_schemas(contract, settings.max_records),
            **({"securitySchemes": schemes} if schemes else {}),
        },
    }


def _require_keys(paths: Schema) -> Schema:
    """Add authentication to all ``paths`` but the open ones, and return the security schemes."""
    for path, methods in paths.items():
        if path not in auth.OPEN_PATHS:
            for operation in methods.values():
                operation["security"] = [{"bearer": []}, {"key": []}, {"browser": []}]
                operation["responses"]["401"] = _problem(401, ["unauthorized"])
                operation["responses"]["403"] = _problem(403, ["forbidden"])
    return {
        "bearer": {"type": "http", "scheme": "bearer"},
        "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
        "browser": {"type": "http", "scheme": "basic", "description": "The key is the password."},
    }


def _predict(served: Served) -> Schema:
    contract = served.model.contract
    one = example_record(contract.schema)
    two = [one, required_only(contract.schema, one)]
    predictions = [
        {**msgspec.to_builtins(found), "prediction_id": NO_ID} for found in predict(served.model, contract.matrix(two))
    ]
    model = msgspec.to_builtins(served.describe())
    operation = _get(
        "Predict for a record or a list of records",
        {
            JSON: {
                "schema": {"oneOf": [ref(PredictionResponse.__name__), ref(PredictionListResponse.__name__)]},
                "examples": {
                    "one": {"summary": "One record", "value": {**predictions[0], "model": model}},
                    "many": {"summary": "A list of records", "value": {"predictions": predictions, "model": model}},
                },
            }
        },
        *(
            "malformed-json",
            "malformed-csv",
            "malformed-gzip",
            "invalid-parameter",
            "not-explainable",
            "unsupported-media-type",
            "unsupported-content-coding",
        ),
        *("invalid-record", "not-ready"),
    )
    operation["description"] = (
        "An object gets one prediction. An array or CSV gets a list, all of the same version. Fields may be in any "
        "order. Optional fields may be absent or null, in CSV empty. The body may be compressed with gzip."
    )
    explain = {"type": "boolean", "default": False}
    operation["parameters"] = [
        _parameter("explain", "query", "Whether to add the contribution of each value.", explain),
        _parameter("X-Request-ID", "header", "An id of the request, which is logged."),
    ]
    operation["requestBody"] = {"required": True, "content": _bodies(contract, one, two)}
    return operation


def _bodies(contract: Contract, one: Mapping[str, Any], two: Sequence[Mapping[str, Any]]) -> Schema:
    return {
        JSON: {
            "schema": {"oneOf": [ref("Record"), ref("Records")]},
            "examples": {
                "one": {"summary": "One record", "value": one},
                "many": {"summary": "Two records; the second without optional fields", "value": two},
            },
        },
        CSV: {
            "schema": {"type": "string", "description": f"A header with the names {', '.join(contract.features)}."},
            "examples": {"many": {"summary": "Two records", "value": csv_of(two)}},
        },
    }


def _logged() -> Schema:
    problems = ("not-found", "prediction-not-found", "log-unavailable")
    operation = _get("Return a logged prediction with its lineage", _json("LoggedPredictionResponse"), *problems)
    return {**operation, "parameters": [_parameter("prediction_id", "path", "As in the response to the prediction.")]}


def _outcomes() -> Schema:
    problems = (
        *("malformed-json", "malformed-csv", "malformed-gzip", "unsupported-media-type", "unsupported-content-coding"),
        *("unknown-prediction", "invalid-outcome", "log-unavailable"),
    )
    operation = _get("Store outcomes of logged predictions", _json("OutcomesResponse"), *problems)
    operation["description"] = (
        "An object, an array or CSV. Valid outcomes of known predictions are stored, also if others are refused. An "
        "outcome that equals the last one of its prediction changes nothing; another one is stored as a correction."
    )
    operation["requestBody"] = {
        "required": True,
        "content": {
            JSON: {
                "schema": {"oneOf": [ref("Outcome"), ref("Outcomes")]},
                "examples": {
                    "one": {"summary": "One outcome", "value": example_outcome(NO_ID)},
                    "many": {"summary": "A list of outcomes", "value": [example_outcome(NO_ID)]},
                },
            },
            CSV: {
                "schema": {"type": "string", "description": f"A header with names of {', '.join(OUTCOME_FIELDS)}."},
                "examples": {"many": {"summary": "One outcome", "value": csv_of([example_outcome(NO_ID)])}},
            },
        },
    }
    return operation


def _form() -> Schema:
    operation = _get("Return the prediction form", _text(HTML))
    response = operation["responses"]["503"]
    response["description"] += "; an HTML page if no model is ready"
    response["content"] |= _text(HTML)
    return operation


def _file() -> Schema:
    operation = _get("Return a file of the pages", {"*/*": {}}, "not-found")
    return {**operation, "parameters": [_parameter("filename", "path", "Name of the file.")]}


def _parameter(name: str, place: str, description: str, schema: Schema | None = None) -> Schema:
    needed = {"required": True} if place == "path" else {}
    return {"name": name, "in": place, "description": description, "schema": schema or {"type": "string"}, **needed}


def _get(summary: str, content: Schema, *problems: str) -> Schema:
    responses: Schema = {"200": {"description": "Success.", "content": content}}
    by_status: defaultdict[int, list[str]] = defaultdict(list)
    for slug in (*problems, *COMMON_PROBLEMS):
        by_status[PROBLEMS[slug].status].append(slug)
    for status, slugs in sorted(by_status.items()):
        responses[str(status)] = _problem(status, slugs)
    return {"summary": summary, "responses": responses}


def _problem(status: int, slugs: Sequence[str]) -> Schema:
    description = "; ".join(f"{slug}: {PROBLEMS[slug].when}" for slug in slugs)
    schema = {
        "allOf": [ref("ProblemDocument"), {"properties": {"type": {"enum": [TYPE_PREFIX + slug for slug in slugs]}}}]
    }
    if slugs == ["invalid-outcome"]:
        schema["allOf"].append({"required": ["errors", "results"]})
    if slugs == ["unknown-prediction"]:
        schema["allOf"].append({"required": ["results"]})
    if slugs == ["invalid-record"]:
        schema["allOf"].append({"required": ["errors"]})
    response: Schema = {"description": description, "content": {MEDIA_TYPE: {"schema": schema}}}
    return {**response, **_header(status)}


def _header(status: int) -> Schema:
    if status not in _HEADERS:
        return {}
    name, kind, description = _HEADERS[status]
    return {"headers": {name: {"schema": kind, "description": description}}}


def _json(name: str) -> Schema:
    return {JSON: {"schema": ref(name)}}


def _text(media_type: str) -> Schema:
    return {media_type: {"schema": {"type": "string"}}}
