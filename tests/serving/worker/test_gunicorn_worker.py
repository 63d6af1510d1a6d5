"""Request limits of the worker: slow clients, idle connections, memory, deadlines, and malformed HTTP."""

import json
import select
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from http.client import HTTPConnection, parse_headers
from pathlib import Path
from typing import Any

import pytest

from serving.worker.http_framing import MAX_HEAD_BYTES, Incoming, State
from tests.serving.fakes import RECORD, make_bundle
from tests.serving.gunicorns import Gunicorn
from tests.waiting import until

BODY = json.dumps(RECORD).encode()
HEAD = b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
COMPLETE = HEAD + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY
CHUNKED = (
    HEAD
    + b"Transfer-Encoding: chunked\r\n\r\n"
    + b"5;x=1\r\n%b\r\n%x\r\n%b\r\n0\r\nTrailer: 1\r\n\r\n"
    % (
        BODY[:5],
        len(BODY) - 5,
        BODY[5:],
    )
)
# a model that answers a record with the age 99 only when a file exists
SLOW = """
import pathlib, time
from serving.model import predict
real = predict.predict
def slow(model, matrix):
    while 99 in matrix[0] and not pathlib.Path("answer").exists():
        time.sleep(0.01)
    return real(model, matrix)
predict.predict = slow
"""
# Time-outs of the service that no test waits for: the client's own time-out is shorter.
NEVER_SECONDS = 600
CLIENT_TIMEOUT_SECONDS = 60.0
NO_TIMEOUTS = f"--keep-alive {NEVER_SECONDS} --graceful-timeout {NEVER_SECONDS}"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gunicorn]:
    """A service with few threads."""
    service = start(tmp_path_factory.mktemp("limits"), SLOW, GUNICORN_CMD_ARGS=NO_TIMEOUTS)
    yield service
    service.stop()
    assert "Traceback" not in service.log()


@pytest.fixture(scope="module")
def tight(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gunicorn]:
    """A service that accepts eight connections, and buffers one body of the maximum size."""
    arguments = f"{NO_TIMEOUTS} --worker-connections 8 -k tests.serving.worker.tight_worker.Worker"
    service = start(tmp_path_factory.mktemp("tight"), "", GUNICORN_CMD_ARGS=arguments)
    yield service
    service.stop()
    assert "Traceback" not in service.log()


def start(folder: Path, before: str, **variables: object) -> Gunicorn:
    (folder / "bundle").mkdir()
    for name, data in make_bundle().items():
        (folder / "bundle" / name).write_bytes(data)
    service = Gunicorn(
        folder,
        before,
        HEARTLINE_BUNDLE=folder / "bundle",
        HEARTLINE_SERVICE_WORKERS=1,
        HEARTLINE_SERVICE_THREADS=2,
        HEARTLINE_MAX_WAITING=2,
        HEARTLINE_MAX_BODY_BYTES=20_000,
        **{"HEARTLINE_REQUEST_SECONDS": NEVER_SECONDS, **variables},
    )
    service.wait_until_it_answers()
    return service


class Client:
    """A connection on which a test sends each byte itself."""

    def __init__(self, service: Gunicorn) -> None:
        self.socket = socket.create_connection(("127.0.0.1", service.port), timeout=CLIENT_TIMEOUT_SECONDS)
        self.file = self.socket.makefile("rb")

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()
        self.socket.close()

    def send(self, data: bytes) -> "Client":
        self.socket.sendall(data)
        return self

    def receive(self) -> tuple[int, Any]:
        """Return the status and the JSON of the next response."""
        status = int(self.file.readline().split()[1])
        self.headers = parse_headers(self.file)
        return status, json.loads(self.file.read(int(self.headers["Content-Length"])))

    def ended(self) -> bool:
        """Return whether the server closes the connection."""
        return self.file.read(1) == b""

    def waits(self) -> bool:
        """Return whether the connection is open, and nothing was received on it."""
        return not select.select([self.socket], [], [], 0)[0]


def ask(service: Gunicorn, age: int = 61) -> int:
    return service.ask("/predict", {**RECORD, "age": age})[0]


@pytest.mark.parametrize("beginning", [b"", HEAD, HEAD + b"Content-Length: 100\r\n\r\n", CHUNKED[:-30]])
def test_twenty_slow_or_idle_clients_delay_nobody(service: Gunicorn, beginning: bytes) -> None:
    with ExitStack() as stack:
        slow = [stack.enter_context(Client(service)).send(beginning) for _ in range(20)]
        for _ in range(5):
            assert ask(service) == 200
            assert all(client.waits() for client in slow)
            if beginning:
                for client in slow:
                    client.send(b"1" if b"\r\n\r\n" in beginning else b"X")


def test_a_request_that_is_not_complete_in_time_is_408(tmp_path: Path) -> None:
    service = start(tmp_path, "", HEARTLINE_REQUEST_SECONDS=1)
    try:
        with Client(service).send(HEAD + b"Content-Length: 100\r\n\r\n") as client:
            status, document = client.receive()
            assert client.ended()
    finally:
        service.stop()

    assert (status, document["type"]) == (408, "urn:heartline:problem:request-timeout")
    assert (document["detail"], document["instance"]) == ("the request was not complete after 1 seconds", "/predict")
    assert client.headers["Content-Type"] == "application/problem+json"


def test_a_request_may_arrive_in_pieces(service: Gunicorn) -> None:
    for request in (COMPLETE, CHUNKED):
        with Client(service) as client:
            for start in range(0, len(request), 40):
                client.send(request[start : start + 40])
                time.sleep(0.005)
            assert client.receive()[0] == 200


def test_pipelined_requests_are_answered_in_order(service: Gunicorn) -> None:
    get = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with Client(service).send(COMPLETE + get + CHUNKED + get + COMPLETE) as client:
        answers = [client.receive() for _ in range(5)]

    assert [status for status, _ in answers] == [200] * 5
    assert [sorted(answer)[0] for _, answer in answers] == [
        "has_heart_disease",
        "status",
        "has_heart_disease",
        "status",
        "has_heart_disease",
    ]


def test_a_client_that_expects_100_continue_gets_it_once(service: Gunicorn) -> None:
    with Client(service).send(HEAD + b"Content-Length: %d\r\nExpect: 100-continue\r\n\r\n" % len(BODY)) as client:
        assert [client.file.readline(), client.file.readline()] == [b"HTTP/1.1 100 Continue\r\n", b"\r\n"]
        assert client.send(BODY).receive()[0] == 200


@pytest.mark.parametrize(
    ("request_", "status", "slug"),
    [
        (HEAD + b"Content-Length: 20001\r\n\r\n", 413, "content-too-large"),
        (HEAD + b"Content-Length: 9999999999999999999\r\n\r\n", 413, "content-too-large"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\nfffffff\r\n", 413, "content-too-large"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\nten\r\n", 400, "malformed-request"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n-1\r\n", 400, "malformed-request"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n1\r\n12\r\n", 400, "malformed-request"),
        (HEAD + b"Transfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n0\r\n\r\n", 400, "malformed-request"),
        (HEAD + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n12", 400, "malformed-request"),
        (HEAD + b"Content-Length: -1\r\n\r\n", 400, "malformed-request"),
        (HEAD + b"Transfer-Encoding: br\r\n\r\n", 501, "unsupported-transfer-coding"),
        (HEAD + b"X y: 1\r\n\r\n", 400, "malformed-request"),
        (b"nonsense\r\n\r\n", 400, "malformed-request"),
        (HEAD + b"X: " + b"x" * 9000 + b"\r\n\r\n", 431, "headers-too-large"),
        (HEAD + b"X: 1\r\n" * 100 + b"\r\n", 431, "headers-too-large"),
        (b"GET /" + b"x" * 5000 + b" HTTP/1.1\r\n\r\n", 431, "headers-too-large"),
        (b"GET / HTTP/1.1\r\n" + b"X: 1\r\n" * 20_000, 431, "headers-too-large"),
    ],
    ids=lambda value: value[-24:].decode() if isinstance(value, bytes) else str(value),
)
def test_malformed_and_oversized_requests_get_problem_documents(
    service: Gunicorn, request_: bytes, status: int, slug: str
) -> None:
    with Client(service).send(request_) as client:
        found, document = client.receive()
        assert client.ended()

    assert (found, document["status"], document["type"]) == (status, status, f"urn:heartline:problem:{slug}")
    assert set(document) == {"type", "title", "status", "detail", "expected", "hint", "instance"}
    assert client.headers["Content-Type"] == "application/problem+json"


def test_a_connection_that_does_not_speak_http_is_closed(tight: Gunicorn) -> None:
    with Client(tight).send(b"\x16\x03\x01\x02\x00\x01") as client:
        assert client.ended()


def test_the_log_contains_no_part_of_a_malformed_request(service: Gunicorn) -> None:
    with Client(service).send(HEAD + b"Authorization: Bearer hl_secret\x00\r\n\r\n") as client:
        assert client.receive()[0] == 400

    assert "refused: InvalidHeader" in service.log()
    assert "hl_secret" not in service.log()


def test_too_many_concurrent_requests_are_503_while_health_checks_are_answered(service: Gunicorn) -> None:
    with ThreadPoolExecutor(10) as pool, Client(service) as client, Client(service) as watching:
        asked = [pool.submit(ask, service, 99) for _ in range(10)]  # two threads, and two may wait
        until(lambda: sum(each.done() for each in asked) >= 6)
        assert client.send(COMPLETE).receive()[0] == 200  # the fast path needs no thread
        client.send(COMPLETE.replace(b"/predict", b"/predict?explain=false"))
        status, document = client.receive()
        watching.send(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        with Client(service) as last:  # its response shows that the service has read what was sent before
            assert last.send(COMPLETE).receive()[0] == 200
        assert watching.waits()
        (service.folder / "answer").touch()
        alive = watching.receive()
        answers = [each.result() for each in asked]

    assert (status, document["type"]) == (503, "urn:heartline:problem:overloaded")
    assert client.headers["Retry-After"] == "1"
    assert (answers.count(200), answers.count(503)) == (4, 6)
    assert alive == (200, {"status": "ok"})
    assert ask(service) == 200


def test_the_memory_for_incoming_bodies_is_limited(tight: Gunicorn) -> None:
    head, body = HEAD + b"Content-Length: 19000\r\n\r\n", BODY.ljust(19_000)

    def status(sent: bytes) -> int:
        with Client(tight).send(sent) as client:
            return client.receive()[0]

    with Client(tight).send(head + body[:15_000]) as first:
        tight.wait_until(lambda: status(head + body) == 503)
        with Client(tight).send(head + body[:10_000]) as second:
            answer, document = second.receive()
        assert (answer, document["type"]) == (503, "urn:heartline:problem:overloaded")
        assert ask(tight) == 200  # a small request is accepted
        assert first.send(body[15_000:]).receive()[0] == 200
        # the next large one is accepted, once the first was answered
        tight.wait_until(lambda: status(head + body) == 200)

    for _ in range(3):
        with ExitStack() as stack:

            def is_full() -> bool:
                # sent again each time: one that arrives before the answered body is released is refused, not buffered
                stack.enter_context(Client(tight)).send(head + body[:15_000])
                return status(head + body) == 503

            tight.wait_until(is_full)
        # the memory of a client that disconnected is released
        tight.wait_until(lambda: status(head + body) == 200)


def test_at_the_limit_of_connections_a_new_one_replaces_the_oldest(tight: Gunicorn) -> None:
    with ExitStack() as stack:
        idle = [stack.enter_context(Client(tight)) for _ in range(20)]
        assert ask(tight) == 200
        assert all(client.ended() for client in idle[:12])
        assert idle[-1].send(COMPLETE).receive()[0] == 200

        trickling = [stack.enter_context(Client(tight)).send(HEAD) for _ in range(20)]
        assert ask(tight) == 200
        assert trickling[0].ended()


def test_open_connections_do_not_delay_the_end_of_the_service(service: Gunicorn) -> None:
    with ExitStack() as stack:
        for _ in range(5):
            stack.enter_context(Client(service))
            used = HTTPConnection("127.0.0.1", service.port)
            stack.callback(used.close)
            used.request("GET", "/healthz")
            used.getresponse().read()
        service.stop()

    assert service.process.returncode == 0


@pytest.mark.parametrize("step", [1, 7, 10_000])
@pytest.mark.parametrize(("request_", "body"), [(COMPLETE, BODY), (CHUNKED, BODY), (b"GET / HTTP/1.1\r\n\r\n", b"")])
def test_the_end_of_a_request_is_found_however_it_is_split(request_: bytes, body: bytes, step: int) -> None:
    incoming = Incoming(1000)

    for start in range(0, len(request_), step):
        assert incoming.state is State.PARTIAL
        incoming.feed(request_[start : start + step])

    assert incoming.state is State.COMPLETE
    assert (incoming.body, incoming.rest) == (body, b"")
    assert incoming.head == request_.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"


def test_bytes_after_a_request_are_kept() -> None:
    for request in (COMPLETE, CHUNKED, b"\r\n\r\n" + COMPLETE):
        incoming = Incoming(1000)
        assert incoming.feed(request + b"GET /") is State.COMPLETE
        assert (incoming.body, incoming.rest) == (BODY, b"GET /")


def test_empty_lines_before_a_request_are_ignored() -> None:
    incoming = Incoming(1000)
    for _ in range(10):
        assert incoming.feed(b"\r\n" * 130_000) is State.PARTIAL
    assert (incoming.started(), incoming.size()) == (False, 0)
    assert incoming.feed(COMPLETE) is State.COMPLETE


def test_no_request_buffers_more_than_its_limit() -> None:
    body, head, tiny = Incoming(1000), Incoming(1000), Incoming(1000)

    assert body.feed(HEAD + b"Content-Length: 1001\r\n\r\n") is State.BODY_TOO_LARGE
    assert head.feed(b"GET / HTTP/1.1\r\nX: ".ljust(MAX_HEAD_BYTES + 1, b"x")) is State.HEAD_TOO_LARGE
    tiny.feed(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
    for _ in range(1000):
        assert tiny.feed(b"1\r\nx\r\n") is State.PARTIAL
    assert tiny.size() == 1000
    assert tiny.feed(b"1\r\nx\r\n") is State.BODY_TOO_LARGE
