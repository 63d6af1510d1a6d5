"""Stops a worker without losing a request: for the service's own worker, and for gunicorn's stock one.

gunicorn's worker closes a connection at the end of a request that was in progress when the signal came, although the
response has said that the connection is kept. The client's next request, which may have arrived already, is lost. So
are the connections that wait in the listening socket while the service stops.

Here a connection is closed only after a response that says so, or after the client was silent for a while.
"""

import contextlib
import ctypes
import os
import select
import socket
import struct
import time
from collections import deque
from concurrent.futures import Future
from functools import partial
from selectors import EVENT_READ
from typing import Any

from gunicorn.workers.gthread import TConn, ThreadWorker  # type: ignore[import-untyped]

from serving.model.worker_states import GONE, Workers

LINGER_SECONDS = 3.0  # for the next request of an idle connection; busy clients send it within milliseconds
HANDSHAKE_SECONDS = 0.3  # for connections that are being made while the service stops
TURN_SECONDS = 0.1  # between two checks of these deadlines
# Of graceful_timeout, kept free for the end of the worker, which writes its queue of predictions: at the end of
# graceful_timeout it is killed.
EXIT_SECONDS = 5.0

_SO_ATTACH_FILTER = 26  # Linux; the socket module does not have it
_TCP_FLAGS, _SYN = 13, 0x02
# A packet filter: drop packets with SYN and without ACK, pass all others. Fields: code, jumps (true, false), operand.
_DROP_SYN = (
    (0x30, 0, 0, _TCP_FLAGS),  # load the byte with the flags
    (0x54, 0, 0, 0x12),  # keep SYN and ACK
    (0x15, 0, 1, _SYN),  # SYN only?
    (0x06, 0, 0, 0),  # drop
    (0x06, 0, 0, 0xFFFFFFFF),  # pass
)


class StopsGracefully(ThreadWorker):  # type: ignore[misc]
    """A threaded worker that answers each request that was sent to it before it ends.

    While it stops, it serves its idle connections for ``LINGER_SECONDS`` more; each response has ``Connection: close``.
    It accepts connections until another worker does. If the complete service stops, there is none: new connections are
    refused, and those that were made already are served.
    """

    linger_until = accept_until = give_up_at = float("inf")  # monotonic times, set when it stops
    _refuses = False

    def set_accept_enabled(self, enabled: bool) -> None:
        """Start or stop accepting connections; gunicorn's last call starts the graceful end."""
        if enabled or (self.alive and self.is_parent_alive()):
            super().set_accept_enabled(enabled)
        elif self.linger_until == float("inf"):
            self._start_to_stop()

    def wait_for_and_dispatch_events(self, timeout: float) -> None:
        """Run one turn of the event loop; while the worker stops, keep its deadlines."""
        stopping = self.linger_until < float("inf")
        super().wait_for_and_dispatch_events(min(timeout, TURN_SECONDS) if stopping else timeout)
        if not stopping:
            return
        if not self._refuses and self._workers.service_stops():  # a process group gets its signals in any order
            self._refuse_new_connections()
        if self._accepting and self._is_accepted_elsewhere():
            self._stop_accepting()
        if time.monotonic() >= self.give_up_at:
            self.nr_conns = 0  # ends gunicorn's loop; requests in progress are still answered by their threads

    @property
    def _workers(self) -> Workers:
        workers: Workers = self.wsgi.extensions["workers"]
        return workers

    def _start_to_stop(self) -> None:
        if not self.is_parent_alive():
            self._workers.stop_service()
        self.alive = False
        self._workers.mark(self.age, GONE)
        now = time.monotonic()
        self.give_up_at = now + max(self.cfg.graceful_timeout - EXIT_SECONDS, 0)
        self.linger_until = min(now + LINGER_SECONDS, self.give_up_at)
        self.accept_until = min(now + HANDSHAKE_SECONDS, self.give_up_at)
        super().set_accept_enabled(True)  # it may have been at its limit of connections
        self.nr_conns += 1  # gunicorn's loop runs while there are connections: accepting counts as one

    def _refuse_new_connections(self) -> None:
        self._refuses = True
        self.accept_until = min(time.monotonic() + HANDSHAKE_SECONDS, self.give_up_at)
        for listener in self.sockets:
            refuse_new_connections(listener)

    def _is_accepted_elsewhere(self) -> bool:
        """Return whether this worker need not accept: another one does, or there is nothing left to be accepted."""
        now = time.monotonic()
        if self._refuses:
            return now >= self.accept_until
        unused = self.nr_conns == 1 and now >= self.accept_until
        return unused or self._workers.ready() > 0 or now >= self.linger_until

    def _stop_accepting(self) -> None:
        if self._refuses:
            for listener in self.sockets:
                for _ in range(self.cfg.backlog):
                    if not is_readable(listener):
                        break
                    self.accept(listener)
        super().set_accept_enabled(False)
        self.nr_conns -= 1


class StockWorker(StopsGracefully):
    """gunicorn's stock worker; an instance of it becomes one of this class by ``adopt``."""

    def finish_request(self, conn: TConn, fs: "Future[Any]") -> None:
        """Keep a connection whose response has said so, also while the worker stops."""
        if self.alive or fs.cancelled() or fs.exception() or not (result := fs.result()):
            super().finish_request(conn, fs)
            return
        conn.sock.setblocking(False)
        conn.timeout = min(time.monotonic() + self.cfg.keepalive, self.linger_until)
        waiting, on_readable = (
            (self.keepalived_conns, self.on_client_socket_readable)
            if result is True
            else (self.pending_conns, self.on_pending_socket_readable)  # no byte of its first request has arrived
        )
        waiting.append(conn)
        self.poller.register(conn.sock, EVENT_READ, partial(on_readable, conn))

    def murder_keepalived(self) -> None:
        """Close idle connections whose time is over and that have no unread request."""
        self._serve_unread(self.keepalived_conns, self.on_client_socket_readable)
        super().murder_keepalived()

    def murder_pending(self) -> None:
        """Close connections that have not sent a request in time."""
        self._serve_unread(self.pending_conns, self.on_pending_socket_readable)
        super().murder_pending()

    def _serve_unread(self, conns: "deque[TConn]", serve: Any) -> None:
        now = time.monotonic()
        for conn in list(conns):
            conn.timeout = min(conn.timeout, self.linger_until)
            if conn.timeout <= now and is_readable(conn.sock):
                serve(conn, conn.sock)


def adopt(worker: ThreadWorker) -> None:
    """Make a stock worker stop gracefully. Other kinds of workers are left as they are."""
    # its class is not ours from the beginning, so that gunicorn's option -k and its log work as usual
    if type(worker) is ThreadWorker:
        worker.__class__ = StockWorker


def is_readable(sock: Any) -> bool:
    """Return whether something can be read from a socket, or be accepted, without waiting."""
    poller = select.poll()
    poller.register(sock, select.POLLIN)
    return bool(poller.poll(0))


def refuse_new_connections(listener: Any) -> None:
    """Make the kernel ignore new connections to a listening socket; those in its queue can still be accepted.

    Closing the socket would reset the connections that wait in it, also those with a request. An ignored client tries
    again after a second; by then the port is closed, and it is refused. Only Linux can do it.
    """
    if listener.family not in (socket.AF_INET, socket.AF_INET6) or os.uname().sysname != "Linux":
        return
    program = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in _DROP_SYN))
    with contextlib.suppress(OSError):
        listener.setsockopt(
            socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HP", len(_DROP_SYN), ctypes.addressof(program))
        )
