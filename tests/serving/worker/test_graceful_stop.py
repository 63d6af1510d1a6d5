"""No request is lost while workers or the service are restarted, on both workers, behind nginx and directly."""

import json
import os
import selectors
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from gunicorn.config import Config

from serving.worker import graceful_stop
from serving.worker.connections import Connection
from serving.worker.gunicorn_worker import Worker
from tests.serving.fakes import RECORD, make_bundle
from tests.serving.gunicorns import WORKERS, Gunicorn
from tests.serving.worker import nginx
from tests.serving.worker.load import Load
from tests.waiting import until

BODY = json.dumps(RECORD).encode()
REQUEST = (
    b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    % len(BODY)
    + BODY
)
TIMEOUT_SECONDS = 20.0
CLIENTS = 8
# each request waits in the application until a file exists
WAITING = """
import pathlib, time
from serving.model import predict
real = predict.predict
def waiting(model, records):
    while pathlib.Path("wait").exists():
        pathlib.Path("waits").touch()
        time.sleep(0.01)
    return real(model, records)
predict.predict = waiting
"""

Start = Callable[..., Gunicorn]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start the service with a bundle; it is stopped after the test."""
    started: list[Gunicorn] = []

    def run(worker: str, before: str = "", **variables: object) -> Gunicorn:
        (tmp_path / "bundle").mkdir()
        for name, data in make_bundle().items():
            (tmp_path / "bundle" / name).write_bytes(data)
        settings = {"HEARTLINE_BUNDLE": tmp_path / "bundle", "HEARTLINE_WORKER": worker, **variables}
        service = Gunicorn(tmp_path, before, **settings)
        started.append(service)
        service.wait_until_it_answers()
        return service

    yield run
    for service in started:
        service.stop()


class Client:
    """A connection that is kept, as far as the service keeps it."""

    def __init__(self, service: Gunicorn) -> None:
        self.socket = socket.create_connection(("127.0.0.1", service.port), timeout=TIMEOUT_SECONDS)
        self._file = self.socket.makefile("rb")

    def send(self, query: bytes = b"") -> "Client":
        self.socket.sendall(REQUEST.replace(b"/predict", b"/predict" + query))
        return self

    def receive(self) -> tuple[int, str]:
        """Return the status and the field Connection of the next response."""
        status = self._file.readline().split()
        assert status, "the connection was closed without a response"
        fields = {}
        while (line := self._file.readline().strip().decode()) != "":
            name, _, value = line.partition(":")
            fields[name.lower()] = value.strip()
        self._file.read(int(fields["content-length"]))
        return int(status[1]), fields.get("connection", "")

    def is_closed(self) -> bool:
        return self._file.read(1) == b""


def stopping(service: Gunicorn, worker: int) -> None:
    """Ask one worker to stop, and wait until it does."""
    os.kill(worker, signal.SIGTERM)
    # a new connection is accepted by its event loop, after the signal
    until(lambda: Client(service).send().receive() == (200, "close"))


@pytest.mark.parametrize("worker", WORKERS)
def test_an_idle_connection_is_served_once_more_and_then_closed(start: Start, worker: str) -> None:
    service = start(worker, HEARTLINE_SERVICE_WORKERS=1)
    clients = [Client(service).send() for _ in range(3)]
    assert [client.receive() for client in clients] == [(200, "keep-alive")] * 3

    stopping(service, service.workers()[0])

    assert [client.send().receive() for client in clients[:2]] == [(200, "close")] * 2
    assert all(client.is_closed() for client in clients), "the silent one is closed too"
    assert Client(service).send().receive() == (200, "keep-alive"), "by the next worker"


@pytest.mark.parametrize("worker", WORKERS)
def test_a_connection_that_a_response_keeps_is_kept_although_the_worker_stops_meanwhile(
    start: Start, worker: str, tmp_path: Path
) -> None:
    (tmp_path / "wait").touch()
    service = start(worker, WAITING, HEARTLINE_SERVICE_WORKERS=1)
    client = Client(service).send(b"?explain=false")  # answered by a thread, not by the event loop
    service.wait_until((tmp_path / "waits").exists)

    os.kill(service.workers()[0], signal.SIGTERM)
    until(lambda: health(service) == "close")
    (tmp_path / "wait").unlink()

    assert client.receive() == (200, "keep-alive")
    assert client.send().receive() == (200, "close")


def health(service: Gunicorn) -> str:
    with socket.create_connection(("127.0.0.1", service.port), timeout=TIMEOUT_SECONDS) as sock:
        sock.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        return "close" if b"Connection: close" in sock.recv(1000) else "keep-alive"


@pytest.mark.parametrize("worker", WORKERS)
def test_a_connection_that_waits_to_be_accepted_is_served_when_the_service_stops(
    start: Start, worker: str, tmp_path: Path
) -> None:
    service = start(worker, HEARTLINE_SERVICE_WORKERS=1)
    (pid,) = service.workers()
    os.kill(pid, signal.SIGSTOP)  # it accepts nothing
    clients = [Client(service).send() for _ in range(5)]

    service.process.send_signal(signal.SIGTERM)
    os.kill(pid, signal.SIGCONT)

    assert [client.receive()[0] for client in clients] == [200] * 5
    assert service.process.wait(TIMEOUT_SECONDS) == 0
    with pytest.raises(ConnectionRefusedError):
        Client(service)


@pytest.mark.parametrize("worker", WORKERS)
def test_the_port_is_closed_soon_after_the_master_was_killed(start: Start, worker: str) -> None:
    service = start(worker, HEARTLINE_SERVICE_WORKERS=1)
    idle = Client(service).send()
    idle.receive()

    service.process.kill()

    assert idle.is_closed()
    until(lambda: refused(service))


SLOW_START = """
import time
from gunicorn import util
real = util.seed
def seed():
    time.sleep(1)
    real()
util.seed = seed
"""


@pytest.mark.parametrize("worker", WORKERS)
def test_a_worker_that_is_stopped_while_it_starts_ends(start: Start, worker: str) -> None:
    service = start(worker, SLOW_START, HEARTLINE_SERVICE_WORKERS=1)
    (first,) = service.workers()
    os.kill(first, signal.SIGKILL)
    second = until(lambda: service.workers()[1:])[0]

    os.kill(second, signal.SIGTERM)

    until(lambda: f"Worker exiting (pid: {second})" in service.log(), said=service.log)


def refused(service: Gunicorn) -> bool:
    try:
        Client(service).socket.close()
    except ConnectionRefusedError:
        return True
    return False


def unstarted_worker() -> Worker:
    """Return a worker whose event loop does not run, with room for two connections."""
    config = Config()
    config.set("worker_connections", 2)
    worker = Worker(1, os.getppid(), [], None, 30, config, None)
    worker.tpool, worker.poller = worker.get_thread_pool(), selectors.DefaultSelector()
    worker.method_queue.init()
    worker.handled = []

    def dispatch(conn: Connection) -> None:
        worker._stop_waiting(conn)
        worker.handled.append(conn)

    worker._dispatch = dispatch
    worker.settings = type("Settings", (), {"max_body_bytes": 1000, "request_seconds": 30})()
    return worker


def connected(worker: Worker) -> tuple[Connection, socket.socket]:
    ours, theirs = socket.socketpair()
    theirs.settimeout(TIMEOUT_SECONDS)
    conn = Connection(worker.cfg, ours, "", "", 1000)
    conn.on_readable = lambda _: worker._on_readable(conn)
    worker.nr_conns += 1
    worker._wait(conn, worker.idle, 0)
    return conn, theirs


@pytest.mark.parametrize("close", [Worker.murder_keepalived, Worker._drop_oldest])
def test_an_idle_connection_with_an_unread_request_is_not_closed(close: Callable[[Worker], Any]) -> None:
    worker = unstarted_worker()
    (busy, client), (_, silent) = connected(worker), connected(worker)
    client.sendall(REQUEST)

    close(worker)

    assert worker.handled == [busy]
    assert silent.recv(1) == b"", "the other one is closed"


def test_only_linux_is_asked_to_refuse_new_connections() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = listener.getsockname()
        with socket.create_connection(address) as early:
            early.sendall(b"hello")
            graceful_stop.refuse_new_connections(listener)
            with socket.socket() as late:
                late.setblocking(False)
                assert late.connect_ex(address) != 0
                accepted, _ = listener.accept()
                with accepted:
                    assert accepted.recv(5) == b"hello"
                assert not graceful_stop.is_readable(listener)


def signal_workers(service: Gunicorn, number: signal.Signals) -> Callable[[], None]:
    """Return a function that sends a signal to one of two workers that serve, to another one with each call."""
    signalled: set[int] = set()

    def send() -> None:
        until(lambda: service.log().count("serving heart-disease version") >= 2 + len(signalled))
        worker = until(lambda: next((pid for pid in service.workers() if pid not in signalled), 0))
        signalled.add(worker)
        os.kill(worker, number)

    return send


def load(service: Gunicorn, port: int, total: int, what: str) -> Load:
    """Send requests; six times meanwhile (once for the end of the service), do something to the service."""
    act = {
        "reload": lambda: service.process.send_signal(signal.SIGHUP),
        "stop a worker": signal_workers(service, signal.SIGTERM),
        "kill a worker": signal_workers(service, signal.SIGKILL),
        "stop the service": service.process.terminate,
    }[what]
    times = [total // 2] if what == "stop the service" else [total * share // 8 for share in range(1, 7)]
    return Load(port, BODY, total, CLIENTS, dict.fromkeys(times, act)).run()


TOTALS = [1_000, pytest.param(10_000, marks=pytest.mark.slow)]


@pytest.mark.parametrize("total", TOTALS)
@pytest.mark.parametrize("what", ["reload", "stop a worker", "stop the service"])
@pytest.mark.parametrize("worker", WORKERS)
def test_no_request_is_lost_directly(start: Start, worker: str, what: str, total: int) -> None:
    service = start(worker, HEARTLINE_SERVICE_WORKERS=2)

    done = load(service, service.port, total, what)

    assert done.outcomes.keys() == {200}, done.outcomes
    assert done.outcomes[200] == total if what != "stop the service" else done.refused == CLIENTS


@pytest.mark.parametrize("worker", WORKERS)
def test_a_killed_worker_loses_the_requests_that_it_had_and_no_other(start: Start, worker: str) -> None:
    service = start(worker, HEARTLINE_SERVICE_WORKERS=2)

    done = load(service, service.port, 2_000, "kill a worker")

    assert done.outcomes.total() == 2_000
    assert 2_000 - done.outcomes[200] <= 6 * CLIENTS, done.outcomes


@pytest.mark.parametrize("total", TOTALS)
@pytest.mark.parametrize("what", ["reload", "stop a worker", "kill a worker"])
@pytest.mark.parametrize("worker", WORKERS)
def test_no_request_is_lost_behind_nginx(
    start: Start, need: Callable[[object, str], None], tmp_path: Path, worker: str, what: str, total: int
) -> None:
    need(nginx.program(), "nginx")
    service = start(worker, HEARTLINE_SERVICE_WORKERS=2)
    (tmp_path / "nginx").mkdir()
    proxy = nginx.Nginx(tmp_path / "nginx", service.port, retry=what == "kill a worker")
    try:
        done = load(service, proxy.port, total, what)
    finally:
        proxy.stop()

    # the stock worker sends head and body of a response one after the other: nginx cannot repeat half a response
    half_sent = done.outcomes["IncompleteRead"] if (worker, what) == ("gthread", "kill a worker") else 0
    assert half_sent <= CLIENTS
    assert done.outcomes[200] == done.outcomes.total() - half_sent == total - half_sent, proxy.log()[-3000:]
