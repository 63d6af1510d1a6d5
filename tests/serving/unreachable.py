"""A registry that fails in many ways: it does not answer, is slow, or sends unexpected or endless responses."""

import contextlib
import gzip
import os
import socket
import threading
import time
from collections.abc import Callable

from tests.serving.fakes import FakeRegistry

Exchange = Callable[[socket.socket], None]
DRIP_SECONDS = 0.05  # between two bytes; much shorter than the read time-out in the tests
OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


def sends(head: bytes, body: bytes = b"") -> Exchange:
    """Send a response and close."""
    return lambda connection: connection.sendall(head + b"\r\n" + body)


def responds(body: bytes, head: bytes = OK) -> Exchange:
    """Send ``body`` with its length and close."""
    return sends(head + b"Content-Length: %d\r\n" % len(body), body)


def drips(data: bytes) -> Exchange:
    """Send single bytes with pauses: no single read takes long."""

    def exchange(connection: socket.socket) -> None:
        for byte in data:
            connection.sendall(bytes([byte]))
            time.sleep(DRIP_SECONDS)

    return exchange


def without_end(head: bytes, piece: bytes, pause: float = 0.0) -> Exchange:
    """Send ``head``, and ``piece`` as long as the client reads."""

    def exchange(connection: socket.socket) -> None:
        connection.sendall(head)
        while True:
            connection.sendall(piece)
            time.sleep(pause)

    return exchange


def hangs(connection: socket.socket) -> None:
    """Keep the connection open and send nothing."""
    while connection.recv(1024):
        pass


# mode → what it does with a connection, and the reason that the service reports
MODES: dict[str, tuple[Exchange, str]] = {
    "never answers": (hangs, "Read timed out"),
    "hangs up": (lambda connection: None, "does not answer"),
    "random bytes": (lambda connection: connection.sendall(os.urandom(4096)), "does not answer"),
    "a page": (responds(b"<!doctype html><title>Log in</title>"), "returned an unexpected response"),
    "wrong JSON": (
        responds(b'{"model_version": {"name": "heart-disease", "version": 7}}'),
        "Expected `str`, got `int`",
    ),
    "JSON without end": (responds(b'{"a":' + b"[" * 500_000), "returned an unexpected response"),
    "another model": (
        responds(b'{"model_version": {"name": "other\\n[INFO] all is well", "version": "7"}}'),
        "returned another model: other [INFO] all is well",
    ),
    "a version that is none": (
        responds(b'{"model_version": {"name": "heart-disease", "version": "../../7"}}'),
        "returned an unexpected response",
    ),
    "status 500": (
        responds(b"x" * 100_000, b"HTTP/1.1 500 Internal Server Error\r\n"),
        "status 500: " + 200 * "x" + "…",
    ),
    "redirects in a circle": (sends(b"HTTP/1.1 302 Found\r\nLocation: /api\r\nContent-Length: 0\r\n"), "status 302"),
    "headers without end": (without_end(OK, b"X-More: and more\r\n"), "does not answer"),
    "a header without end": (without_end(OK + b"X-Long: ", b"x" * 4096), "does not answer"),
    "continues without end": (without_end(b"", b"HTTP/1.1 100 Continue\r\n\r\n", 0.01), "was not read within"),
    "ten gigabytes": (
        without_end(OK + b"Content-Length: 10737418240\r\n\r\n", b" " * 65536),
        "returned an unexpected response",
    ),
    "a packed bomb": (
        responds(gzip.compress(b" " * 100_000_000), OK + b"Content-Encoding: gzip\r\n"),
        "returned an unexpected response",
    ),
    "headers drip": (drips(OK + b"X-Slow: " + b"s" * 10_000), "was not read within"),
    "a body drips": (drips(OK + b"Content-Length: 10000\r\n\r\n" + b" " * 10_000), "was not read within"),
    "a body of unknown length drips": (drips(OK + b"\r\n" + b" " * 10_000), "was not read within"),
    "chunks that are none": (sends(OK + b"Transfer-Encoding: chunked\r\n", b"zz\r\n"), "does not answer"),
}


class UnreachableRegistry:
    """A proxy in front of ``registry``: forwards bytes until a failure is selected."""

    def __init__(self, registry: FakeRegistry) -> None:
        self._behind = ("127.0.0.1", int(registry.url.rpartition(":")[2]))
        self._exchange: Exchange | None = None
        self._matching = b""
        self._listener: socket.socket | None = socket.create_server(("127.0.0.1", 0))
        self._address = self._listener.getsockname()
        self._waiting: list[socket.socket] = []
        self._open: set[socket.socket] = set()
        self.asked = 0  # requests that reached it
        self.url = f"http://127.0.0.1:{self._address[1]}"
        self._accept()

    def pass_on(self) -> None:
        """Forward all requests."""
        self._renew()
        self._exchange = None

    def disturb(self, exchange: Exchange, matching: bytes = b"") -> None:
        """Run ``exchange`` on each connection; with ``matching``, only on requests that contain these bytes."""
        self._renew()
        self._exchange, self._matching = exchange, matching

    def refuse(self) -> None:
        """Close the port."""
        self._close()

    def drop(self) -> None:
        """Drop packets: a listener that does not accept, and whose backlog is full, completes no handshake."""
        self._close()
        self._listener = socket.create_server(self._address, backlog=0)
        while True:
            waiting = socket.socket()
            waiting.settimeout(0.2)
            self._waiting.append(waiting)
            try:
                waiting.connect(self._address)
            except TimeoutError:
                return

    def close(self) -> None:
        """Close all sockets. Call it at the end."""
        self._close()

    def _renew(self) -> None:
        self._close()
        self._listener = socket.create_server(self._address)
        self._accept()

    def _close(self) -> None:
        for connection in [*self._waiting, *self._open]:
            _end(connection)
        self._waiting.clear()
        if self._listener is not None:
            _end(self._listener)
            self._listener = None

    def _accept(self) -> None:
        assert self._listener is not None
        threading.Thread(target=self._serve, args=(self._listener,), daemon=True).start()

    def _serve(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):  # it was closed
            while True:
                connection, _ = listener.accept()
                self._open.add(connection)
                threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError):  # either side has closed the connection
            asked = connection.recv(65536)
            self.asked += bool(asked)
            if asked and self._exchange is not None and self._matching in asked:
                self._exchange(connection)
            elif asked:
                self._forward(connection, asked)
        self._open.discard(connection)
        _end(connection)

    def _forward(self, connection: socket.socket, asked: bytes) -> None:
        with socket.create_connection(self._behind) as behind:
            behind.sendall(asked)
            while data := behind.recv(65536):  # the fake closes after each answer
                connection.sendall(data)


def _end(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()
