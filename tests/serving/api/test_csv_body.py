"""POST /predict with CSV: the same responses and errors as for a JSON list."""

import json
import tracemalloc
from typing import Any

import pytest
from werkzeug.test import TestResponse

from serving.api import csv_body
from serving.model.records import Contract
from tests.serving.api.test_predict import FIELDS, assert_problem
from tests.serving.fakes import CONTRACT, RECORD, Service

MALFORMED = {
    "type": "urn:heartline:problem:malformed-csv",
    "title": "Malformed CSV",
    "status": 400,
    "expected": "a header with the contract's names, then a row for each record (RFC 4180), in UTF-8, with commas",
    "hint": "correct the body",
    "instance": "/predict",
}


def post(service: Service, body: str | bytes, content_type: str = "text/csv") -> TestResponse:
    return service.client.post("/predict", data=body, content_type=content_type)


def errors(response: TestResponse) -> Any:
    document = json.loads(response.data)
    assert (response.status_code, document["type"]) == (422, "urn:heartline:problem:invalid-record")
    return document["errors"]


@pytest.mark.parametrize(
    "table",
    [
        "age,sex,chol,ca\n61,1,250.5,2\n30,0,,0\n",
        "age,sex,chol,ca\r\n61,1,250.5,2\r\n30,0,,0",
        "\ufeffage,sex,chol,ca\n61,1,250.5,2\n30,0,,0\n",
        "ca,chol,age,sex\n2,250.5,61,1\n0,,30,0\n",
        '"age","sex","chol","ca"\n"61","1","250.5","2"\n"30","0","","0"\n',
        "age, sex, chol, ca\n 61, 1, 250.5, 2\n30, 0, , 0\n",
        "age,sex,chol,ca\n\n6.1e1,1.0,2505e-1,2\n30,0,,0\n\n",
    ],
    ids=["plain", "lines of Windows", "byte order mark", "other order", "quoted", "blanks", "empty lines, floats"],
)
def test_a_table_gets_the_response_of_the_list_of_its_rows(service: Service, table: str) -> None:
    expected = service.client.post("/predict", json=[RECORD, {"age": 30, "sex": 0, "chol": None, "ca": 0}]).get_json()

    answer = post(service, table.encode()).get_json()

    for prediction in (*answer["predictions"], *expected["predictions"]):
        prediction.pop("prediction_id")
    assert answer == expected
    assert [prediction["imputed"] for prediction in answer["predictions"]] == [[], ["chol"]]


def test_one_row_is_a_list_of_one_and_optional_columns_may_be_absent(service: Service) -> None:
    answer = post(service, "age,sex\n61,1\n").get_json()

    assert [prediction["imputed"] for prediction in answer["predictions"]] == [["chol", "ca"]]


@pytest.mark.parametrize(
    ("table", "detail"),
    [
        ("", "there is no header: the body is empty"),
        ("\n\r\n", "there is no header: the body is empty"),
        (
            "61,1,250.5,2\n",
            "there is no header: the first row has no field of the contract; "
            f"the fields, separated by commas, are {FIELDS}",
        ),
        (
            "age;sex\n61;1\n",
            "there is no header: the first row has no field of the contract; "
            f"the fields, separated by commas, are {FIELDS}",
        ),
        ("age,sex,age\n61,1,62\n", "the header names the column 'age' twice"),
        ("age,sex,x,x\n61,1,1,1\n", "the header names the column 'x' twice"),
        ("age,sex\n61,1\n61\n", "line 3 has 1 cells, the header 2"),
        ("age,sex\n61,1\n\n61,1,0\n", "line 4 has 3 cells, the header 2"),
        ('age,sex\n61,"1\n', "the row at line 2 is not CSV: unexpected end of data"),
        ('age,sex\n"61"x,1\n', "the row at line 2 is not CSV: ',' expected after '\"'"),
        (b"age,sex\n61,\xff\n", "byte 11 is not UTF-8"),
    ],
    ids=lambda value: "" if isinstance(value, bytes) else repr(value)[:24],
)
def test_a_malformed_table_is_400(service: Service, table: str | bytes, detail: str) -> None:
    assert_problem(post(service, table), detail=detail, **MALFORMED)


def test_every_invalid_cell_is_reported_with_its_row_and_line(service: Service) -> None:
    table = 'age,sex,chol,ca\n61,1,250.5,2\n\n0,,"1e9",true\n60.5,1,,9\n'

    assert errors(post(service, table)) == [
        {"pointer": "/1/sex", "detail": "the field is missing (line 4)", "allowed": "0 (female), 1 (male)"},
        {
            "pointer": "/1/age",
            "detail": "the value is not allowed (line 4)",
            "allowed": "a whole number from 1 to 120 years",
            "value": 0,
        },
        {
            "pointer": "/1/chol",
            "detail": "the value is not allowed (line 4)",
            "allowed": "a number from 50 to 1000, or null",
            "value": 1e9,
        },
        {
            "pointer": "/1/ca",
            "detail": "the value is not allowed (line 4)",
            "allowed": "0, 1, 2, 3, or null",
            "value": "true",
        },
        {
            "pointer": "/2/age",
            "detail": "the value is not allowed (line 5)",
            "allowed": "a whole number from 1 to 120 years",
            "value": 60.5,
        },
        {
            "pointer": "/2/ca",
            "detail": "the value is not allowed (line 5)",
            "allowed": "0, 1, 2, 3, or null",
            "value": 9,
        },
    ]


@pytest.mark.parametrize(
    ("cell", "shown"),
    [
        ("NaN", "NaN"),
        ("nan", "nan"),
        ("inf", "inf"),
        ("-Infinity", "-Infinity"),
        ("1e400", "1e400"),
        ("NULL", "NULL"),
        ("-", "-"),
        ("0x50", "0x50"),
        ("1_00", "1_00"),
        ("+100", "+100"),
        ("0100", "0100"),
        ("100.", "100."),
        ("٣٠٠", "٣٠٠"),
        ('"1,5"', "1,5"),
        ("9" * 400, "9" * 100 + "…"),
        ("9" * 5000, "9" * 100 + "…"),
    ],
    ids=lambda value: value[:12],
)
def test_a_cell_must_be_empty_or_a_json_number(service: Service, cell: str, shown: str) -> None:
    assert errors(post(service, f"age,sex,chol\n61,1,{cell}\n")) == [
        {
            "pointer": "/0/chol",
            "detail": "the value is not allowed (line 2)",
            "allowed": "a number from 50 to 1000, or null",
            "value": shown,
        }
    ]


def test_an_unknown_or_missing_column_is_reported_once(service: Service) -> None:
    assert errors(post(service, "age,name,a/b\n61,1,1\n0,1,1\n")) == [
        {"pointer": "/0/sex", "detail": "the field is missing (in the header)", "allowed": "0 (female), 1 (male)"},
        {
            "pointer": "/0/name",
            "detail": "the contract has no such field (in the header)",
            "allowed": f"only {FIELDS}",
        },
        {
            "pointer": "/0/a~1b",
            "detail": "the contract has no such field (in the header)",
            "allowed": f"only {FIELDS}",
        },
    ]


def test_a_header_without_rows_is_refused(service: Service) -> None:
    assert errors(post(service, "age,sex\n")) == [
        {"pointer": "", "detail": "there is no row below the header", "allowed": "a row for each record"}
    ]


def test_the_maximum_number_of_rows_is_accepted_and_one_more_is_413(service: Service) -> None:
    assert len(post(service, "age,sex\n" + "61,1\n" * 100).get_json()["predictions"]) == 100
    assert_problem(
        post(service, "age,sex\n" + "61,1\n" * 101),
        type="urn:heartline:problem:content-too-large",
        title="Content too large",
        status=413,
        detail="the list has 101 records",
        expected="at most 100 records",
        hint="send the records in several requests",
        instance="/predict",
    )


def test_rows_beyond_the_limit_are_counted_and_not_kept() -> None:
    body = b"age,sex\n" + b"61,1\n" * 200_000
    tracemalloc.start()
    try:
        with pytest.raises(csv_body.TooManyRowsError) as caught:
            csv_body.parse(body, Contract(CONTRACT), 10)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert caught.value.found == 200_000
    assert peak < 10 * len(body)


def test_a_table_over_the_limit_of_bytes_is_413(service: Service) -> None:
    response = post(service, b"age,sex\n61,1\n".ljust(20_001))

    assert (response.status_code, json.loads(response.data)["detail"]) == (413, "the body has more than 20000 bytes")


@pytest.mark.parametrize("parameters", ["; charset=utf-8", "; charset=UTF-8; header=present", "; charset=us-ascii"])
def test_the_media_type_may_have_parameters(service: Service, parameters: str) -> None:
    assert post(service, "age,sex\n61,1\n", f"Text/CSV{parameters}").status_code == 200
