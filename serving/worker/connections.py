"""A client's connection: the request that it is sending, and the queue of the worker that it waits in."""

import logging
import socket
from collections.abc import Callable
from typing import Any

from gunicorn.config import Config  # type: ignore[import-untyped]
from gunicorn.http import get_parser  # type: ignore[import-untyped]
from gunicorn.workers.gthread import TConn  # type: ignore[import-untyped]

from serving.worker.http_framing import Incoming

SEND_TIMEOUT_SECONDS = 10.0  # for a client to accept a response
LOG = logging.getLogger(__name__)


class _HeadSource:
    """Stands in for the socket that gunicorn's parser reads: it returns the heads of requests, and nothing else."""

    def __init__(self) -> None:
        self.data = b""

    def recv(self, size: int) -> bytes:
        data, self.data = self.data[:size], self.data[size:]
        return data


class Connection(TConn):  # type: ignore[misc]
    """A client's connection, with the bytes received of its next request.

    Args:
        cfg: gunicorn's configuration.
        sock: the accepted socket.
        client: the client's address.
        server: the address that the client connected to.
        max_body: bytes that a body may have.
    """

    def __init__(self, cfg: Config, sock: socket.socket, client: Any, server: Any, max_body: int) -> None:
        super().__init__(cfg, sock, client, server)
        self.parser: Any = None
        self.data_ready = True
        self.max_body = max_body
        self.incoming = Incoming(max_body)
        self.source = _HeadSource()
        self.buffered = 0  # bytes that the worker counts for it
        self.deadline = 0.0
        self.queue: dict[Connection, None] | None = None
        self.on_readable: Callable[[socket.socket], None] = _nothing

    def init(self) -> None:
        """Prepare for a thread that answers; gunicorn calls it for each request."""
        if self.parser is None:
            self.parser = get_parser(self.cfg, self.source, self.client)
            self.initialized = True
        self.source.data = self.incoming.head
        self.sock.settimeout(SEND_TIMEOUT_SECONDS)

    def next_request(self) -> None:
        """Drop the request that was answered; start the next one with the bytes that followed it."""
        rest = self.incoming.rest
        self.incoming = Incoming(self.max_body)
        if rest:
            self.incoming.feed(rest)

    def send(self, data: bytes) -> bytes:
        """Send without blocking; return what is still to be sent, which is nothing if the client has disconnected."""
        try:
            return data[self.sock.send(data) :]
        except BlockingIOError:
            return data
        except OSError:
            return b""

    def send_all(self, data: bytes) -> bool:
        """Send from a thread, blocking up to the time limit; return whether the client accepted all of it."""
        self.sock.settimeout(SEND_TIMEOUT_SECONDS)
        try:
            self.sock.sendall(data)
        except TimeoutError:
            self.log_send_timeout()
            return False
        except OSError:
            return False
        return True

    @staticmethod
    def log_send_timeout() -> None:
        """Log that a client did not read its response in time."""
        LOG.warning("a client did not accept its response within %g s", SEND_TIMEOUT_SECONDS)


def _nothing(_: socket.socket) -> None:
    pass
