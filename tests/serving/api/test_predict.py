"""POST /predict: predictions and errors."""

import io
import json
import uuid
from typing import Any

import pytest
from werkzeug.test import TestResponse

from tests.serving.fakes import RECORD, Service, expected_probability

MODEL = {
    "name": "heart-disease",
    "version": "1",
    "alias": "production",
    "family": "logistic_regression",
    "origin": "sample",
    "snapshot": "5" * 64,
    "trained_at": None,
    "run_id": "r1",
    "contract_version": "2.1.0",
}
FIELDS = "sex, age, chol, ca"


def assert_problem(response: TestResponse, **expected: Any) -> None:
    """Check that the response is exactly this problem document."""
    assert response.content_type == "application/problem+json"
    document = json.loads(response.data)
    assert document == expected
    assert response.status_code == document["status"]


def post(service: Service, body: str | bytes) -> TestResponse:
    return service.client.post("/predict", data=body, content_type="application/json")


def post_stream(service: Service, body: bytes, declared: bool) -> TestResponse:
    """Send ``body`` with its length, or without it, as gunicorn passes on chunked bodies."""
    return service.client.post(
        "/predict",
        input_stream=io.BytesIO(body),
        content_type="application/json",
        content_length=len(body) if declared else None,
        environ_overrides={"wsgi.input_terminated": True},
    )


def test_one_record_gets_one_prediction(service: Service) -> None:
    response = service.client.post("/predict", json=RECORD)

    assert response.status_code == 200
    assert response.content_type == "application/json"
    answer = response.get_json()
    assert set(answer) == {"prediction_id", "has_heart_disease", "probability", "imputed", "model"}
    assert uuid.UUID(answer["prediction_id"]).version == 4
    assert answer["has_heart_disease"] is True
    assert answer["probability"] == pytest.approx(expected_probability(RECORD, -2.0), abs=1e-6)
    assert answer["imputed"] == []
    assert answer["model"] == MODEL


def test_a_list_gets_a_list_in_its_order_and_names_the_model_once(service: Service) -> None:
    records: list[dict[str, Any]] = [{**RECORD, "age": age} for age in (20, 40, 60)]

    answer = service.client.post("/predict", json=records).get_json()

    assert set(answer) == {"predictions", "model"}
    assert answer["model"] == MODEL
    assert all(
        set(p) == {"prediction_id", "has_heart_disease", "probability", "imputed"} for p in answer["predictions"]
    )
    assert [p["probability"] for p in answer["predictions"]] == pytest.approx(
        [expected_probability(record, -2.0) for record in records], abs=1e-6
    )
    assert len({p["prediction_id"] for p in answer["predictions"]}) == 3


@pytest.mark.parametrize(
    ("record", "imputed"),
    [
        ({"ca": 1, "chol": 200, "sex": 0, "age": 50}, []),
        ({"age": 50, "sex": 0, "chol": None, "ca": 3}, ["chol"]),
        ({"age": 50, "sex": 0}, ["chol", "ca"]),
        ({"age": 50.0, "sex": 0.0, "ca": None}, ["chol", "ca"]),
    ],
    ids=["other order", "null", "absent", "floats without fraction"],
)
def test_fields_may_be_in_any_order_and_the_model_imputes_optional_ones(
    service: Service, record: dict[str, Any], imputed: list[str]
) -> None:
    answer = service.client.post("/predict", json=record).get_json()

    assert answer["imputed"] == imputed
    assert answer["probability"] == pytest.approx(expected_probability(record, -2.0), abs=1e-6)


def test_the_probability_is_the_shortest_decimal_of_its_float32(service: Service) -> None:
    assert len(str(service.client.post("/predict", json=RECORD).get_json()["probability"])) <= 12


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (b'{"age": 1', "Expecting ',' delimiter at line 1, column 10"),
        (b"{age: 1}", "Expecting property name enclosed in double quotes at line 1, column 2"),
        (b'{"age": NaN}', "NaN is not a JSON number"),
        (b'{"age": Infinity}', "Infinity is not a JSON number"),
        (b'{"age": -Infinity}', "-Infinity is not a JSON number"),
        (b'{"age": 1e400}', "the number 1e400 is too large"),
        (b'{"age": 1, "sex": 0, "age": 2}', "the key 'age' occurs twice in one object"),
        (b'[{"age": 1}, {"x": {"a": 1, "a": 1}}]', "the key 'a' occurs twice in one object"),
        (b'{"age": ' + b"9" * 5000 + b"}", "a number has too many digits"),
        (b'{"age": "\xff"}', "byte 9 is not UTF-8"),
        (b"[" * 20_000, "the body is nested too deeply"),
        (b"", "the body is empty"),
        (b" \n", "the body is empty"),
        (b"\xef\xbb\xbf", "the body is empty"),
        ('{"age": 61}'.encode("utf-16"), "the body is in UTF-16 or UTF-32, not in UTF-8"),
        ('{"age": 61}'.encode("utf-16-le"), "the body is in UTF-16 or UTF-32, not in UTF-8"),
        ('{"age": 61}'.encode("utf-32"), "the body is in UTF-16 or UTF-32, not in UTF-8"),
    ],
    ids=lambda value: value[:20] if isinstance(value, str) else "",
)
def test_malformed_or_ambiguous_json_is_400(service: Service, body: bytes, detail: str) -> None:
    assert_problem(
        post(service, body),
        type="urn:heartline:problem:malformed-json",
        title="Malformed JSON",
        status=400,
        detail=detail,
        expected="one JSON object, or an array of objects (RFC 8259), in UTF-8",
        hint="correct the body",
        instance="/predict",
    )


def test_every_invalid_field_is_reported_with_its_value_and_what_is_allowed(service: Service) -> None:
    record = {"age": 60.5, "chol": 1e9, "ca": True, "name": "Ann", "a/b~c": 1}

    response = post(service, json.dumps(record))

    assert_problem(
        response,
        type="urn:heartline:problem:invalid-record",
        title="Invalid record",
        status=422,
        detail="6 fields violate the contract",
        expected="records as GET /model describes them under contract",
        hint="correct each field in errors",
        errors=[
            {"pointer": "/sex", "detail": "the field is missing", "allowed": "0 (female), 1 (male)"},
            {
                "pointer": "/age",
                "detail": "the value is not allowed",
                "allowed": "a whole number from 1 to 120 years",
                "value": 60.5,
            },
            {
                "pointer": "/chol",
                "detail": "the value is not allowed",
                "allowed": "a number from 50 to 1000, or null",
                "value": 1e9,
            },
            {"pointer": "/ca", "detail": "the value is not allowed", "allowed": "0, 1, 2, 3, or null", "value": True},
            {
                "pointer": "/name",
                "detail": "the contract has no such field",
                "allowed": f"only {FIELDS}",
                "value": "Ann",
            },
            {
                "pointer": "/a~1b~0c",
                "detail": "the contract has no such field",
                "allowed": f"only {FIELDS}",
                "value": 1,
            },
        ],
        instance="/predict",
    )


def test_the_pointer_in_a_list_starts_with_the_position(service: Service) -> None:
    response = service.client.post("/predict", json=[RECORD, {**RECORD, "age": 0}, 7, {**RECORD, "sex": None}])

    document = json.loads(response.data)
    assert response.status_code == 422
    assert document["errors"] == [
        {
            "pointer": "/1/age",
            "detail": "the value is not allowed",
            "allowed": "a whole number from 1 to 120 years",
            "value": 0,
        },
        {
            "pointer": "/2",
            "detail": "a record is an object",
            "allowed": f"an object with the fields {FIELDS}",
            "value": 7,
        },
        {
            "pointer": "/3/sex",
            "detail": "the value is not allowed",
            "allowed": "0 (female), 1 (male)",
            "value": None,
        },
    ]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("2", "2"),
        ("x" * 500, "x" * 100 + "…"),
        ([2], "[2]"),
        ({"a": [1]}, '{"a": [1]}'),
        (False, False),
        (2.7, 2.7),
        (10**40, "1" + "0" * 40),
        (-1, -1),
        ("\ud800", "?"),
    ],
    ids=["text", "long text", "list", "object", "boolean", "fraction", "huge", "negative", "lone surrogate"],
)
def test_only_listed_codes_are_valid(service: Service, value: Any, shown: Any) -> None:
    response = service.client.post("/predict", json={**RECORD, "ca": value})

    document = json.loads(response.data)
    assert (response.status_code, document["type"]) == (422, "urn:heartline:problem:invalid-record")
    assert document["errors"] == [
        {"pointer": "/ca", "detail": "the value is not allowed", "allowed": "0, 1, 2, 3, or null", "value": shown}
    ]


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("age", True, True),
        ("chol", False, False),
        ("sex", True, True),
        ("age", 60.5, 60.5),
        ("age", 10**30, "1" + "0" * 30),
        ("chol", 10**400, "1" + "0" * 99 + "…"),
        ("chol", -(10**400), "-1" + "0" * 98 + "…"),
        ("chol", 1e308, 1e308),
        ("chol", "250", "250"),
        ("chol", [250], "[250]"),
        ("age", None, None),
    ],
    ids=["true", "false", "true as a code", "fraction", "huge", "huger", "low", "wide", "text", "list", "null"],
)
def test_only_json_numbers_are_valid_numbers(service: Service, name: str, value: Any, shown: Any) -> None:
    response = service.client.post("/predict", json={**RECORD, name: value})

    assert response.status_code == 422
    (error,) = json.loads(response.data)["errors"]
    assert (error["pointer"], error["value"]) == (f"/{name}", shown)


@pytest.mark.parametrize("depth", [3, 300, 900])
def test_deeply_nested_values_are_invalid(service: Service, depth: int) -> None:
    response = post(service, json.dumps(RECORD)[:-1] + ', "deep": ' + "[" * depth + "]" * depth + "}")

    assert response.status_code == 422
    assert [error["pointer"] for error in json.loads(response.data)["errors"]] == ["/deep"]


def test_a_field_name_with_a_lone_surrogate_is_refused(service: Service) -> None:
    response = post(service, json.dumps(RECORD)[:-1] + ', "\\ud800": 1}')

    assert response.status_code == 422
    assert [error["pointer"] for error in json.loads(response.data)["errors"]] == ["/?"]


@pytest.mark.parametrize("body", ["7", '"text"', "null", "true"])
def test_a_body_that_is_neither_a_record_nor_a_list_is_422(service: Service, body: str) -> None:
    response = post(service, body)

    document = json.loads(response.data)
    assert response.status_code == 422
    assert document["detail"] == "1 field violates the contract"
    assert document["errors"][0]["pointer"] == ""
    assert document["errors"][0]["detail"] == "a record is an object"


@pytest.mark.parametrize(
    ("content_type", "detail"),
    [
        ("text/plain", "the body is text/plain"),
        ("text/csv; charset=latin-1", "the body is text/csv in latin-1"),
        (None, "the request has no Content-Type"),
    ],
)
def test_an_unsupported_media_type_is_415(service: Service, content_type: str | None, detail: str) -> None:
    response = service.client.post("/predict", data=json.dumps(RECORD), content_type=content_type)

    assert response.headers["Accept-Post"] == "application/json, text/csv"
    assert_problem(
        response,
        type="urn:heartline:problem:unsupported-media-type",
        title="Unsupported media type",
        status=415,
        detail=detail,
        expected="Content-Type: application/json, or text/csv in UTF-8",
        hint="send a record or a list of records as JSON, or a table as CSV",
        instance="/predict",
    )


def test_a_media_type_may_have_parameters(service: Service) -> None:
    response = service.client.post("/predict", data=json.dumps(RECORD), content_type="Application/JSON; charset=utf-8")

    assert response.status_code == 200


@pytest.mark.parametrize("size", [20_001, 20_002, 30_000])
@pytest.mark.parametrize("declared", [True, False], ids=["declared", "chunked"])
def test_a_body_over_the_limit_is_413(service: Service, size: int, declared: bool) -> None:
    body = json.dumps(RECORD).encode().ljust(size)

    assert_problem(
        post_stream(service, body, declared),
        type="urn:heartline:problem:content-too-large",
        title="Content too large",
        status=413,
        detail="the body has more than 20000 bytes",
        expected="at most 20000 bytes",
        hint="send the records in several requests",
        instance="/predict",
    )


@pytest.mark.parametrize("declared", [True, False], ids=["declared", "chunked"])
def test_a_body_of_the_maximum_size_is_accepted(service: Service, declared: bool) -> None:
    assert post_stream(service, json.dumps(RECORD).encode().ljust(20_000), declared).status_code == 200


def test_the_maximum_number_of_records_is_accepted_and_one_more_is_413(service: Service) -> None:
    assert len(service.client.post("/predict", json=[RECORD] * 100).get_json()["predictions"]) == 100
    assert_problem(
        service.client.post("/predict", json=[RECORD] * 101),
        type="urn:heartline:problem:content-too-large",
        title="Content too large",
        status=413,
        detail="the list has 101 records",
        expected="at most 100 records",
        hint="send the records in several requests",
        instance="/predict",
    )


@pytest.mark.parametrize("path", ["/nothing", "/predict/", "/predictions//x"])
def test_an_unknown_path_is_404(service: Service, path: str) -> None:
    assert_problem(
        service.client.get(path),
        type="urn:heartline:problem:not-found",
        title="Not found",
        status=404,
        detail="the path does not exist",
        expected="GET /, GET /docs, GET /healthz, GET /metrics, GET /model, GET /openapi.json, GET /predictions/{id}, "
        "GET /readyz, POST /outcomes, POST /predict",
        hint="correct the path",
        instance=path,
    )


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/predict", "OPTIONS, POST"),
        ("DELETE", "/predict", "OPTIONS, POST"),
        ("POST", "/model", "GET, HEAD, OPTIONS"),
    ],
)
def test_an_unsupported_method_is_405(service: Service, method: str, path: str, allowed: str) -> None:
    response = service.client.open(path, method=method)

    assert response.headers["Allow"] == allowed
    assert_problem(
        response,
        type="urn:heartline:problem:method-not-allowed",
        title="Method not allowed",
        status=405,
        detail=f"{method} is not supported at this path",
        expected=allowed,
        hint="use one of these methods",
        instance=path,
    )


def test_an_internal_error_is_500_without_internal_details(
    service: Service, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*args: object) -> None:
        raise RuntimeError("a secret of the inside")

    monkeypatch.setattr("serving.api.prediction_responses.predict", fail)

    response = service.client.post("/predict", json=RECORD)

    assert_problem(
        response,
        type="urn:heartline:problem:internal-error",
        title="Internal error",
        status=500,
        detail="the service failed to answer this request",
        expected="an answer",
        hint="send the request again; if the error persists, tell the operator of the service: its log has the details",
        instance="/predict",
    )
    assert "a secret of the inside" in caplog.text
