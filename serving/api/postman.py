"""The Postman collection of the service, made from a contract.

``python -m serving.api.postman contract.json > serving/postman_collection.json``, with the contract of any bundle.
"""

import json
import sys
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from serving.api.auth import OUTCOMES_PATH
from serving.api.examples import csv_of, example_outcome, example_record, invalid, required_only
from serving.problems import TYPE_PREFIX

FORMAT = "https://schema.getpostman.com/json/collection/v2.1.0/collection.json"
JSON, CSV = "application/json", "text/csv"
_VARIABLES = {"baseUrl": "http://127.0.0.1:8080", "apiKey": "", "predictionId": ""}

Item = dict[str, Any]


def collection(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return the collection, format 2.1, of a service whose model has the contract ``schema``."""
    one = example_record(schema)
    return {
        "info": {
            "_postman_id": str(uuid.uuid5(uuid.NAMESPACE_URL, "urn:heartline:postman")),
            "name": "Heartline",
            "description": f"Requests with tests, for records as contract {schema['x-version']} describes them. "
            "Set baseUrl, and apiKey if the service requires one.",
            "schema": FORMAT,
        },
        "auth": {
            "type": "apikey",
            "apikey": [
                {"key": "key", "value": "X-API-Key", "type": "string"},
                {"key": "value", "value": "{{apiKey}}", "type": "string"},
                {"key": "in", "value": "header", "type": "string"},
            ],
        },
        "variable": [{"key": key, "value": value, "type": "string"} for key, value in _VARIABLES.items()],
        "item": [
            {"name": "Predictions", "item": _predictions(schema, one)},
            {"name": "Outcomes", "item": _outcomes()},
            {"name": "Errors", "item": _refusals(schema, one)},
            {"name": "The service", "item": _service(schema)},
        ],
    }


def _predictions(schema: Mapping[str, Any], one: Mapping[str, Any]) -> list[Item]:
    short = required_only(schema, one)
    left_out = json.dumps([name for name in one if name not in short])
    several = [one, short]
    each = "answer.predictions.forEach((each) => pm.expect(each.has_heart_disease).to.be.a('boolean'));"
    return [
        _post(
            "One record",
            _text(one),
            "pm.expect(answer.has_heart_disease).to.be.a('boolean');",
            "pm.expect(answer.probability).to.be.within(0, 1);",
            "pm.expect(answer.imputed).to.eql([]);",
            "pm.expect(answer.model.version).to.be.a('string');",
            "pm.collectionVariables.set('predictionId', answer.prediction_id);",
        ),
        _get(
            "Logged prediction",
            "/predictions/{{predictionId}}",
            "if (pm.response.code === 503) {",
            # a service may run without a log
            f"  pm.expect(answer.type).to.eql('{TYPE_PREFIX}log-unavailable');",
            "} else {",
            "  pm.response.to.have.status(200);",
            "  pm.expect(answer.prediction_id).to.eql(pm.collectionVariables.get('predictionId'));",
            f"  pm.expect(answer.record).to.eql({json.dumps(one)});",
            "  pm.expect(answer.lineage.model.version).to.be.a('string');",
            "  pm.expect(answer.lineage.snapshot.sha256).to.have.lengthOf(64);",
            "}",
            status=None,
        ),
        _post(
            "Without the optional fields",
            _text(short),
            f"pm.expect(answer.imputed).to.eql({left_out});",
        ),
        _post("Several records", _text(several), "pm.expect(answer.predictions).to.have.lengthOf(2);", each),
        _post("CSV", csv_of(several), "pm.expect(answer.predictions).to.have.lengthOf(2);", each, media_type=CSV),
        _post(
            "One record, explained",
            _text(one),
            "pm.expect(answer.has_heart_disease).to.be.a('boolean');",
            f"pm.expect(answer.contributions.features).to.have.all.keys({json.dumps(list(one))});",
            path="/predict?explain=true",
        ),
    ]


def _outcomes() -> list[Item]:
    known = [
        # a service may run without a log
        f"if (pm.response.code === 503) return pm.expect(answer.type).to.eql('{TYPE_PREFIX}log-unavailable');",
        "pm.response.to.have.status(200);",
    ]
    sent = example_outcome("{{predictionId}}")
    row = "pm.expect(answer.results[0].result).to.be"
    return [
        _post(
            "Outcome of the prediction",
            _text(sent),
            *known,
            f"{row}.oneOf(['accepted', 'repeated']);",
            path=OUTCOMES_PATH,
            status=None,
        ),
        _post("The same again", _text([sent]), *known, f"{row}.eql('repeated');", path=OUTCOMES_PATH, status=None),
        _post(
            "A correction, as CSV",
            csv_of([{**sent, "outcome": 0, "num": 0}]),
            *known,
            f"{row}.eql('corrected');",
            "pm.expect(answer.results[0].revision).to.eql(2);",
            path=OUTCOMES_PATH,
            media_type=CSV,
            status=None,
        ),
        _post(
            "Invalid outcome",
            _text({**sent, "outcome": 0}),
            f"if (pm.response.code === 503) return pm.expect(answer.type).to.eql('{TYPE_PREFIX}log-unavailable');",
            "pm.response.to.have.status(422);",
            "pm.expect(answer.errors[0].pointer).to.eql('/num');",
            path=OUTCOMES_PATH,
            status=None,
        ),
    ]


def _refusals(schema: Mapping[str, Any], one: Mapping[str, Any]) -> list[Item]:
    name, wrong = invalid(schema, one)
    return [
        _post(
            "Invalid value",
            _text(wrong),
            "pm.expect(answer.errors).to.have.lengthOf(1);",
            f"pm.expect(answer.errors[0].pointer).to.eql('/{name}');",
            f"pm.expect(answer.errors[0].value).to.eql({wrong[name]});",
            "pm.expect(answer.errors[0].allowed).to.be.a('string').that.is.not.empty;",
            problem=(422, "invalid-record"),
        ),
        _post("Malformed JSON", '{"age": ', problem=(400, "malformed-json")),
        _post("Unsupported media type", _text(one), media_type="text/plain", problem=(415, "unsupported-media-type")),
        _get("Unknown path", "/unknown", problem=(404, "not-found")),
        _get("Unsupported method", "/predict", problem=(405, "method-not-allowed")),
    ]


def _service(schema: Mapping[str, Any]) -> list[Item]:
    version = json.dumps(schema["x-version"])
    return [
        _get(
            "Served model",
            "/model",
            f"pm.expect(answer.contract['x-version']).to.eql({version});",
            # a bundle may have no scores
            "if (answer.metrics === null) {",
            "  pm.expect(answer.metrics_reason).to.be.a('string').that.is.not.empty;",
            "} else {",
            "  pm.expect(answer.metrics.profile).to.be.a('string');",
            "  pm.expect(answer.metrics.cross_validation.roc_auc).to.include.all.keys('value', 'low', 'high', 'n');",
            "}",
        ),
        _get("Readiness", "/readyz", "pm.expect(answer.status).to.eql('ready');"),
        _get("Health", "/healthz", "pm.expect(answer.status).to.eql('ok');"),
        _get("OpenAPI", "/openapi.json", f"pm.expect(answer.info.version).to.eql({version});"),
        _get(
            "Metrics", "/metrics", "pm.expect(pm.response.text()).to.include('heartline_requests_total');", json_=False
        ),
    ]


def _post(name: str, body: str, *tests: str, path: str = "/predict", media_type: str = JSON, **expected: Any) -> Item:
    request = {
        "method": "POST",
        "header": [{"key": "Content-Type", "value": media_type}],
        "body": {"mode": "raw", "raw": body},
        "url": _url(path),
    }
    return {"name": name, "request": request, "event": [_test(tests, **expected)]}


def _get(name: str, path: str, *tests: str, **expected: Any) -> Item:
    return {"name": name, "request": {"method": "GET", "url": _url(path)}, "event": [_test(tests, **expected)]}


def _test(
    tests: Sequence[str], status: int | None = 200, problem: tuple[int, str] | None = None, json_: bool = True
) -> Item:
    """Return the script that checks a response: its status, its format, and the expressions ``tests``."""
    lines = []
    if problem:
        status, slug = problem
        lines += [
            "pm.expect(pm.response.headers.get('Content-Type')).to.eql('application/problem+json');",
            "const answer = pm.response.json();",
            f"pm.expect(answer.type).to.eql('{TYPE_PREFIX}{slug}');",
            f"pm.expect(answer.status).to.eql({status});",
        ]
    elif json_:
        lines += ["const answer = pm.response.json();"]
    if status:
        lines.insert(0, f"pm.response.to.have.status({status});")
    what = f"{problem[0]} {problem[1]}" if problem else "the response is as expected"
    script = [f"pm.test('{what}', () => {{", *(f"  {line}" for line in (*lines, *tests)), "});"]
    return {"listen": "test", "script": {"type": "text/javascript", "exec": script}}


def _url(path: str) -> dict[str, Any]:
    bare, _, query = path.partition("?")
    url: dict[str, Any] = {
        "raw": "{{baseUrl}}" + path,
        "host": ["{{baseUrl}}"],
        "path": bare.strip("/").split("/"),
    }
    if query:
        key, _, value = query.partition("=")
        url["query"] = [{"key": key, "value": value}]
    return url


def _text(value: Any) -> str:
    return json.dumps(value, indent=2)


if __name__ == "__main__":
    print(json.dumps(collection(json.loads(Path(sys.argv[1]).read_bytes())), indent=2))
