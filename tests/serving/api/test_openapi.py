"""GET /openapi.json describes what the service does, completely and correctly."""

import json
from pathlib import Path
from typing import Any

import jsonschema_rs
import msgspec
import pytest
from schemathesis.specs.openapi.definitions import OPENAPI_31
from werkzeug.test import TestResponse

from serving.api.examples import csv_of, invalid
from serving.problems import TYPE_PREFIX
from serving.settings import Settings
from tests.serving.fakes import CONTRACT, RECORD, FakeRegistry, Service, expected_probability, make_bundle

NO_DATABASE = "postgresql://nobody@127.0.0.1:1/none"  # predictions stay in the queue, where they are found, too


@pytest.fixture
def api(service: Service) -> dict[str, Any]:
    """The OpenAPI document."""
    return service.get("/openapi.json")


@pytest.fixture
def logging_service(registry: FakeRegistry, settings: Settings) -> Service:
    """A service with a prediction log."""
    registry.register(make_bundle())
    return Service(msgspec.structs.replace(settings, prediction_log_url=NO_DATABASE)).poll()


def errors_of(schema: dict[str, Any], value: Any) -> list[str]:
    validator = jsonschema_rs.Draft202012Validator(schema, validate_formats=True)
    return [f"{error.instance_path}: {error.message}" for error in validator.iter_errors(value)]


def assert_as_documented(api: dict[str, Any], path: str, response: TestResponse, method: str = "get") -> None:
    """Check that status, media type, headers and body are documented for the operation at ``path``."""
    documented = api["paths"][path][method]["responses"][str(response.status_code)]
    schema = documented["content"][response.mimetype]["schema"]
    if response.mimetype.endswith("json"):
        assert errors_of({**schema, "components": api["components"]}, json.loads(response.data)) == []
    assert set(documented.get("headers", {})) <= set(response.headers.keys())


def test_it_is_openapi_3_1_and_its_schemas_are_json_schemas(api: dict[str, Any]) -> None:
    assert api["openapi"] == "3.1.0"
    assert errors_of(OPENAPI_31, api) == []
    for schema in api["components"]["schemas"].values():
        jsonschema_rs.meta.validate({**schema, "$schema": "https://json-schema.org/draft/2020-12/schema"})


def test_it_documents_every_path_and_method_and_no_other(service: Service, api: dict[str, Any]) -> None:
    routed = {
        (rule.rule.replace("<path:", "{").replace("<", "{").replace(">", "}"), method.lower())
        for rule in service.app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }

    assert {(path, method) for path, methods in api["paths"].items() for method in methods} == routed


def test_it_has_the_contract_of_the_served_version(registry: FakeRegistry, service: Service) -> None:
    before = service.get("/openapi.json")
    newer = {**CONTRACT, "x-version": "3.0.0", "required": ["age", "chol", "sex"]}
    reference = {"records": [RECORD], "probabilities": [expected_probability(RECORD, -2.0)]}
    bundle = make_bundle(contract=newer, reference=reference)
    about = json.loads(bundle["manifest.json"])
    about["model"]["contract_version"] = "3.0.0"

    registry.register({**bundle, "manifest.json": json.dumps(about).encode()})
    after = service.poll().get("/openapi.json")

    assert (before["info"]["version"], after["info"]["version"]) == ("2.1.0", "3.0.0")
    assert before["components"]["schemas"]["Record"]["properties"] == CONTRACT["properties"]
    assert after["components"]["schemas"]["Record"]["required"] == ["age", "chol", "sex"]


def test_its_examples_are_valid_under_its_schemas(api: dict[str, Any]) -> None:
    predict = api["paths"]["/predict"]["post"]
    for part in (predict["requestBody"], predict["responses"]["200"]):
        shown = part["content"]["application/json"]
        for example in shown["examples"].values():
            assert errors_of({**shown["schema"], "components": api["components"]}, example["value"]) == []


def test_its_example_responses_are_those_to_its_example_requests(service: Service, api: dict[str, Any]) -> None:
    predict = api["paths"]["/predict"]["post"]
    for name in ("one", "many"):
        asked = predict["requestBody"]["content"]["application/json"]["examples"][name]["value"]
        example = predict["responses"]["200"]["content"]["application/json"]["examples"][name]["value"]
        answer = service.client.post("/predict", json=asked).get_json()
        for prediction in [answer, *answer.get("predictions", [])]:
            if "prediction_id" in prediction:
                prediction["prediction_id"] = "00000000-0000-4000-8000-000000000000"
        assert answer == example

    table = predict["requestBody"]["content"]["text/csv"]["examples"]["many"]["value"]
    answer = service.client.post("/predict", data=table, content_type="text/csv").get_json()
    assert [p["probability"] for p in answer["predictions"]] == [p["probability"] for p in example["predictions"]]


@pytest.mark.parametrize("query", ["", "?explain=true"])
def test_predictions_are_as_documented(service: Service, api: dict[str, Any], query: str) -> None:
    for sent in (
        {"json": RECORD},
        {"json": [RECORD, {"age": 50, "sex": 0}]},
        {"data": csv_of([RECORD]), "content_type": "text/csv"},
    ):
        response = service.client.post(f"/predict{query}", **sent)
        assert response.status_code == 200
        assert_as_documented(api, "/predict", response, "post")


@pytest.mark.parametrize(
    ("query", "sent", "status", "slug"),
    [
        ("", {"data": b"{", "content_type": "application/json"}, 400, "malformed-json"),
        ("", {"data": b"a,b", "content_type": "text/csv"}, 400, "malformed-csv"),
        ("?explain=perhaps", {"json": RECORD}, 400, "invalid-parameter"),
        ("", {"json": [RECORD] * 101}, 413, "content-too-large"),
        ("", {"data": b"x" * 20_001, "content_type": "application/json"}, 413, "content-too-large"),
        ("", {"data": b"x", "content_type": "text/plain"}, 415, "unsupported-media-type"),
        ("", {"json": invalid(CONTRACT, RECORD)[1]}, 422, "invalid-record"),
    ],
)
def test_problems_are_as_documented(
    service: Service, api: dict[str, Any], query: str, sent: dict[str, Any], status: int, slug: str
) -> None:
    response = service.client.post(f"/predict{query}", **sent)

    assert (response.status_code, json.loads(response.data)["type"]) == (status, TYPE_PREFIX + slug)
    assert_as_documented(api, "/predict", response, "post")


def test_other_responses_are_as_documented(service: Service, api: dict[str, Any]) -> None:
    paths = [path for path in api["paths"] if "{" not in path and "get" in api["paths"][path]]
    assert len(paths) >= 7
    for path in paths:
        response = service.client.get(path)
        assert response.status_code == 200
        assert_as_documented(api, path, response)


def test_responses_without_a_model_are_as_documented(api: dict[str, Any], settings: Settings, tmp_path: Path) -> None:
    empty = Service(msgspec.structs.replace(settings, cache=str(tmp_path / "empty")))
    for path in ("/model", "/readyz", "/openapi.json", "/docs", "/"):
        response = empty.client.get(path)
        assert response.status_code == 503
        assert_as_documented(api, path, response)
    assert_as_documented(api, "/predict", empty.client.post("/predict", json=RECORD), "post")


def test_the_prediction_log_is_as_documented(service: Service, logging_service: Service, api: dict[str, Any]) -> None:
    known = logging_service.client.post("/predict", json=RECORD).get_json()["prediction_id"]
    assert_as_documented(api, "/readyz", logging_service.client.get("/readyz"))
    for asked, name, status in ((logging_service, known, 200), (service, known, 503)):
        response = asked.client.get(f"/predictions/{name}")
        assert response.status_code == status
        assert_as_documented(api, "/predictions/{prediction_id}", response)


def test_it_documents_authentication_if_keys_are_required(registry: FakeRegistry, settings: Settings) -> None:
    from serving.api.openapi import document

    registry.register(make_bundle())
    served = Service(settings).poll().store.status.served
    assert served is not None
    api = document(served, msgspec.structs.replace(settings, api_keys="keys"))

    assert errors_of(OPENAPI_31, api) == []
    asking = {path for path, methods in api["paths"].items() for method in methods.values() if "security" in method}
    assert asking == set(api["paths"]) - {"/healthz", "/readyz"}
    assert set(api["components"]["securitySchemes"]) == {"bearer", "key", "browser"}
    assert all("401" in api["paths"][path][method]["responses"] for path in asking for method in api["paths"][path])
