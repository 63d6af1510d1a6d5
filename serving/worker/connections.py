"""A client's connection, from the point of view of the worker: what has come in, and where it waits."""

import logging
import socket
from collections.abc import Callable
from typing import Any

from gunicorn import http  # type: ignore[import-untyped]
from gunicorn.config import Config  # type: ignore[import-untyped]
from gunicorn.workers.gthread import TConn  # type: ignore[import-untyped]

from serving.worker.http_framing import Incoming

SEND_SECONDS = 10.0  # that a client may take to accept an answer
LOG = logging.getLogger(__name__)


class _Head:
    """What gunicorn's parser reads from in place of a socket: the heads of the requests, and never more."""

    def __init__(self) -> None:
        self.data = b""

    def recv(self, size: int) -> bytes:
        data, self.data = self.data[:size], self.data[size:]
        return data


class Connection(TConn):  # type: ignore[misc]
    """A client's connection, and what has come in of its next request."""

    def __init__(self, cfg: Config, sock: socket.socket, client: Any, server: Any, max_body: int) -> None:
        super().__init__(cfg, sock, client, server)
        self.parser: Any = None
        self.data_ready = True
        self.max_body = max_body
        self.incoming = Incoming(max_body)
        self.source = _Head()
        self.held = 0  # bytes that are counted for it
        self.deadline = 0.0
        self.waits_in: dict[Connection, None] | None = None
        self.on_readable: Callable[[socket.socket], None] = _nothing

    def init(self) -> None:
        """Make ready for a thread that answers; called by gunicorn for each request."""
        if self.parser is None:
            self.parser = http.get_parser(self.cfg, self.source, self.client)
            self.initialized = True
        self.source.data = self.incoming.head
        self.sock.settimeout(SEND_SECONDS)

    def next_request(self) -> None:
        """Forget the request that was answered, and begin with what came behind it."""
        rest = self.incoming.rest
        self.incoming = Incoming(self.max_body)
        if rest:
            self.incoming.feed(rest)

    def send(self, data: bytes) -> bytes:
        """Send what the client takes without a pause, and return the rest; nothing where it has gone."""
        try:
            return data[self.sock.send(data) :]
        except BlockingIOError:
            return data
        except OSError:
            return b""

    def send_all(self, data: bytes) -> bool:
        """Send it at the client's pace, from a thread, and return whether it took all of it."""
        self.sock.settimeout(SEND_SECONDS)
        try:
            self.sock.sendall(data)
        except TimeoutError:
            self.was_not_read()
            return False
        except OSError:
            return False
        return True

    @staticmethod
    def was_not_read() -> None:
        """Note that a client let its time to read pass."""
        LOG.warning("a client did not take its answer within %g s", SEND_SECONDS)


def _nothing(_: socket.socket) -> None:
    pass
