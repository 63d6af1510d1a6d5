"""What clients may take: slow ones, idle ones, greedy ones, and those that speak no HTTP."""

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
HEAD = b"POST /predict HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\n"
WHOLE = HEAD + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY
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
# a model that answers about an age of 99 once there is a file
SLOW = """
import pathlib, time
from serving.model import predict
real = predict.predict
def slow(model, records):
    while records[0]["age"] == 99 and not pathlib.Path("answer").exists():
        time.sleep(0.01)
    return real(model, records)
predict.predict = slow
"""
# What the service does at once, it would otherwise do after this time: the tests lose patience long before.
LONG = 600
PATIENCE = 60.0
PATIENT = f"--keep-alive {LONG} --graceful-timeout {LONG}"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gunicorn]:
    """A service with few threads."""
    service = start(tmp_path_factory.mktemp("limits"), SLOW, GUNICORN_CMD_ARGS=PATIENT)
    yield service
    service.stop()
    assert "Traceback" not in service.log()


@pytest.fixture(scope="module")
def tight(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gunicorn]:
    """A service with room for eight connections, and for one body of the greatest size."""
    arguments = f"{PATIENT} --worker-connections 8 -k tests.serving.worker.tight_worker.Worker"
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
        **{"HEARTLINE_REQUEST_SECONDS": LONG, **variables},
    )
    service.wait_until_it_answers()
    return service


class Client:
    """A connection on which a test says each byte itself."""

    def __init__(self, service: Gunicorn) -> None:
        self.socket = socket.create_connection(("127.0.0.1", service.port), timeout=PATIENCE)
        self.file = self.socket.makefile("rb")

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()
        self.socket.close()

    def say(self, data: bytes) -> "Client":
        self.socket.sendall(data)
        return self

    def hear(self) -> tuple[int, Any]:
        """Return the status and the JSON of the next answer."""
        status = int(self.file.readline().split()[1])
        self.headers = parse_headers(self.file)
        return status, json.loads(self.file.read(int(self.headers["Content-Length"])))

    def ended(self) -> bool:
        """Return whether the server closes the connection."""
        return self.file.read(1) == b""

    def waits(self) -> bool:
        """Return whether the connection is open, and nothing was said on it."""
        return not select.select([self.socket], [], [], 0)[0]


def ask(service: Gunicorn, age: int = 61) -> int:
    return service.ask("/predict", {**RECORD, "age": age})[0]


@pytest.mark.parametrize("beginning", [b"", HEAD, HEAD + b"Content-Length: 100\r\n\r\n", CHUNKED[:-30]])
def test_twenty_clients_that_trickle_or_say_nothing_hold_up_nobody(service: Gunicorn, beginning: bytes) -> None:
    with ExitStack() as stack:
        slow = [stack.enter_context(Client(service)).say(beginning) for _ in range(20)]
        for _ in range(5):
            assert ask(service) == 200
            assert all(client.waits() for client in slow)
            if beginning:
                for client in slow:
                    client.say(b"1" if b"\r\n\r\n" in beginning else b"X")


def test_a_request_that_is_not_whole_in_time_is_408(tmp_path: Path) -> None:
    service = start(tmp_path, "", HEARTLINE_REQUEST_SECONDS=1)
    try:
        with Client(service).say(HEAD + b"Content-Length: 100\r\n\r\n") as client:
            status, document = client.hear()
            assert client.ended()
    finally:
        service.stop()

    assert (status, document["type"]) == (408, "urn:heartline:problem:request-timeout")
    assert (document["detail"], document["instance"]) == ("the request was not complete after 1 seconds", "/predict")
    assert client.headers["Content-Type"] == "application/problem+json"


def test_a_request_may_come_in_pieces(service: Gunicorn) -> None:
    for request in (WHOLE, CHUNKED):
        with Client(service) as client:
            for start in range(0, len(request), 40):
                client.say(request[start : start + 40])
                time.sleep(0.005)
            assert client.hear()[0] == 200


def test_several_requests_sent_at_once_are_answered_in_their_order(service: Gunicorn) -> None:
    get = b"GET /healthz HTTP/1.1\r\nHost: test\r\n\r\n"
    with Client(service).say(WHOLE + get + CHUNKED + get + WHOLE) as client:
        answers = [client.hear() for _ in range(5)]

    assert [status for status, _ in answers] == [200] * 5
    assert [sorted(answer)[0] for _, answer in answers] == [
        "has_heart_disease",
        "status",
        "has_heart_disease",
        "status",
        "has_heart_disease",
    ]


def test_a_client_that_waits_for_a_sign_gets_it_once(service: Gunicorn) -> None:
    with Client(service).say(HEAD + b"Content-Length: %d\r\nExpect: 100-continue\r\n\r\n" % len(BODY)) as client:
        assert [client.file.readline(), client.file.readline()] == [b"HTTP/1.1 100 Continue\r\n", b"\r\n"]
        assert client.say(BODY).hear()[0] == 200


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
def test_what_the_worker_refuses_has_the_shape_of_all_errors(
    service: Gunicorn, request_: bytes, status: int, slug: str
) -> None:
    with Client(service).say(request_) as client:
        found, document = client.hear()
        assert client.ended()

    assert (found, document["status"], document["type"]) == (status, status, f"urn:heartline:problem:{slug}")
    assert set(document) == {"type", "title", "status", "detail", "expected", "hint", "instance"}
    assert client.headers["Content-Type"] == "application/problem+json"


def test_who_speaks_something_else_is_not_kept_waiting(tight: Gunicorn) -> None:
    with Client(tight).say(b"\x16\x03\x01\x02\x00\x01") as client:
        assert client.ended()


def test_the_log_repeats_nothing_of_a_bad_request(service: Gunicorn) -> None:
    with Client(service).say(HEAD + b"Authorization: Bearer hl_secret\x00\r\n\r\n") as client:
        assert client.hear()[0] == 400

    assert "refused: InvalidHeader" in service.log()
    assert "hl_secret" not in service.log()


def test_what_is_too_much_at_one_time_is_503_and_the_service_is_still_known_to_live(service: Gunicorn) -> None:
    with ThreadPoolExecutor(10) as pool, Client(service) as client, Client(service) as watching:
        asked = [pool.submit(ask, service, 99) for _ in range(10)]  # two threads, and two may wait
        until(lambda: sum(each.done() for each in asked) >= 6)
        assert client.say(WHOLE).hear()[0] == 200  # what needs no thread
        client.say(WHOLE.replace(b"/predict", b"/predict?explain=false"))
        status, document = client.hear()
        watching.say(b"GET /healthz HTTP/1.1\r\nHost: test\r\n\r\n")
        with Client(service) as last:  # its answer comes when the service has met what was said before
            assert last.say(WHOLE).hear()[0] == 200
        assert watching.waits()
        (service.folder / "answer").touch()
        alive = watching.hear()
        answers = [each.result() for each in asked]

    assert (status, document["type"]) == (503, "urn:heartline:problem:overloaded")
    assert client.headers["Retry-After"] == "1"
    assert (answers.count(200), answers.count(503)) == (4, 6)
    assert alive == (200, {"status": "ok"})
    assert ask(service) == 200


def test_bodies_that_come_in_hold_so_much_memory_and_no_more(tight: Gunicorn) -> None:
    head, body = HEAD + b"Content-Length: 19000\r\n\r\n", BODY.ljust(19_000)

    def status(sent: bytes) -> int:
        with Client(tight).say(sent) as client:
            return client.hear()[0]

    with Client(tight).say(head + body[:15_000]) as first:
        tight.wait_until(lambda: status(head + body) == 503)
        with Client(tight).say(head + body[:10_000]) as second:
            answer, document = second.hear()
        assert (answer, document["type"]) == (503, "urn:heartline:problem:overloaded")
        assert ask(tight) == 200  # a small one has its place
        assert first.say(body[15_000:]).hear()[0] == 200
        # and so has the next large one, a moment after the answer to this one
        tight.wait_until(lambda: status(head + body) == 200)

    for _ in range(3):
        with ExitStack() as stack:

            def held() -> bool:
                # said anew each time: one that comes before the answer above is counted out is refused, not held
                stack.enter_context(Client(tight)).say(head + body[:15_000])
                return status(head + body) == 503

            tight.wait_until(held)
        # what is held for a client that has gone is free again
        tight.wait_until(lambda: status(head + body) == 200)


def test_where_there_are_too_many_connections_a_new_one_takes_the_place_of_the_oldest(tight: Gunicorn) -> None:
    with ExitStack() as stack:
        idle = [stack.enter_context(Client(tight)) for _ in range(20)]
        assert ask(tight) == 200
        assert all(client.ended() for client in idle[:12])
        assert idle[-1].say(WHOLE).hear()[0] == 200

        trickling = [stack.enter_context(Client(tight)).say(HEAD) for _ in range(20)]
        assert ask(tight) == 200
        assert trickling[0].ended()


def test_clients_that_keep_a_connection_do_not_hold_up_the_end(service: Gunicorn) -> None:
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
@pytest.mark.parametrize(("request_", "body"), [(WHOLE, BODY), (CHUNKED, BODY), (b"GET / HTTP/1.1\r\n\r\n", b"")])
def test_a_request_ends_where_http_says_however_it_is_cut(request_: bytes, body: bytes, step: int) -> None:
    incoming = Incoming(1000)

    for start in range(0, len(request_), step):
        assert incoming.state is State.OPEN
        incoming.feed(request_[start : start + step])

    assert incoming.state is State.WHOLE
    assert (incoming.body, incoming.rest) == (body, b"")
    assert incoming.head == request_.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"


def test_what_follows_a_request_is_kept() -> None:
    for request in (WHOLE, CHUNKED, b"\r\n\r\n" + WHOLE):
        incoming = Incoming(1000)
        assert incoming.feed(request + b"GET /") is State.WHOLE
        assert (incoming.body, incoming.rest) == (BODY, b"GET /")


def test_empty_lines_before_a_request_are_nothing_however_many() -> None:
    incoming = Incoming(1000)
    for _ in range(10):
        assert incoming.feed(b"\r\n" * 130_000) is State.OPEN
    assert (incoming.begun(), incoming.size()) == (False, 0)
    assert incoming.feed(WHOLE) is State.WHOLE


def test_no_request_holds_more_than_its_limit() -> None:
    body, head, tiny = Incoming(1000), Incoming(1000), Incoming(1000)

    assert body.feed(HEAD + b"Content-Length: 1001\r\n\r\n") is State.BODY_TOO_LARGE
    assert head.feed(b"GET / HTTP/1.1\r\nX: ".ljust(MAX_HEAD_BYTES + 1, b"x")) is State.HEAD_TOO_LARGE
    tiny.feed(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
    for _ in range(1000):
        assert tiny.feed(b"1\r\nx\r\n") is State.OPEN
    assert tiny.size() == 1000
    assert tiny.feed(b"1\r\nx\r\n") is State.BODY_TOO_LARGE
