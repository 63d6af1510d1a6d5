"""Bodies of a request: compressed, with a byte order mark, empty lists."""

import gzip
import json
import zlib

import pytest
from werkzeug.test import TestResponse

from serving.api import request_body
from serving.problems import Problem
from serving.settings import Settings
from tests.serving.fakes import RECORD, Service

CSV = "age,sex,chol,ca\n61,1,250.5,2\n"


def post(service: Service, body: bytes, coding: str, media_type: str = "application/json") -> TestResponse:
    return service.client.post("/predict", data=body, content_type=media_type, headers={"Content-Encoding": coding})


def limit_of(service: Service) -> int:
    settings: Settings = service.app.extensions["settings"]
    return settings.max_body_bytes


@pytest.mark.parametrize("coding", ["gzip", "x-gzip", "GZIP", " gzip "])
@pytest.mark.parametrize("body", [RECORD, [RECORD] * 3])
def test_a_gzip_body_gets_the_answer_of_the_plain_one(service: Service, coding: str, body: object) -> None:
    plain = service.client.post("/predict", json=body).get_json()
    answered = post(service, gzip.compress(json.dumps(body).encode()), coding)
    assert answered.status_code == 200
    found = answered.get_json()
    for one, other in zip(found.get("predictions", [found]), plain.get("predictions", [plain]), strict=True):
        assert one["probability"] == other["probability"]


def test_a_gzip_table_is_read_too(service: Service) -> None:
    assert post(service, gzip.compress(CSV.encode()), "gzip", "text/csv").status_code == 200


def test_several_members_are_one_body(service: Service) -> None:
    text = json.dumps([RECORD]).encode()
    assert post(service, gzip.compress(text[:10]) + gzip.compress(text[10:]), "gzip").status_code == 200


def test_identity_is_no_coding(service: Service) -> None:
    assert post(service, json.dumps(RECORD).encode(), "identity").status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        json.dumps(RECORD).encode(),
        gzip.compress(json.dumps(RECORD).encode())[:-1],
        gzip.compress(json.dumps(RECORD).encode()) + b"rest",
        zlib.compress(b"{}"),
        b"",
    ],
    ids=["plain", "cut", "more", "zlib", "empty"],
)
def test_what_is_no_gzip_is_refused_as_such(service: Service, body: bytes) -> None:
    answered = post(service, body, "gzip")
    problem = answered.get_json(force=True)
    assert (answered.status_code, problem["type"]) == (400, "urn:heartline:problem:malformed-gzip")
    assert "Content-Encoding" in problem["detail"]
    assert "Content-Encoding" in problem["hint"]


@pytest.mark.parametrize("coding", ["br", "deflate", "zstd", "gzip, gzip", "utf-8"])
def test_another_coding_is_refused_with_the_one_that_works(service: Service, coding: str) -> None:
    answered = post(service, b"{}", coding)
    problem = answered.get_json(force=True)
    assert (answered.status_code, problem["type"]) == (415, "urn:heartline:problem:unsupported-content-coding")
    assert coding in problem["detail"]
    assert answered.headers["Accept-Encoding"] == "gzip"


@pytest.mark.parametrize("members", [1, 50])
def test_a_body_is_decompressed_to_the_limit_only(service: Service, members: int) -> None:
    part = gzip.compress(b" " * (limit_of(service) // members + 1))
    answered = post(service, part * members, "gzip")
    problem = answered.get_json(force=True)
    assert (answered.status_code, problem["type"]) == (413, "urn:heartline:problem:content-too-large")
    assert "when decompressed" in problem["detail"]


def test_a_body_of_countless_members_is_refused() -> None:
    members = gzip.compress(b"") * request_body.MAX_MEMBERS
    assert request_body._gunzip(members, 1000) == b""
    with pytest.raises(Problem, match="more than 1000 gzip members"):
        request_body._gunzip(members + gzip.compress(b""), 1000)


@pytest.mark.parametrize("body", [RECORD, [RECORD]])
def test_a_byte_order_mark_is_ignored(service: Service, body: object) -> None:
    assert post(service, b"\xef\xbb\xbf" + json.dumps(body).encode(), "identity").status_code == 200


def test_an_empty_list_is_named_as_such(service: Service) -> None:
    answered = service.client.post("/predict", json=[])
    assert answered.status_code == 422
    assert answered.get_json(force=True)["errors"] == [
        {"pointer": "", "detail": "the list is empty", "allowed": "a list of at least one record"}
    ]
