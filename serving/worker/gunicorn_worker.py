"""The gunicorn worker of the service: slow clients occupy no thread, and no client uses more than its share of memory.

The threads of gunicorn's stock worker read a request at the client's pace: as many slow clients as there are threads
block the service. Here the worker's event loop reads each request, and a thread gets it once it is complete.
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

from serving import problems
from serving.metrics import prometheus
from serving.settings import SettingError, Settings
from serving.worker.connections import Connection
from serving.worker.fast_path import PATH as PREDICT_PATH
from serving.worker.fast_path import FastPath
from serving.worker.graceful_stop import StopsGracefully, is_readable
from serving.worker.http_framing import Incoming, State

SMALL_REQUEST_BYTES = 64 * 1024  # a request of this size is accepted while the worker's buffer is full
MAX_BUFFERED_BODIES = 8  # size of that buffer, in bodies of the maximum size
DRAIN_TIMEOUT_SECONDS = 2.0  # for a refused client to stop sending, so that it can read the response
HEALTH_PATHS = {"/healthz", "/readyz"}  # answered also when every other request gets 503 `overloaded`
LOG = logging.getLogger(__name__)


class Worker(StopsGracefully):
    """Reads requests in its event loop, and answers them in threads.

    A connection is in one place at a time: with a thread, or in one of three queues, each ordered by deadline.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.idle: dict[Connection, None] = {}  # no byte of a request was received
        self.receiving: dict[Connection, None] = {}  # a part of a request was received
        self.draining: dict[Connection, None] = {}  # the last response was sent; input is discarded
        self.in_work = 0  # requests that wait for a thread, or have one
        self.buffered = 0  # bytes of all requests that are not answered yet
        self.settings: Settings
        self.fast_path: FastPath | None = None

    @classmethod
    def check_config(cls, cfg: Config, log: Any) -> None:
        """Check gunicorn's options at the start.

        Raises:
            SystemExit: TLS is configured, which this worker does not support.
        """
        super().check_config(cfg, log)
        if cfg.is_ssl:
            error = SettingError(
                "the service's worker does not support TLS",
                where="the options of gunicorn",
                expected="neither certfile nor keyfile",
                hint="terminate TLS in a reverse proxy",
            )
            raise SystemExit(str(error))

    def load_wsgi(self) -> None:
        """Load the application; its settings apply to the worker too."""
        super().load_wsgi()
        self.settings = self.wsgi.extensions["settings"]
        self.fast_path = None if self.cfg.accesslog else FastPath(self.wsgi)  # the fast path writes no access log

    def accept(self, listener: socket.socket) -> None:
        """Accept a connection; at the limit of connections, close the one that has waited longest."""
        try:
            sock, client = listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        except OSError as error:  # too many open files
            LOG.warning("a connection cannot be accepted: %s", error.strerror)
            self._drop_oldest()
            return
        self.nr_conns += 1
        conn = Connection(self.cfg, sock, client, listener.getsockname(), self.settings.max_body_bytes)
        conn.on_readable = partial(self._on_readable, conn)
        if self.nr_conns >= self.worker_connections:
            self._drop_oldest()
        self._wait(conn, self.idle, self.cfg.keepalive)
        self._on_readable(conn)  # the request has often arrived already

    def murder_keepalived(self) -> None:
        """Close connections whose deadline has passed; called in each turn of the event loop."""
        now = time.monotonic()
        for queue in (self.idle, self.receiving, self.draining):
            while queue and self._deadline(conn := next(iter(queue))) <= now:
                if queue is self.receiving:
                    self._refuse(conn, problems.Problem("request-timeout", seconds=self.settings.request_seconds))
                elif queue is self.draining or not self._serve_unread(conn):
                    self._drop(conn)

    def finish_request(self, conn: Connection, future: "Future[Any]") -> None:
        """Keep or close a connection after a thread has answered on it."""
        self.in_work -= 1
        conn.sock.setblocking(False)
        if future.cancelled() or future.exception() or not future.result():
            self._drain(conn)
            return
        self._start_next(conn)

    def handle_request(self, req: Any, conn: Connection) -> Any:
        """Answer a request whose body was received; runs in a thread."""
        body = conn.incoming.body
        if getattr(req.body.reader, "length", len(body)) != len(body):
            raise ParseException("two readings of where the body ends")
        req.body = io.BytesIO(body)
        req._expected_100_continue = False  # the event loop has sent it
        try:
            return super().handle_request(req, conn)
        except TimeoutError:
            conn.log_send_timeout()
            return False
        finally:
            req.body = io.BytesIO()  # the parser must find nothing to discard before the next request

    def handle_error(self, req: Any, client: socket.socket, addr: Any, exc: BaseException) -> None:
        """Answer malformed HTTP with a problem document; log no part of it, because it may contain a key."""
        problem = _problem_of(exc)
        if problem.status == HTTPStatus.INTERNAL_SERVER_ERROR:
            LOG.error("a request failed outside of the application", exc_info=exc)
        else:
            LOG.warning("a request of %s is refused: %s", addr[0] if addr else "a client", type(exc).__name__)
        _send(client, problem, "")

    def _on_readable(self, conn: Connection, _: Any = None) -> None:
        if conn.queue is None:  # closed since the event
            return
        try:
            data = conn.sock.recv(conn.incoming.wanted())
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        if not data:
            self._drop(conn)
        elif conn.queue is not self.draining:
            conn.incoming.feed(data)
            self._process(conn, at_once=True)

    def _process(self, conn: Connection, *, at_once: bool = False) -> None:
        """Decide what happens to a connection after bytes were received.

        ``at_once``: whether the fast path may answer. It may not answer pipelined requests, so that one client does not
        delay the others.
        """
        request, limit = conn.incoming, self.settings.max_body_bytes
        self._set_buffered(conn, request.size())
        full = self.buffered > MAX_BUFFERED_BODIES * limit and conn.buffered > SMALL_REQUEST_BYTES
        match request.state:
            case State.COMPLETE | State.PARTIAL if full:
                self._refuse(conn, problems.Problem("overloaded"))
            case State.COMPLETE:
                if not (at_once and self._answer(conn)):
                    self._dispatch(conn)
            case State.PARTIAL:
                self._wait_for_rest(conn)
            case State.HEAD_TOO_LARGE:
                self._refuse(conn, problems.Problem("headers-too-large"))
            case State.BODY_TOO_LARGE:
                self._refuse(conn, problems.body_too_large(limit))
            case State.BAD_CHUNK:
                self._refuse(conn, problems.Problem("malformed-request"))

    def _answer(self, conn: Connection) -> bool:
        """Answer on the fast path; return whether the request was of that kind."""
        response = self.fast_path.answer(conn.incoming) if self.fast_path and self.alive else None
        if response is None:
            return False
        if rest := conn.send(response):  # the client has not read its earlier responses
            self._submit(conn, partial(conn.send_all, rest))
        else:
            self._start_next(conn)
        return True

    def _dispatch(self, conn: Connection) -> None:
        """Give a complete request to the threads, or refuse it if too many wait already."""
        room = self.in_work < self.cfg.threads + self.settings.max_waiting
        if room or conn.incoming.path() in HEALTH_PATHS:
            self._submit(conn, partial(self.handle, conn))
        else:
            self._refuse(conn, problems.Problem("overloaded"))

    def _submit(self, conn: Connection, work: Callable[[], bool]) -> None:
        """Run ``work`` in a thread; it sends a response, and returns whether the connection is kept."""
        self._stop_waiting(conn)
        self.in_work += 1
        future = self.tpool.submit(work)
        future.add_done_callback(lambda done: self.method_queue.defer(self.finish_request, conn, done))

    def _start_next(self, conn: Connection) -> None:
        """Wait for the next request of a connection, or process the bytes of it that were received already."""
        self._set_buffered(conn, 0)
        conn.next_request()
        self._wait(conn, self.idle, self.cfg.keepalive)
        if conn.incoming.started():
            self._process(conn)

    def _wait_for_rest(self, conn: Connection) -> None:
        request = conn.incoming
        if request.expects:
            request.expects = False
            with contextlib.suppress(OSError):
                conn.sock.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        if request.started() and conn.queue is self.idle:
            self._wait(conn, self.receiving, self.settings.request_seconds)

    def _refuse(self, conn: Connection, problem: problems.Problem) -> None:
        """Send a problem document without calling the application, and close the connection."""
        _send(conn.sock, problem, path := conn.incoming.path())
        if path == PREDICT_PATH and conn.incoming.head.startswith(b"POST "):
            self.wsgi.extensions["prediction_log"].refused(problem.slug)
        self._drain(conn)

    def _drain(self, conn: Connection) -> None:
        """Close a connection after its last response.

        Input is discarded for a while first: closing a socket with unread input resets the connection, and the client
        would lose the response.
        """
        with contextlib.suppress(OSError):
            conn.sock.shutdown(socket.SHUT_WR)
        self._set_buffered(conn, 0)
        conn.incoming = Incoming(0)
        self._wait(conn, self.draining, DRAIN_TIMEOUT_SECONDS)

    def _wait(self, conn: Connection, queue: "dict[Connection, None]", seconds: float) -> None:
        """Move a connection to ``queue``, with a deadline ``seconds`` from now."""
        if conn.queue is None:
            self.poller.register(conn.sock, selectors.EVENT_READ, conn.on_readable)
        else:
            del conn.queue[conn]
        conn.queue, conn.deadline = queue, time.monotonic() + seconds
        queue[conn] = None

    def _stop_waiting(self, conn: Connection) -> None:
        """Remove a connection from its queue and from the event loop."""
        if conn.queue is not None:
            del conn.queue[conn]
            conn.queue = None
            self.poller.unregister(conn.sock)

    def _deadline(self, conn: Connection) -> float:
        """Return when the wait of a connection ends; an idle one is closed soon while the worker stops."""
        return min(conn.deadline, self.linger_until) if conn.queue is self.idle else conn.deadline

    def _serve_unread(self, conn: Connection) -> bool:
        """Read what an idle connection has received; return whether a request started, so that it must stay open."""
        deadline = conn.deadline
        if is_readable(conn.sock):
            self._on_readable(conn)
        return conn.queue is not self.idle or conn.deadline != deadline

    def _set_buffered(self, conn: Connection, size: int) -> None:
        self.buffered += size - conn.buffered
        conn.buffered = size

    def _drop_oldest(self) -> None:
        """Close the connection that has waited longest, first among those without a request."""
        for conn in [*self.draining, *self.idle, *self.receiving]:
            if conn.queue is not self.idle or not self._serve_unread(conn):
                self._drop(conn)
                return

    def _drop(self, conn: Connection) -> None:
        self._stop_waiting(conn)
        self._set_buffered(conn, 0)
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
    with contextlib.suppress(OSError):  # the client has disconnected, or does not read
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
