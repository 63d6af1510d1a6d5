"""The fast path gives the response of the WSGI path to plain requests; any other request takes the WSGI path."""

import hashlib
import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from serving.api import prediction_responses
from serving.metrics import prometheus
from serving.model import bundle
from serving.settings import Settings
from serving.worker.fast_path import MAX_BODY_BYTES, FastPath, plain_fields
from serving.worker.http_framing import Incoming
from tests.serving.fakes import RECORD, FakeRegistry, Service, expected_probability, make_bundle
from tests.serving.gunicorns import Gunicorn

PLAIN = {"Host": "localhost", "Content-Type": "application/json"}
UNKNOWN = {"prediction_id", "Date"}


def incoming(body: Any, fields: dict[str, str] | None = None, line: str = "POST /predict HTTP/1.1") -> Incoming:
    """Return a request that was received completely."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    head = {**PLAIN, "Content-Length": str(len(data)), **(fields or {})}
    request = Incoming(100_000)
    request.feed("\r\n".join([line, *map(": ".join, head.items()), "", ""]).encode() + data)
    return request


def answered(fast_path: FastPath, *request: Any) -> Any:
    """Return the JSON of the fast path's response; None if the request takes the WSGI path."""
    answer = fast_path.answer(incoming(*request))
    if answer is None:
        return None
    head, _, content = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert f"Content-Length: {len(content)}\r\n".encode() in head + b"\r\n"
    return json.loads(content)


@pytest.fixture
def fast_path(service: Service) -> FastPath:
    """The fast path to version 1."""
    return FastPath(service.app)


def without_ids(answer: Any) -> Any:
    if isinstance(answer, dict):
        return {name: without_ids(value) for name, value in answer.items() if name not in UNKNOWN}
    return [without_ids(value) for value in answer] if isinstance(answer, list) else answer


@pytest.mark.parametrize(
    "body",
    [
        RECORD,
        {"sex": 1, "age": 61},
        {"age": 61, "sex": 1, "chol": None, "ca": None},
        {"age": 61.0, "sex": 0, "chol": 2e2},
        [RECORD],
        [RECORD, {"sex": 0, "age": 30}],
    ],
)
def test_the_fast_path_gives_the_response_of_the_wsgi_path(service: Service, fast_path: FastPath, body: Any) -> None:
    wsgi = service.client.post("/predict", json=body)

    found = answered(fast_path, body)

    assert wsgi.status_code == 200
    assert without_ids(found) == without_ids(wsgi.get_json())
    ids = [one["prediction_id"] for one in found.get("predictions", [found])]
    assert len(set(ids)) == len(ids) == (len(body) if isinstance(body, list) else 1)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"Content-Type": "Application/JSON; charset=UTF-8"},
        {"Connection": "keep-alive"},
        {"User-Agent": "python-requests/2.32.5", "Accept": "*/*", "Accept-Encoding": "gzip, deflate, br, zstd"},
        {"X-Forwarded-For": "10.0.0.1", "X-Forwarded-Proto": "https", "traceparent": "00-0af7651916cd43dd-01"},
        {"Origin": "http://127.0.0.1:8080", "Sec-Fetch-Mode": "cors", "Cookie": "a=b"},
    ],
)
def test_header_fields_of_common_clients_and_proxies_are_plain(fast_path: FastPath, fields: dict[str, str]) -> None:
    assert answered(fast_path, RECORD, fields)["has_heart_disease"] is True


@pytest.mark.parametrize(
    ("body", "fields", "line"),
    [
        (RECORD, {}, "POST /predict?explain=true HTTP/1.1"),
        (RECORD, {}, "POST /predict HTTP/1.0"),
        (RECORD, {}, "PUT /predict HTTP/1.1"),
        (RECORD, {}, "POST http://test/predict HTTP/1.1"),
        (RECORD, {}, "POST /Predict HTTP/1.1"),
        (RECORD, {"Content-Type": "text/csv"}, None),
        (RECORD, {"Content-Type": "application/json; charset=latin-1"}, None),
        (RECORD, {"content-type": "application/json"}, None),  # twice
        (RECORD, {"Connection": "close"}, None),
        (RECORD, {"Connection": "keep-alive, Upgrade"}, None),
        (RECORD, {"Upgrade": "h2c"}, None),
        (RECORD, {"Expect": "100-continue"}, None),
        (RECORD, {"Transfer-Encoding": "chunked"}, None),
        (RECORD, {"Content-Encoding": "gzip"}, None),
        (RECORD, {"X_Api_Key": "underlined"}, None),
        (RECORD, {"X-Name": "J\u00fcrgen"}, None),
        (RECORD, {"X-Name": "tab\tbed"}, None),
        (RECORD, {"X-Long": "x" * 5000}, None),
        (RECORD, {f"X-{number}": "1" for number in range(40)}, None),
        ([], {}, None),
        ({}, {}, None),
        ({**RECORD, "age": 300}, {}, None),
        ({**RECORD, "age": True}, {}, None),
        ({**RECORD, "age": "61"}, {}, None),
        ({**RECORD, "weight": 80}, {}, None),
        ({"age": 61}, {}, None),
        ([RECORD, {"age": 61}], {}, None),
        (b'{"age": 61, "age": 61, "sex": 1}', {}, None),
        (b'{"age": NaN, "sex": 1}', {}, None),
        (b"{", {}, None),
        (b"", {}, None),
        (b" " * MAX_BODY_BYTES + json.dumps(RECORD).encode(), {}, None),
    ],
    ids=lambda value: str(value)[:40],
)
def test_any_other_request_takes_the_wsgi_path(
    fast_path: FastPath, body: Any, fields: dict[str, str], line: str
) -> None:
    before = counted()

    assert answered(fast_path, body, fields, *([line] if line else [])) is None

    assert counted() == before  # not counted here: the WSGI path does that


def test_a_request_without_a_host_takes_the_wsgi_path() -> None:
    assert plain_fields(b"POST /predict HTTP/1.1\r\nContent-Type: application/json\r\n\r\n") is None
    assert plain_fields(b"POST /predict HTTP/1.1\r\nContent-Type: application/json\r\nHost: localhost\r\n\r\n") == {
        b"content-type": "application/json",
        b"host": "localhost",
    }


def test_without_a_model_a_request_takes_the_wsgi_path(start: Callable[[], Service]) -> None:
    assert answered(FastPath(start().app), RECORD) is None


def test_a_slow_model_takes_the_wsgi_path(
    registry: FakeRegistry, start: Callable[[], Service], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundle, "FAST_PATH_SECONDS", -1)
    registry.register(make_bundle())
    service = start().poll()

    assert answered(FastPath(service.app), RECORD) is None
    assert service.client.post("/predict", json=RECORD).status_code == 200


def test_a_failing_model_takes_the_wsgi_path_which_reports_the_error(
    fast_path: FastPath, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise bundle.BundleError("model.onnx returns a value that is not a probability")

    monkeypatch.setattr(prediction_responses, "predict", fail)
    before = counted()

    assert answered(fast_path, RECORD) is None
    assert counted() == before
    assert service.client.post("/predict", json=RECORD).status_code == 500


def test_a_swapped_model_answers_the_next_request(
    fast_path: FastPath, service: Service, registry: FakeRegistry
) -> None:
    registry.register(make_bundle(1.0))
    assert answered(fast_path, RECORD)["model"]["version"] == "1"

    service.poll()

    found = answered(fast_path, RECORD)
    assert found["model"]["version"] == "2"
    assert found["probability"] == pytest.approx(expected_probability(RECORD, 1.0), abs=1e-6)


def test_api_keys_are_checked(settings: Settings, registry: FakeRegistry, tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(f"ann 2026-01-01 sha256:{hashlib.sha256(b'hl_ann').hexdigest()}\n")
    file.chmod(0o600)
    registry.register(make_bundle())
    fast_path = FastPath(Service(msgspec.structs.replace(settings, api_keys=str(file))).poll().app)

    for right in ({"X-API-Key": "hl_ann"}, {"Authorization": "Bearer hl_ann"}, {"Authorization": "Basic OmhsX2Fubg=="}):
        assert answered(fast_path, RECORD, right)["has_heart_disease"] is True
    for wrong in ({}, {"X-API-Key": "hl_bob"}, {"Authorization": "Bearer hl_bob", "X-API-Key": "hl_ann"}):
        assert answered(fast_path, RECORD, wrong) is None


def test_a_response_of_the_fast_path_is_counted_and_logged(
    fast_path: FastPath, service: Service, monkeypatch: Any
) -> None:
    logged: list[Any] = []
    monkeypatch.setattr(service.app.extensions["prediction_log"], "add", lambda *about: logged.append(about))
    before = counted()

    answer = answered(fast_path, RECORD, {"X-Request-ID": "r-1"})

    ((predictions, records, served, request_id),) = logged
    assert predictions[0].prediction_id == answer["prediction_id"]
    assert (records, served, request_id) == ([RECORD], service.store.status.served, "r-1")
    assert counted() == {**before, "requests": before["requests"] + 1, "answers": before["answers"] + 1}


def counted() -> dict[str, float]:
    labels = {"path": "/predict", "method": "POST", "status": "200"}
    answers = [
        prometheus.REGISTRY.get_sample_value("heartline_predictions_total", {"version": "1", "has_heart_disease": has})
        for has in ("true", "false")
    ]
    requests = prometheus.REGISTRY.get_sample_value("heartline_requests_total", labels)
    return {"requests": requests or 0.0, "answers": sum(number or 0.0 for number in answers)}


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Callable[[str], Gunicorn]]:
    """Start the service under gunicorn, after the statements ``before``."""
    (tmp_path / "bundle").mkdir()
    for name, data in make_bundle().items():
        (tmp_path / "bundle" / name).write_bytes(data)
    started: list[Gunicorn] = []

    def start(before: str = "") -> Gunicorn:
        started.append(Gunicorn(tmp_path, before, HEARTLINE_BUNDLE=tmp_path / "bundle", HEARTLINE_SERVICE_WORKERS=1))
        started[-1].wait_until_it_answers()
        return started[-1]

    yield start
    for service in started:
        service.stop()


def test_both_paths_send_the_same_header_fields(run: Callable[[], Gunicorn]) -> None:
    service = run()

    fast, wsgi = fields_of(service, "/predict"), fields_of(service, "/predict?explain=false")

    assert fast.keys() == wsgi.keys()
    assert fast["content-type"] == wsgi["content-type"]


def test_a_client_that_reads_slowly_gets_the_complete_response(run: Callable[[str], Gunicorn]) -> None:
    service = run(
        "from serving.worker.connections import Connection\n"
        "Connection.send = lambda self, data: data[self.sock.send(data[:10]) :]\n"
    )

    with socket.create_connection(("127.0.0.1", service.port), timeout=60) as client:
        file = client.makefile("rb")
        for at_once in (1, 3, 1):
            client.sendall(message("/predict") * at_once)
            for _ in range(at_once):
                assert file.readline() == b"HTTP/1.1 200 OK\r\n"
                assert json.loads(content(file))["has_heart_disease"] is True


def message(path: str) -> bytes:
    body = json.dumps(RECORD).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    return head.encode() + b"\r\n\r\n" + body


def fields_of(service: Gunicorn, path: str) -> dict[str, str]:
    with socket.create_connection(("127.0.0.1", service.port), timeout=60) as client:
        client.sendall(message(path))
        file = client.makefile("rb")
        assert file.readline() == b"HTTP/1.1 200 OK\r\n"
        lines = iter(file.readline, b"\r\n")
        fields = dict(line.decode().strip().lower().split(": ", 1) for line in lines)
    return {name: value for name, value in fields.items() if name != "date"}


def content(file: Any) -> bytes:
    fields = [line.lower() for line in iter(file.readline, b"\r\n")]
    length = next(int(line.split(b":")[1]) for line in fields if line.startswith(b"content-length"))
    return bytes(file.read(length))
