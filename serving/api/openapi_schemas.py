"""The schemas of the OpenAPI document: the served contract's record, the answers, and the problems."""

from typing import Any

from serving.model.records import MOST_ERRORS, Contract

Schema = dict[str, Any]

PROBLEM = "urn:heartline:problem:"
# Every problem of the service: the last part of its type, its status, and when it is the answer.
PROBLEMS: dict[str, tuple[int, str]] = {
    "malformed-request": (400, "the request is not HTTP/1.1"),
    "malformed-json": (400, "the body is not unambiguous JSON"),
    "malformed-csv": (400, "the body is no table with a header"),
    "invalid-parameter": (400, "a parameter has no such value"),
    "unauthorized": (401, "the request has no key, or one that is not known here"),
    "not-found": (404, "there is nothing at this path"),
    "method-not-allowed": (405, "the path has other methods"),
    "unknown-prediction": (404, "the log has no prediction with this id"),
    "too-slow": (408, "the client took too long to send the request"),
    "not-explainable": (409, "the served model cannot be explained"),
    "too-large": (413, "too many bytes, or too many records"),
    "unsupported-media-type": (415, "the body is declared as something else"),
    "invalid-record": (422, "a field is missing, unknown, or not as the contract says; such fields are named"),
    "head-too-large": (431, "the head of the request is too large"),
    "internal-error": (500, "a fault of the service"),
    "unknown-transfer-coding": (501, "the body comes in a transfer coding other than chunked"),
    "not-ready": (503, "no model yet"),
    "busy": (503, "too many requests wait already"),
    "log-away": (503, "the log of predictions is switched off, or its database is away"),
}
_TIME: Schema = {"type": "string", "format": "date-time"}
_TEXT: Schema = {"type": "string"}


def ref(name: str) -> Schema:
    """Return a reference to the schema ``name``."""
    return {"$ref": f"#/components/schemas/{name}"}


def all_schemas(contract: Contract, max_records: int) -> dict[str, Schema]:
    """Return every schema by name, for records as ``contract`` describes them."""
    # its own $id would make references within it relative to that, and $schema is what OpenAPI 3.1 uses anyway
    record = {key: value for key, value in contract.schema.items() if key not in ("$id", "$schema")}
    return {
        "Record": record,
        "Records": {"type": "array", "items": ref("Record"), "minItems": 1, "maxItems": max_records},
        **_answers(contract),
        **_metrics(),
        **_states(),
        **_problems(),
    }


def closed(properties: dict[str, Schema], *, optional: tuple[str, ...] = (), description: str = "") -> Schema:
    """Return the schema of an object that has these properties and no other."""
    schema: Schema = {"description": description} if description else {}
    required = [name for name in properties if name not in optional]
    return {**schema, "type": "object", "properties": properties, "required": required, "additionalProperties": False}


def _or_null(schema: Schema) -> Schema:
    return {**schema, "type": [schema["type"], "null"]}


def _answers(contract: Contract) -> dict[str, Schema]:
    names: Schema = {"enum": list(contract.features)}
    contribution = closed(
        {
            "value": {
                "type": ["number", "null"],
                "description": "As the record has it; null where the model fills in.",
            },
            "contribution": {"type": "number", "description": "What the value adds to the base, on the scale."},
            "standard_error": {"type": "number", "minimum": 0, "description": "Where the contribution is an estimate."},
        },
        optional=("standard_error",),
    )
    explanation = closed(
        {
            "scale": {"enum": ["log_odds", "probability"]},
            "method": {"enum": ["exact", "sampled"]},
            "base": {"type": "number", "description": "The answer for a record of which nothing is known."},
            "features": {"type": "object", "propertyNames": names, "additionalProperties": contribution},
        },
        description="Base and contributions add up to the answer.",
    )
    prediction: dict[str, Schema] = {
        "prediction_id": {"type": "string", "format": "uuid"},
        "has_heart_disease": {"type": "boolean", "description": "Whether the probability reaches the threshold."},
        "probability": {"type": "number", "minimum": 0, "maximum": 1, "description": "Of heart disease."},
        "imputed": {
            "type": "array",
            "items": {"enum": list(contract.optional)} if contract.optional else False,
            "uniqueItems": True,
            "description": "The fields that were missing, and that the model filled in.",
        },
        "contributions": {**ref("Explanation"), "description": "With explain=true only."},
    }
    model = closed(
        {
            "name": _TEXT,
            "version": _TEXT,
            "alias": _TEXT,
            "family": {**_TEXT, "description": "The kind of model."},
            "origin": {**_TEXT, "description": "Where the training data came from; sample: synthetic."},
            "snapshot": {**_TEXT, "description": "Digest of the training data."},
            "trained_at": _or_null(_TIME),
            "run_id": {**_or_null(_TEXT), "description": "The run that trained it."},
            "contract_version": _TEXT,
        },
        description="The model that answered.",
    )
    return {
        "Explanation": explanation,
        "Prediction": closed(prediction, optional=("contributions",), description="The answer for one record."),
        "Answer": closed({**prediction, "model": ref("Model")}, optional=("contributions",)),
        "Answers": closed({"predictions": {"type": "array", "items": ref("Prediction")}, "model": ref("Model")}),
        "Model": model,
        "Logged": _logged(prediction),
    }


def _logged(prediction: dict[str, Schema]) -> Schema:
    model = closed(dict.fromkeys(("name", "version", "alias", "family", "contract_version", "bundle"), _TEXT))
    lineage = closed(
        {
            "model": model,
            "run": closed({"id": _or_null(_TEXT), "trained_at": _or_null(_TIME)}),
            "snapshot": closed({"sha256": _TEXT, "origin": _TEXT}),
            "source": {**_or_null(_TEXT), "description": "Where the training data was read from."},
        },
        description="From the answer back to the data.",
    )
    return closed(
        {
            "prediction_id": prediction["prediction_id"],
            "time": _TIME,
            "request_id": {
                **_TEXT,
                "description": "As the client sent it, else the first prediction_id of the request.",
            },
            "row": {"type": "integer", "minimum": 0, "description": "Of the record in its request."},
            "record": {"type": "object", "description": "As the contract of that time allowed it."},
            "has_heart_disease": prediction["has_heart_disease"],
            "probability": prediction["probability"],
            "imputed": {"type": "array", "items": _TEXT},
            "lineage": lineage,
        },
        description="A logged answer.",
    )


def _metrics() -> dict[str, Schema]:
    score = closed(
        {
            "value": {"type": ["number", "null"], "description": "Null where it is not defined."},
            "low": {"type": ["number", "null"], "description": "Lower end; null where there is no interval."},
            "high": {"type": ["number", "null"], "description": "Upper end; null where there is no interval."},
            "n": {
                "type": "integer",
                "minimum": 0,
                "description": "Records that it is about: for recall the sick, for precision those called sick.",
            },
            "note": {**_TEXT, "description": "Why something is null."},
        },
        optional=("note",),
        description="A score with its 95 % interval.",
    )
    scores: Schema = {"type": "object", "additionalProperties": ref("Score")}
    metrics = closed(
        {
            "profile": {**_TEXT, "description": "How thoroughly it was evaluated; quick is for trying things out."},
            "cross_validation": {
                **scores,
                "description": "Of the training records, each answered by models that did not see it.",
            },
            "holdout": {**scores, "description": "Of records that nothing was fitted or chosen on."},
        },
        description="The scores that training measured, by name.",
    )
    return {"Score": score, "Metrics": metrics}


def _states() -> dict[str, Schema]:
    followed: dict[str, Schema] = {
        "registry": closed(
            {
                "heard": {"type": "boolean"},
                "last_heard": _or_null(_TIME),
                "reason": {**_or_null(_TEXT), "description": "Why it is not heard, or offers nothing."},
            }
        ),
        "refused": {**_or_null(_TEXT), "description": "Which version is not served, and why."},
        "prediction_log": {"oneOf": [closed({"on": {"const": False}}), _log()], "description": "The log, now."},
    }
    return {
        "Health": closed({"status": {"const": "ok"}}),
        "Ready": closed(
            {
                "status": {"const": "ready"},
                "model": ref("Model"),
                **followed,
                "keys": {**_or_null(_TEXT), "description": "Why the file of keys is not in force."},
            }
        ),
        "Served": closed(
            {
                "model": ref("Model"),
                "bundle": {**_TEXT, "description": "Digest of the model's manifest."},
                "threshold": {"type": "number", "minimum": 0, "maximum": 1},
                "since": _TIME,
                "metrics": {"oneOf": [ref("Metrics"), {"type": "null"}], "description": "How good the model is."},
                "metrics_reason": {**_or_null(_TEXT), "description": "Why there are no metrics."},
                **followed,
                "contract": {"type": "object", "description": "JSON Schema of a record."},
            }
        ),
    }


def _log() -> Schema:
    counts: dict[str, Schema] = {
        name: {"type": "integer", "minimum": 0} for name in ("waiting", "written", "spilled", "dropped")
    }
    away: dict[str, Schema] = {
        "since": {**_or_null(_TIME), "description": "Since when its database is away."},
        "reason": _or_null(_TEXT),
    }
    return closed({"on": {"const": True}, **counts, **away})


def _problems() -> dict[str, Schema]:
    problem: dict[str, Schema] = {
        "type": {"enum": [PROBLEM + slug for slug in PROBLEMS], "description": "A program may branch on it."},
        "title": _TEXT,
        "status": {"enum": sorted({status for status, _ in PROBLEMS.values()})},
        "detail": {**_TEXT, "description": "What was wrong this time."},
        "expected": {**_TEXT, "description": "What would have been right."},
        "hint": {**_TEXT, "description": "The next step."},
        "instance": {**_TEXT, "description": "The path of the request."},
        "errors": {
            "type": "array",
            "items": ref("FieldError"),
            "minItems": 1,
            "description": f"Each bad field; beyond {MOST_ERRORS} the last entries say how many more there are.",
        },
    }
    error: dict[str, Schema] = {
        "pointer": {**_TEXT, "description": "JSON pointer (RFC 6901) to the field in the body."},
        "detail": _TEXT,
        "allowed": _TEXT,
        "value": {"description": "What the field holds; absent where the field is."},
    }
    return {
        "Problem": closed(problem, optional=("errors",), description="A problem document (RFC 9457)."),
        "FieldError": closed(error, optional=("value",), description="One bad field, or how many more there are."),
    }
