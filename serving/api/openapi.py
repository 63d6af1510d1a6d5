"""The OpenAPI 3.1 document of the service, made from the contract of the model that is served."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from flask import Flask, Response, current_app

from serving.api import auth
from serving.api.examples import csv_of, example_record, required_only
from serving.api.openapi_schemas import PROBLEM, PROBLEMS, Schema, all_schemas, ref
from serving.api.views import served_now
from serving.model.model_store import Served
from serving.model.predict import predict
from serving.model.records import Contract
from serving.settings import Settings

JSON, CSV, HTML, PROBLEM_JSON = "application/json", "text/csv", "text/html", "application/problem+json"
NO_ID = "00000000-0000-4000-8000-000000000000"
# What a client is told beside a problem's document, by status.
_HEADERS: dict[int, tuple[str, Schema, str]] = {
    401: ("WWW-Authenticate", {"type": "string"}, "How to say who asks."),
    415: ("Accept-Post", {"type": "string"}, "The media types that are read."),
    503: ("Retry-After", {"type": "integer", "minimum": 0}, "Seconds until it is worth asking again."),
}
# What every path may answer: most of it before the path is looked at.
ANYWHERE = (
    "malformed-request",
    "too-slow",
    "too-large",
    "head-too-large",
    "internal-error",
    "unknown-transfer-coding",
    "busy",
)
_DESCRIPTION = (
    "Answers whether a patient has heart disease, with the model that the registry's alias names. "
    "Every error, on every path, is a problem document."
)


def install(app: Flask) -> None:
    """Answer ``GET /openapi.json``."""

    @app.get("/openapi.json")
    def openapi() -> Response:
        """Return the document for the model that answers now."""
        settings: Settings = current_app.extensions["settings"]
        return Response(msgspec.json.encode(document(served_now(), settings)), mimetype=JSON)


def document(served: Served, settings: Settings) -> dict[str, Any]:
    """Return the OpenAPI document of a service that runs with ``settings`` and answers with ``served``."""
    contract = served.model.contract
    paths = {
        "/predict": {"post": _predict(served)},
        "/model": {"get": _get("Describe the served model, its scores and its contract", _json("Served"), "not-ready")},
        "/predictions/{prediction_id}": {"get": _logged()},
        "/readyz": {"get": _get("Say whether a model answers in every worker", _json("Ready"), "not-ready")},
        "/healthz": {"get": _get("Say that the process lives", _json("Health"))},
        "/metrics": {"get": _get("Return the counts, for Prometheus", _text("text/plain"))},
        "/openapi.json": {"get": _get("Return this document", {JSON: {"schema": {"type": "object"}}}, "not-ready")},
        "/docs": {"get": _get("Return this document as a page", _text(HTML), "not-ready")},
        "/": {"get": _form()},
        "/static/{filename}": {"get": _file()},
    }
    schemes = _ask_for_keys(paths) if settings.api_keys else {}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Heartline", "version": contract.version, "description": _DESCRIPTION},
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": all_schemas(contract, settings.max_records),
            **({"securitySchemes": schemes} if schemes else {}),
        },
    }


def _ask_for_keys(paths: Schema) -> Schema:
    """Note at all ``paths`` but the open ones that they need a key, and return the ways to send it."""
    for path, methods in paths.items():
        if path not in auth.OPEN_PATHS:
            for operation in methods.values():
                operation["security"] = [{"bearer": []}, {"key": []}, {"browser": []}]
                operation["responses"]["401"] = _problem(401, ["unauthorized"])
    return {
        "bearer": {"type": "http", "scheme": "bearer"},
        "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
        "browser": {"type": "http", "scheme": "basic", "description": "The key is the password."},
    }


def _predict(served: Served) -> Schema:
    contract = served.model.contract
    one = example_record(contract.schema)
    two = [one, required_only(contract.schema, one)]
    answers = [{**msgspec.to_builtins(found), "prediction_id": NO_ID} for found in predict(served.model, two)]
    told = served.describe()
    operation = _get(
        "Predict for one record or for many",
        {
            JSON: {
                "schema": {"oneOf": [ref("Answer"), ref("Answers")]},
                "examples": {
                    "one": {"summary": "The answer to one record", "value": {**answers[0], "model": told}},
                    "many": {"summary": "The answer to an array", "value": {"predictions": answers, "model": told}},
                },
            }
        },
        *(
            "malformed-json",
            "malformed-csv",
            "invalid-parameter",
            "not-explainable",
            "unsupported-media-type",
        ),
        *("invalid-record", "not-ready"),
    )
    operation["description"] = (
        "An object gets one answer, an array or CSV a list of them, all from the same version. Fields come in any "
        "order; those that the contract lets be missing may be absent or null, in CSV empty."
    )
    explain = {"type": "boolean", "default": False}
    operation["parameters"] = [
        _parameter("explain", "query", "Whether to add what each value contributes to the answer.", explain),
        _parameter("X-Request-ID", "header", "A name for the request, which the log keeps."),
    ]
    operation["requestBody"] = {"required": True, "content": _bodies(contract, one, two)}
    return operation


def _bodies(contract: Contract, one: Mapping[str, Any], two: Sequence[Mapping[str, Any]]) -> Schema:
    return {
        JSON: {
            "schema": {"oneOf": [ref("Record"), ref("Records")]},
            "examples": {
                "one": {"summary": "One record", "value": one},
                "many": {"summary": "Two records; the second leaves out what may be missing", "value": two},
            },
        },
        CSV: {
            "schema": {"type": "string", "description": f"A header with the names {', '.join(contract.features)}."},
            "examples": {"many": {"summary": "Two records", "value": csv_of(two)}},
        },
    }


def _logged() -> Schema:
    problems = ("not-found", "unknown-prediction", "log-away")
    operation = _get("Return a prediction from the log, and where it came from", _json("Logged"), *problems)
    return {**operation, "parameters": [_parameter("prediction_id", "path", "As the answer gave it.")]}


def _form() -> Schema:
    operation = _get("Return a page with a form", _text(HTML))
    response = operation["responses"]["503"]
    response["description"] += "; a page where there is no model yet"
    response["content"] |= _text(HTML)
    return operation


def _file() -> Schema:
    operation = _get("Return a file that the pages load", {"*/*": {}}, "not-found")
    return {**operation, "parameters": [_parameter("filename", "path", "A name that a page refers to.")]}


def _parameter(name: str, place: str, description: str, schema: Schema | None = None) -> Schema:
    needed = {"required": True} if place == "path" else {}
    return {"name": name, "in": place, "description": description, "schema": schema or {"type": "string"}, **needed}


def _get(summary: str, content: Schema, *problems: str) -> Schema:
    responses: Schema = {"200": {"description": "Success.", "content": content}}
    by_status: defaultdict[int, list[str]] = defaultdict(list)
    for slug in (*problems, *ANYWHERE):
        by_status[PROBLEMS[slug][0]].append(slug)
    for status, slugs in sorted(by_status.items()):
        responses[str(status)] = _problem(status, slugs)
    return {"summary": summary, "responses": responses}


def _problem(status: int, slugs: Sequence[str]) -> Schema:
    told = "; ".join(f"{slug}: {PROBLEMS[slug][1]}" for slug in slugs)
    schema = {"allOf": [ref("Problem"), {"properties": {"type": {"enum": [PROBLEM + slug for slug in slugs]}}}]}
    if slugs == ["invalid-record"]:
        schema["allOf"].append({"required": ["errors"]})
    response: Schema = {"description": told, "content": {PROBLEM_JSON: {"schema": schema}}}
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
