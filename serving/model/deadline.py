"""A deadline for a complete HTTP exchange.

The time-out of a socket limits a single read. A server that sends one byte each second, or headers without end, never
exceeds it.
"""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import urllib3
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool


class DeadlineError(Exception):
    """The exchange took too long."""


class Deadline:
    """Closes the connection of the exchange in progress when time is up. For one thread at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._over = False

    def watch(self, manager: urllib3.PoolManager) -> urllib3.PoolManager:
        """Make this deadline apply to new connections of ``manager``, and return it."""
        manager.pool_classes_by_scheme = {
            "http": _watched(HTTPConnectionPool, self),
            "https": _watched(HTTPSConnectionPool, self),
        }
        return manager

    @contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        """Close the connection if the exchange in this context takes longer than ``seconds``.

        Raises:
            DeadlineError: it took longer.
        """
        self._over = False
        timer = threading.Timer(seconds, self._cut)
        timer.daemon = True
        timer.start()
        try:
            yield
        except Exception as error:
            if self._over:  # any error of the connection that was closed
                raise DeadlineError from error
            raise
        else:
            if self._over:  # a response without a length looks complete
                raise DeadlineError
        finally:
            timer.cancel()

    def opened(self, connection: socket.socket) -> None:
        """Register a new connection."""
        with self._lock:
            self._socket = connection
        if self._over:
            self._cut()

    def _cut(self) -> None:
        with self._lock:
            self._over = True
            if self._socket is not None:
                with suppress(OSError):  # it is closed already
                    self._socket.shutdown(socket.SHUT_RDWR)


def _watched(kind: type[HTTPConnectionPool], deadline: Deadline) -> type[HTTPConnectionPool]:
    class Connection(kind.ConnectionCls):  # type: ignore[name-defined,misc]
        def connect(self) -> None:
            super().connect()
            deadline.opened(self.sock)

    return type(kind.__name__, (kind,), {"ConnectionCls": Connection})
