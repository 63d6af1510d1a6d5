"""Bodies with far too many records or fields: their cost and the size of the response are bounded."""

import json
import tracemalloc
from typing import Any

import msgspec
import pytest

from serving.settings import Settings
from tests.serving.api.test_csv_body import errors, post
from tests.serving.api.test_predict import assert_problem
from tests.serving.fakes import RECORD, FakeRegistry, Service, make_bundle


@pytest.fixture
def large(settings: Settings, registry: FakeRegistry) -> Service:
    """A service with the default limits."""
    registry.register(make_bundle())
    return Service(msgspec.structs.replace(settings, max_body_bytes=8_000_000, max_records=10_000)).poll()


def test_a_body_of_far_too_many_records_is_413_before_it_is_parsed(large: Service) -> None:
    body = b"[" + b",".join([b"{}"] * 1_000_000) + b"]"
    tracemalloc.start()

    response = large.client.post("/predict", data=body, content_type="application/json")

    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 10 * len(body)  # parsed, it would be 25 times the body
    assert_problem(
        response,
        type="urn:heartline:problem:content-too-large",
        title="Content too large",
        status=413,
        detail="the body has 1000001 objects and arrays",
        expected="at most 10000 records",
        hint="send the records in several requests",
        instance="/predict",
    )


def test_brackets_in_strings_do_not_count_as_records(large: Service) -> None:
    response = large.client.post("/predict", json={**RECORD, 'a "{" \\': 10_000 * '{["\\'})

    assert response.status_code == 422
    assert [error["pointer"] for error in json.loads(response.data)["errors"]] == ['/a "{" \\']


@pytest.mark.parametrize(
    ("body", "named", "last", "pointer"),
    [
        ({**RECORD, **{f"x{number}": number for number in range(200_000)}}, 500, "199500 more of them", ""),
        ([{**RECORD, "age": 0}] * 3_000, 500, "bad fields in 2500 more records", ""),
        ([{**RECORD, "age": 0}] * 501 + [RECORD] * 99, 500, "bad fields in 1 more records", ""),
        ([RECORD, {f"x{number}": number for number in range(1000)}], 500, "502 more of them", "/1"),
        ([[0]] * 3_000, 500, "bad fields in 2500 more records", ""),
    ],
    ids=["fields", "records", "one more record", "fields of a record", "no objects"],
)
def test_of_very_many_invalid_fields_500_are_listed_and_the_rest_counted(
    large: Service, body: Any, named: int, last: str, pointer: str
) -> None:
    response = large.client.post("/predict", json=body)

    document = json.loads(response.data)
    assert (response.status_code, len(response.data) < 200_000) == (422, True)
    assert document["detail"] == "more than 500 fields violate the contract"
    assert len(document["errors"]) == named + 1
    assert document["errors"][-1]["detail"].endswith(last)
    assert document["errors"][-1]["pointer"] == pointer
    assert not any("more" in error["detail"] for error in document["errors"][:-1])


def test_fields_of_the_contract_are_listed_before_unknown_ones(large: Service) -> None:
    record = {**{f"x{number}": 0 for number in range(600)}, "age": 0, "sex": 5}

    errors = json.loads(large.client.post("/predict", json=record).data)["errors"]

    assert [error["pointer"] for error in errors[:3]] == ["/sex", "/age", "/x0"]
    assert len(errors) == 501
    assert errors[-1]["detail"] == "the contract has no such field: 102 more of them"


@pytest.mark.parametrize("count", [499, 500])
def test_up_to_500_invalid_fields_are_all_listed(large: Service, count: int) -> None:
    document = json.loads(large.client.post("/predict", json=[RECORD] + [{**RECORD, "age": 0}] * count).data)

    assert document["detail"] == f"{count} fields violate the contract"
    assert [error["pointer"] for error in document["errors"]] == [f"/{row + 1}/age" for row in range(count)]


def test_of_very_many_invalid_cells_500_are_listed_with_their_line_and_the_rest_counted(large: Service) -> None:
    cells = errors(post(large, "age,sex\n" + "0,1\n" * 3_000))
    columns = errors(post(large, "age,sex," + ",".join(map(str, range(3_000))) + "\n"))

    assert [cells[row]["detail"] for row in (0, 499, 500)] == [
        "the value is not allowed (line 2)",
        "the value is not allowed (line 501)",
        "bad fields in 2500 more records",
    ]
    assert len(cells) == 501
    assert columns == [
        {"pointer": "", "detail": "there is no row below the header", "allowed": "a row for each record"}
    ]
