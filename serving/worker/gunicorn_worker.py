"""The gunicorn worker of the service: no client can hold a thread, nor more than its share of memory.

gunicorn's own threads read what a client sends, at the client's pace: as many slow clients as there are threads, and
nobody else is answered. Here the worker's event loop collects each request, and a thread gets it when it is whole.
"""

import contextlib
import io
import logging
import selectors
import socket
import time
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from http import HTTPStatus
from typing import Any

from gunicorn.config import Config  # type: ignore[import-untyped]
from gunicorn.http.errors import (  # type: ignore[import-untyped]
    LimitRequestHeaders,
    LimitRequestLine,
    ParseException,
    UnsupportedTransferCoding,
)
from gunicorn.workers.gthread import ThreadWorker  # type: ignore[import-untyped]

from serving import problems
from serving.metrics import prometheus
from serving.settings import SettingError, Settings
from serving.worker.connections import Connection
from serving.worker.fast_path import Direct
from serving.worker.http_framing import Incoming, State

RECEIVE_BYTES = 256 * 1024
SMALL_BYTES = 64 * 1024  # what a request may hold while the worker's memory for requests is full
MEMORY_BODIES = 8  # bodies of the greatest size that a worker holds at one time
LINGER_SECONDS = 2.0  # that a refused client may go on sending, so that it gets to read why
WATCHED_PATHS = {"/healthz", "/readyz"}  # answered also where everything else is refused for want of room
LOG = logging.getLogger(__name__)


class Worker(ThreadWorker):  # type: ignore[misc]
    """Collects requests in its event loop, and lets threads answer them.

    A connection is in one place at a time: with a thread, or in one of three lists, each in order of its deadlines.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.idle: dict[Connection, None] = {}  # nothing of a request is there yet
        self.receiving: dict[Connection, None] = {}  # a part of it is
        self.lingering: dict[Connection, None] = {}  # it was refused
        self.in_work = 0  # requests that wait for a thread, or have one
        self.held = 0  # bytes of all requests that are not answered yet
        self.settings: Settings
        self.direct: Direct | None = None

    @classmethod
    def check_config(cls, cfg: Config, log: Any) -> None:
        """End gunicorn where it was told to speak TLS."""
        super().check_config(cfg, log)
        if cfg.is_ssl:
            error = SettingError(
                "the service speaks no TLS",
                where="the options of gunicorn",
                expected="neither certfile nor keyfile",
                hint="let a reverse proxy speak TLS",
            )
            raise SystemExit(str(error))

    def load_wsgi(self) -> None:
        """Load the application, whose settings hold for the worker too."""
        super().load_wsgi()
        self.settings = self.wsgi.extensions["settings"]
        self.direct = None if self.cfg.accesslog else Direct(self.wsgi)  # it writes no line there

    def accept(self, listener: socket.socket) -> None:
        """Take a new connection; where there are too many, in place of the one that has waited longest."""
        try:
            sock, client = listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        except OSError as error:  # there are too many open files
            LOG.warning("a connection cannot be taken: %s", error.strerror)
            self._make_room()
            return
        self.nr_conns += 1
        conn = Connection(self.cfg, sock, client, listener.getsockname(), self.settings.max_body_bytes)
        conn.on_readable = partial(self._on_readable, conn)
        if self.nr_conns >= self.worker_connections:
            self._make_room()
        self._wait(conn, self.idle, self.cfg.keepalive)
        self._on_readable(conn)  # the request is often there already

    def set_accept_enabled(self, enabled: bool) -> None:
        """Accept connections, or do not; where the worker is to end, it waits for no client that asks for nothing."""
        super().set_accept_enabled(enabled)
        if not self.alive:
            for conn in [*self.idle, *self.lingering]:
                self._drop(conn)

    def murder_keepalived(self) -> None:
        """End what has waited too long; called at each turn of the event loop."""
        now = time.monotonic()
        for waiting in (self.idle, self.receiving, self.lingering):
            while waiting and (conn := next(iter(waiting))).deadline <= now:
                if waiting is self.receiving:
                    self._refuse(conn, problems.Problem("request-timeout", seconds=self.settings.request_seconds))
                else:
                    self._drop(conn)

    def finish_request(self, conn: Connection, future: "Future[Any]") -> None:
        """Go on with a connection that a thread has answered."""
        self.in_work -= 1
        conn.sock.setblocking(False)
        if future.cancelled() or future.exception() or not future.result() or not self.alive:
            self._linger(conn)
            return
        self._go_on(conn)

    def handle_request(self, req: Any, conn: Connection) -> Any:
        """Answer a request whose body is there; runs in a thread."""
        body = conn.incoming.body
        if getattr(req.body.reader, "length", len(body)) != len(body):
            raise ParseException("two readings of where the body ends")
        req.body = io.BytesIO(body)
        req._expected_100_continue = False  # the event loop has answered that
        try:
            return super().handle_request(req, conn)
        except TimeoutError:
            conn.was_not_read()
            return False
        finally:
            req.body = io.BytesIO()  # nothing is left to be read before the next request

    def handle_error(self, req: Any, client: socket.socket, addr: Any, exc: BaseException) -> None:
        """Answer what is no HTTP; the log repeats nothing of it, because a key may be part of it."""
        problem = _problem_of(exc)
        if problem.status == HTTPStatus.INTERNAL_SERVER_ERROR:
            LOG.error("a request failed outside of the application", exc_info=exc)
        else:
            LOG.warning("a request of %s is refused: %s", addr[0] if addr else "a client", type(exc).__name__)
        _send(client, problem, "")

    def _on_readable(self, conn: Connection, _: Any = None) -> None:
        if conn.waits_in is None:  # it was dropped since the event
            return
        try:
            data = conn.sock.recv(RECEIVE_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        if not data:
            self._drop(conn)
        elif conn.waits_in is not self.lingering:
            conn.incoming.feed(data)
            self._sort(conn, at_once=True)

    def _sort(self, conn: Connection, *, at_once: bool = False) -> None:
        """Put a connection where it belongs after something has come in.

        ``at_once``: whether it may be answered here; not so for what one client sends in advance, before others had
        their turn.
        """
        request, limit = conn.incoming, self.settings.max_body_bytes
        self._count(conn, request.size())
        match request.state:
            case State.WHOLE | State.OPEN if self.held > MEMORY_BODIES * limit and conn.held > SMALL_BYTES:
                self._refuse(conn, problems.Problem("overloaded"))
            case State.WHOLE:
                if not (at_once and self._answer(conn)):
                    self._hand_over(conn)
            case State.OPEN:
                self._wait_for_rest(conn)
            case State.HEAD_TOO_LARGE:
                self._refuse(conn, problems.Problem("headers-too-large"))
            case State.BODY_TOO_LARGE:
                self._refuse(conn, problems.body_too_large(limit))
            case State.BAD_CHUNK:
                self._refuse(conn, problems.Problem("malformed-request"))

    def _answer(self, conn: Connection) -> bool:
        """Answer here what needs no thread; return whether it was that."""
        answer = self.direct.answer(conn.incoming) if self.direct and self.alive else None
        if answer is None:
            return False
        if rest := conn.send(answer):  # the client does not read what it was answered before
            self._submit(conn, partial(conn.send_all, rest))
        else:
            self._go_on(conn)
        return True

    def _hand_over(self, conn: Connection) -> None:
        room = self.in_work < self.cfg.threads + self.settings.max_waiting
        if room or conn.incoming.path() in WATCHED_PATHS:
            self._submit(conn, partial(self.handle, conn))
        else:
            self._refuse(conn, problems.Problem("overloaded"))

    def _submit(self, conn: Connection, work: Callable[[], bool]) -> None:
        """Let a thread do what ends with an answer, and returns whether the connection lives on."""
        self._forget(conn)
        self.in_work += 1
        future = self.tpool.submit(work)
        future.add_done_callback(lambda done: self.method_queue.defer(self.finish_request, conn, done))

    def _go_on(self, conn: Connection) -> None:
        """Wait for the next request of a connection, or begin with what has come of it already."""
        self._count(conn, 0)
        conn.next_request()
        self._wait(conn, self.idle, self.cfg.keepalive)
        if conn.incoming.begun():
            self._sort(conn)

    def _wait_for_rest(self, conn: Connection) -> None:
        request = conn.incoming
        if request.expects:
            request.expects = False
            with contextlib.suppress(OSError):
                conn.sock.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        if request.begun() and conn.waits_in is self.idle:
            self._wait(conn, self.receiving, self.settings.request_seconds)

    def _refuse(self, conn: Connection, problem: problems.Problem) -> None:
        """Answer in place of the application."""
        _send(conn.sock, problem, conn.incoming.path())
        self._linger(conn)

    def _linger(self, conn: Connection) -> None:
        """Let a client read its last answer: to close while it still sends would take that from it."""
        with contextlib.suppress(OSError):
            conn.sock.shutdown(socket.SHUT_WR)
        self._count(conn, 0)
        conn.incoming = Incoming(0)
        if self.alive:
            self._wait(conn, self.lingering, LINGER_SECONDS)
        else:
            self._drop(conn)

    def _wait(self, conn: Connection, where: "dict[Connection, None]", seconds: float) -> None:
        if conn.waits_in is None:
            self.poller.register(conn.sock, selectors.EVENT_READ, conn.on_readable)
        else:
            del conn.waits_in[conn]
        conn.waits_in, conn.deadline = where, time.monotonic() + seconds
        where[conn] = None

    def _forget(self, conn: Connection) -> None:
        """Watch a connection no more."""
        if conn.waits_in is not None:
            del conn.waits_in[conn]
            conn.waits_in = None
            self.poller.unregister(conn.sock)

    def _count(self, conn: Connection, held: int) -> None:
        self.held += held - conn.held
        conn.held = held

    def _make_room(self) -> None:
        """Drop the connection that has waited longest, those first that ask for nothing."""
        for waiting in (self.lingering, self.idle, self.receiving):
            if waiting:
                self._drop(next(iter(waiting)))
                return

    def _drop(self, conn: Connection) -> None:
        self._forget(conn)
        self._count(conn, 0)
        self.nr_conns -= 1
        conn.close()


def _send(sock: socket.socket, problem: problems.Problem, path: str) -> None:
    body = problem.body(path)
    fields = {
        "Content-Type": problems.MEDIA_TYPE,
        "Content-Length": str(len(body)),
        "Connection": "close",
        **problem.headers,
    }
    lines = [f"HTTP/1.1 {problem.status} {HTTPStatus(problem.status).phrase}", *map(": ".join, fields.items()), "", ""]
    with contextlib.suppress(OSError):  # it has gone, or takes nothing
        sock.send("\r\n".join(lines).encode("latin-1") + body)
    prometheus.REQUESTS.labels(prometheus.OTHER, prometheus.OTHER, str(problem.status)).inc()


def _problem_of(error: BaseException) -> problems.Problem:
    if isinstance(error, LimitRequestHeaders | LimitRequestLine):
        return problems.Problem("headers-too-large")
    if isinstance(error, UnsupportedTransferCoding):
        return problems.Problem("unsupported-transfer-coding")
    if isinstance(error, ParseException):
        return problems.Problem("malformed-request")
    return problems.Problem("internal-error")
