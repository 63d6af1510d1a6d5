"""The schemas of the OpenAPI document: records from the served contract, the rest from the types of responses."""

from typing import Any

import msgspec

from serving.api.responses import (
    HealthResponse,
    LoggedPredictionResponse,
    ModelResponse,
    OutcomesResponse,
    PredictionListResponse,
    PredictionResponse,
    ReadinessResponse,
)
from serving.model.records import Contract
from serving.prediction_log import outcomes
from serving.problems import PROBLEMS, TYPE_PREFIX, ProblemDocument

Schema = dict[str, Any]

RESPONSES = (
    PredictionResponse,
    PredictionListResponse,
    LoggedPredictionResponse,
    OutcomesResponse,
    ModelResponse,
    ReadinessResponse,
    HealthResponse,
    ProblemDocument,
)


def ref(name: str) -> Schema:
    """Return a reference to the schema ``name``."""
    return {"$ref": f"#/components/schemas/{name}"}


def all_schemas(contract: Contract, max_records: int) -> dict[str, Schema]:
    """Return every schema by name, for records that ``contract`` describes."""
    # its $id would be the base of references within it; $schema is the default of OpenAPI 3.1
    record = {key: value for key, value in contract.schema.items() if key not in ("$id", "$schema")}
    return {
        "Record": record,
        "Records": {"type": "array", "items": ref("Record"), "minItems": 1, "maxItems": max_records},
        "Outcome": dict(outcomes.SCHEMA),
        "Outcomes": {"type": "array", "items": ref("Outcome"), "minItems": 1, "maxItems": max_records},
        **_response_schemas(contract),
    }


def _response_schemas(contract: Contract) -> dict[str, Schema]:
    _, schemas = msgspec.json.schema_components(RESPONSES, ref_template="#/components/schemas/{name}")
    for schema in schemas.values():
        schema["additionalProperties"] = False
    # what the types cannot know: the fields of the served contract, and the table of problems
    for name in ("PredictionResponse", "ExplainedPrediction"):
        optional = list(contract.optional)
        schemas[name]["properties"]["imputed"]["items"] = {"enum": optional} if optional else False
    schemas["Explanation"]["properties"]["features"]["propertyNames"] = {"enum": list(contract.features)}
    problem = schemas["ProblemDocument"]["properties"]
    problem["type"]["enum"] = [TYPE_PREFIX + slug for slug in PROBLEMS]
    problem["status"]["enum"] = sorted({kind.status for kind in PROBLEMS.values()})
    return schemas
