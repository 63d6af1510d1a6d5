"""The API over HTTP is the same on both workers: gunicorn's stock one and ours (``HEARTLINE_WORKER``)."""

import contextlib
import csv
import hashlib
import io
import json
import re
import socket
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any

import pytest

from tests.postgres import Postgres
from tests.serving.fakes import RECORD, FakeRegistry, make_bundle
from tests.serving.gunicorns import WORKERS, Gunicorn

KEY = "hl_ann"
TIMEOUT_SECONDS = 60.0
MAX_BODY_BYTES = 20_000
THREADS = 2
JSON, CSV = "application/json", "text/csv"
PROBLEM = "application/problem+json"
HEAD = f"POST /predict HTTP/1.1\r\nHost: localhost\r\nX-API-Key: {KEY}\r\nContent-Type: application/json\r\n".encode()
UNKNOWN_ID = "00000000-0000-4000-8000-000000000000"
VARIABLE_HEADERS = {"date"}
# members of JSON documents that differ from process to process, or from answer to answer
VARIABLE_MEMBERS = {"prediction_id", "request_id", "time", "served_since", "predicted_at"}
STATES = {"prediction_log", "registry"}  # members with counts and times of a process: only their names are compared
RECORDS = [{"age": 20 + age, "sex": age % 2, "chol": 200.5 + age} for age in range(50)]


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    status: int
    body: Any = None
    media_type: str = JSON
    headers: dict[str, str] = field(default_factory=dict)
    key: str | None = KEY

    def data(self) -> bytes | None:
        return self.body if self.body is None or isinstance(self.body, bytes) else json.dumps(self.body).encode()

    def fields(self) -> dict[str, str]:
        own = {"Content-Type": self.media_type} if self.body is not None and self.media_type else {}
        return {**own, **({"X-API-Key": self.key} if self.key else {}), **self.headers}

    def __str__(self) -> str:
        return re.sub(r"\W+", "-", f"{self.method} {self.path} {self.status} {self.media_type} {self.body}"[:60])


@dataclass(frozen=True)
class Response:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def document(self) -> Any:
        return json.loads(self.body)


def as_csv(records: list[dict[str, Any]]) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(records[0]), lineterminator="\r\n")
    writer.writeheader()
    writer.writerows(records)
    return text.getvalue().encode()


REQUESTS = [
    Request("POST", "/predict", 200, RECORD),
    Request("POST", "/predict", 200, RECORD, headers={"X-Request-ID": "visit-7"}),
    Request("POST", "/predict", 200, RECORD, key=None, headers={"Authorization": f"Bearer {KEY}"}),
    Request("POST", "/predict", 200, [RECORD, {"age": 30, "sex": 0}]),
    Request("POST", "/predict", 200, RECORDS * 5),
    Request("POST", "/predict", 200, as_csv(RECORDS), CSV),
    Request("POST", "/predict?explain=true", 200, RECORD),
    Request("POST", "/predict?explain=true", 200, as_csv([RECORD, RECORD]), CSV),
    Request("POST", "/predict", 200, RECORD, headers={"Connection": "close"}),
    Request("POST", "/predict", 400, b"{"),
    Request("POST", "/predict", 400, b'{"age": NaN, "sex": 1}'),
    Request("POST", "/predict", 400, b"age,sex\r\n61", CSV),
    Request("POST", "/predict?explain=maybe", 400, RECORD),
    Request("POST", "/predict", 401, RECORD, key=None),
    Request("POST", "/predict", 401, RECORD, key="hl_bob"),
    Request("GET", "/model", 401, key=None),
    Request("POST", "/predict", 413, [RECORD] * 301),
    Request("POST", "/predict", 415, b"<xml/>", "application/xml"),
    Request("POST", "/predict", 415, as_csv([RECORD]), "text/csv; charset=latin-1"),
    Request("POST", "/predict", 415, b"{}", ""),
    Request("POST", "/predict", 422, {**RECORD, "age": 300}),
    Request("POST", "/predict", 422, [RECORD, {"age": 61}, {**RECORD, "weight": 80}]),
    Request("POST", "/predict", 422, as_csv([{**RECORD, "sex": 5}]), CSV),
    Request("GET", "/predict", 405),
    Request("PUT", "/predict", 405, RECORD),
    Request("DELETE", "/model", 405),
    Request("POST", "/model", 405, RECORD),
    Request("OPTIONS", "/predict", 200),
    Request("GET", "/nothing", 404),
    Request("GET", "//healthz", 200),
    Request("POST", "/nothing", 404, RECORD),
    Request("HEAD", "/nothing", 404),
    Request("GET", f"/predictions/{UNKNOWN_ID}", 404),
    Request("POST", "/outcomes", 403, {"prediction_id": UNKNOWN_ID, "num": 0, "observed_at": "2026-01-01T00:00:00Z"}),
    Request("GET", "/healthz", 200, key=None),
    Request("HEAD", "/healthz", 200, key=None),
    Request("GET", "/readyz", 200, key=None),
    Request("GET", "/model", 200),
    Request("HEAD", "/model", 200),
    Request("GET", "/openapi.json", 200),
    Request("GET", "/docs", 200),
    Request("GET", "/", 200),
    Request("HEAD", "/", 200),
    Request("GET", "/static/page.js", 200),
    Request("GET", "/static/nothing.js", 404),
]


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Gunicorn]]:
    """The service on each worker, with the same registry, keys and database."""
    folder = tmp_path_factory.mktemp("workers")
    keys = folder / "keys"
    keys.write_text(f"ann 2026-01-01 sha256:{hashlib.sha256(KEY.encode()).hexdigest()}\n")
    keys.chmod(0o600)
    registry, postgres, started = FakeRegistry(), Postgres(folder / "home"), {}
    try:
        registry.register(make_bundle())
        for worker in WORKERS:
            (folder / worker).mkdir()
            started[worker] = Gunicorn(
                folder / worker,
                HEARTLINE_WORKER=worker,
                HEARTLINE_MLFLOW_URL=registry.url,
                HEARTLINE_API_KEYS=keys,
                HEARTLINE_PREDICTION_LOG_URL=postgres.url,
                HEARTLINE_MAX_RECORDS=300,
                HEARTLINE_MAX_BODY_BYTES=MAX_BODY_BYTES,
                HEARTLINE_SERVICE_WORKERS=1,
                HEARTLINE_SERVICE_THREADS=THREADS,
            )
        for service in started.values():
            service.wait_until_it_answers()
        yield started
    finally:
        for service in started.values():
            service.stop()
        postgres.remove()
        registry.stop()


def connected(service: Gunicorn) -> HTTPConnection:
    return HTTPConnection("127.0.0.1", service.port, timeout=TIMEOUT_SECONDS)


def sent(connection: HTTPConnection, request: Request) -> Response:
    """Send a request in one piece: on the stock worker, a body that arrives late closes the connection if refused."""
    if connection.sock is None:
        connection.connect()
    data = request.data()
    fields = {"Host": "localhost", **request.fields(), **({} if data is None else {"Content-Length": str(len(data))})}
    head = [f"{request.method} {request.path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
    connection.sock.sendall("\r\n".join([*head, "", ""]).encode() + (data or b""))
    with closing(HTTPResponse(connection.sock, method=request.method)) as response:
        response.begin()
        return Response(
            response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()
        )


def ask(service: Gunicorn, request: Request) -> Response:
    with closing(connected(service)) as connection:
        return sent(connection, request)


def comparable(response: Response) -> tuple[int, dict[str, str], Any]:
    """Return a response without what differs from process to process."""
    headers = {name: value for name, value in response.headers.items() if name not in VARIABLE_HEADERS}
    body: Any = response.body
    if headers.get("content-type", "") in (JSON, PROBLEM) and body:
        body = without_variable_members(json.loads(body))
        headers["content-length"] = "any" if headers["content-length"].isdigit() else headers["content-length"]
    elif headers.get("content-type", "").startswith("text/html"):
        body = re.sub(rb"127\.0\.0\.1:\d+", b"address", body)
    if "allow" in headers:  # Flask's order is that of a set
        headers["allow"] = ", ".join(sorted(headers["allow"].split(", ")))
    return response.status, headers, body


def without_variable_members(value: Any) -> Any:
    if isinstance(value, dict):
        kept = {name: one for name, one in value.items() if name not in VARIABLE_MEMBERS}
        return {
            name: sorted(one) if name in STATES and isinstance(one, dict) else without_variable_members(one)
            for name, one in kept.items()
        }
    return [without_variable_members(one) for one in value] if isinstance(value, list) else value


@pytest.mark.parametrize("request_", REQUESTS, ids=str)
def test_both_workers_give_the_same_response(services: dict[str, Gunicorn], request_: Request) -> None:
    ours, stock = (ask(services[worker], request_) for worker in WORKERS)

    assert (ours.status, stock.status) == (request_.status, request_.status)
    assert comparable(ours) == comparable(stock)
    if request_.method == "HEAD":
        assert ours.body == stock.body == b""
    elif ours.status >= 400:
        assert ours.headers["content-type"] == stock.headers["content-type"] == PROBLEM
        assert {"type", "title", "status", "detail", "expected", "hint", "instance"} <= set(stock.document)


def test_each_operation_of_the_openapi_document_is_compared(services: dict[str, Gunicorn]) -> None:
    paths = ask(services["gthread"], Request("GET", "/openapi.json", 200)).document["paths"]
    operations = {(method.upper(), path) for path, item in paths.items() for method in item if method != "parameters"}
    compared = {(one.method, re.sub(r"\?.*|(?<=/predictions/).*|(?<=/static/).*", "", one.path)) for one in REQUESTS}

    assert operations
    for method, path in operations - {("GET", "/metrics")}:  # which has a test of its own
        assert (method, re.sub(r"\{.*\}", "", path)) in compared


def test_a_prediction_is_found_by_its_id(services: dict[str, Gunicorn]) -> None:
    found = []
    for worker in WORKERS:
        request = Request("POST", "/predict", 200, RECORD, headers={"X-Request-ID": "visit-8"})
        answer = ask(services[worker], request).document
        found.append(ask(services[worker], Request("GET", f"/predictions/{answer['prediction_id']}", 200)))
        assert found[-1].document["prediction_id"] == answer["prediction_id"]

    ours, stock = found
    assert (ours.status, stock.status) == (200, 200)
    assert comparable(ours) == comparable(stock)
    for one in found:
        assert (one.document["request_id"], one.document["record"]) == ("visit-8", RECORD)


@pytest.mark.parametrize("worker", WORKERS)
def test_metrics_count_requests_and_predictions(services: dict[str, Gunicorn], worker: str) -> None:
    service = services[worker]

    def counted(name: str) -> float:
        text = ask(service, Request("GET", "/metrics", 200)).body.decode()
        return float((re.findall(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE) or ["0"])[0])

    answered = 'heartline_requests_total{method="POST",path="/predict",status="200"}'
    refused = 'heartline_requests_total{method="POST",path="/predict",status="422"}'
    predicted = 'heartline_predictions_total{has_heart_disease="true",version="1"}'
    before = [counted(name) for name in (answered, refused, predicted)]

    for request in (
        Request("POST", "/predict", 200, RECORD),
        Request("POST", "/predict", 200, [RECORD, RECORD]),
        Request("POST", "/predict", 200, as_csv([RECORD]), CSV),
        Request("POST", "/predict", 422, {"age": 61}),
    ):
        assert ask(service, request).status == request.status

    after = [counted(name) for name in (answered, refused, predicted)]
    assert [new - old for new, old in zip(after, before, strict=True)] == [3, 1, 4]


@pytest.mark.parametrize("worker", WORKERS)
def test_a_connection_is_kept_over_responses_of_each_kind(services: dict[str, Gunicorn], worker: str) -> None:
    with closing(connected(services[worker])) as connection:
        connection.connect()
        first = connection.sock
        for request in (
            Request("POST", "/predict", 200, RECORD),
            Request("GET", "/healthz", 200),
            Request("POST", "/predict", 422, {"age": 61}),
            Request("HEAD", "/model", 200),
            *[Request("PATCH", "/predict", 405, RECORD)] * 50,  # their bodies are not read by the application
            Request("POST", "/predict", 200, as_csv(RECORDS), CSV),
        ):
            assert sent(connection, request).status == request.status
            assert connection.sock is first


@pytest.mark.parametrize("worker", WORKERS)
def test_chunked_bodies_100_continue_and_http_1_0(services: dict[str, Gunicorn], worker: str) -> None:
    body = json.dumps(RECORD).encode()
    with socket.create_connection(("127.0.0.1", services[worker].port), timeout=TIMEOUT_SECONDS) as client:
        file = client.makefile("rb")
        client.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(body), body))
        assert received(file)[1]["has_heart_disease"] is True
        client.sendall(HEAD + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(body))
        assert [file.readline(), file.readline()] == [b"HTTP/1.1 100 Continue\r\n", b"\r\n"]
        client.sendall(body)
        assert received(file)[1]["has_heart_disease"] is True
        client.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
        assert received(file) == (200, {"status": "ok"})
        assert file.read() == b""  # the connection is closed


def received(file: Any) -> tuple[int, Any]:
    status = int(file.readline().split()[1])
    fields = dict(line.decode().strip().lower().split(": ", 1) for line in iter(file.readline, b"\r\n"))
    return status, json.loads(file.read(int(fields["content-length"])))


@pytest.mark.parametrize("worker", WORKERS)
def test_a_body_that_is_too_large_is_413_before_it_is_complete(services: dict[str, Gunicorn], worker: str) -> None:
    with socket.create_connection(("127.0.0.1", services[worker].port), timeout=TIMEOUT_SECONDS) as client:
        client.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % (100 * MAX_BODY_BYTES))
        status, document = received(client.makefile("rb"))

    assert (status, document["type"]) == (413, "urn:heartline:problem:content-too-large")
    assert str(MAX_BODY_BYTES) in document["detail"]


@pytest.mark.parametrize("worker", WORKERS)
def test_ambiguous_framing_is_refused(services: dict[str, Gunicorn], worker: str) -> None:
    """The body of the response differs: gunicorn's stock worker sends an HTML page."""
    for ambiguous in (
        b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n12",
        b"Transfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n0\r\n\r\n",
        b"Content-Length: -1\r\n\r\n",
    ):
        with socket.create_connection(("127.0.0.1", services[worker].port), timeout=TIMEOUT_SECONDS) as client:
            client.sendall(HEAD + ambiguous)
            assert client.makefile("rb").readline().split()[1] == b"400"


def responses(client: socket.socket) -> bytes:
    """Return all that the service sends until it closes the connection."""
    answered = b""
    with contextlib.suppress(ConnectionResetError):
        while data := client.recv(65536):
            answered += data
    return answered


def statuses(answered: bytes) -> list[bytes]:
    return re.findall(rb"HTTP/1\.1 (\d{3})", answered)


@pytest.mark.parametrize("worker", WORKERS)
@pytest.mark.parametrize("path", ["/nothing", "/predict"])
@pytest.mark.parametrize("chunks", [b"ZZ\r\n", b"-1\r\n", b"5\r\nhello\r\nZZ\r\n", b"3\r\nabcXX"])
def test_nothing_is_answered_after_a_malformed_chunk(
    services: dict[str, Gunicorn], worker: str, path: str, chunks: bytes
) -> None:
    hidden = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
    head = HEAD.replace(b"/predict", path.encode()) + b"Transfer-Encoding: chunked\r\n\r\n"
    with socket.create_connection(("127.0.0.1", services[worker].port), timeout=TIMEOUT_SECONDS) as client:
        client.sendall(head + chunks + hidden)
        answered = responses(client)

    expected = b"404" if (worker, path) == ("gthread", "/nothing") else b"400"
    assert statuses(answered) == [expected]
    assert b"\r\nconnection: close\r\n" in answered.lower()


def predictions(service: Gunicorn) -> list[str]:
    metrics = ask(service, Request("GET", "/metrics", 200)).body.decode()
    return re.findall(r"^heartline_predictions_total.*", metrics, re.MULTILINE)


@pytest.mark.parametrize("worker", WORKERS)
@pytest.mark.parametrize("chunked", [False, True])
def test_a_truncated_body_gives_no_prediction(services: dict[str, Gunicorn], worker: str, chunked: bool) -> None:
    service, table = services[worker], as_csv(RECORDS[:3])
    cut = table[: table[:-2].rindex(b"\n") + 1]  # two complete rows of three
    head = HEAD.replace(b"application/json", b"text/csv")
    if chunked:
        request = head + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n" % (len(cut), cut)
    else:
        request = head + b"Content-Length: %d\r\n\r\n%b" % (len(table), cut)
    before = predictions(service)
    with socket.create_connection(("127.0.0.1", service.port), timeout=TIMEOUT_SECONDS) as client:
        client.sendall(request)
        client.shutdown(socket.SHUT_WR)
        answered = responses(client)

    assert statuses(answered) == ([b"400"] if worker == "gthread" else [])
    assert predictions(service) == before


def test_the_stock_worker_does_not_wait_for_the_bodies_of_refused_requests(services: dict[str, Gunicorn]) -> None:
    """The clients send no body and do not close their connections; there are fewer threads than clients."""
    service = services["gthread"]
    refused = {
        401: HEAD.replace(KEY.encode(), b"hl_bob"),
        404: HEAD.replace(b"/predict", b"/nothing"),
        405: HEAD.replace(b"POST", b"PATCH"),
        415: HEAD.replace(b"application/json", b"text/xml"),
    }
    assert len(refused) > THREADS
    with contextlib.ExitStack() as stack:
        address = ("127.0.0.1", service.port)
        clients = [stack.enter_context(socket.create_connection(address, timeout=TIMEOUT_SECONDS)) for _ in refused]
        for client, head in zip(clients, refused.values(), strict=True):
            client.sendall(head + b"Content-Length: 10\r\n\r\n")
        for client, status in zip(clients, refused, strict=True):
            response = stack.enter_context(closing(HTTPResponse(client)))
            response.begin()
            assert (response.status, response.getheader("Connection")) == (status, "close")
        assert ask(service, Request("GET", "/healthz", 200)).status == 200


def test_the_command_line_chooses_the_stock_worker_too(tmp_path: Path) -> None:
    service = Gunicorn(tmp_path, GUNICORN_CMD_ARGS="--worker-class gthread", HEARTLINE_SERVICE_WORKERS=1)
    try:
        service.wait_until_it_answers("/healthz")
        with socket.create_connection(("127.0.0.1", service.port), timeout=TIMEOUT_SECONDS) as client:
            client.sendall(b"PATCH /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n")
            answered = responses(client)
    finally:
        service.stop()

    assert statuses(answered) == [b"405"]
    assert "the worker is gthread: no protection against slow clients" in service.log()


def test_the_log_says_which_limits_the_stock_worker_lacks(services: dict[str, Gunicorn]) -> None:
    ours, stock = (services[worker].log() for worker in WORKERS)

    assert "the worker is gthread: no protection against slow clients" in stock
    assert "Using worker: gthread" in stock
    assert "no protection" not in ours
