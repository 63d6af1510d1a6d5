"""An end to exchanges over HTTP that take too long as a whole.

A socket's time-out bounds a single read. A server that sends a byte each second outlasts any number of them, and so
does one that never ends its headers.
"""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import urllib3
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool


class DeadlineError(Exception):
    """The time of an exchange is over."""


class Deadline:
    """Cuts the connection of the one exchange that is under way. For one thread at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._over = False

    def watch(self, manager: urllib3.PoolManager) -> urllib3.PoolManager:
        """Return ``manager``, whose new connections this deadline can cut from now on."""
        manager.pool_classes_by_scheme = {
            "http": _watched(HTTPConnectionPool, self),
            "https": _watched(HTTPSConnectionPool, self),
        }
        return manager

    @contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        """Cut the exchange in this context when it has lasted so long.

        Raises:
            DeadlineError: it was cut.
        """
        self._over = False
        timer = threading.Timer(seconds, self._cut)
        timer.daemon = True
        timer.start()
        try:
            yield
        except Exception as error:
            if self._over:  # whatever a connection says that was cut under it
                raise DeadlineError from error
            raise
        else:
            if self._over:  # an answer without a length has no end that could be missed
                raise DeadlineError
        finally:
            timer.cancel()

    def opened(self, connection: socket.socket) -> None:
        """Take note of a new connection."""
        with self._lock:
            self._socket = connection
        if self._over:
            self._cut()

    def _cut(self) -> None:
        with self._lock:
            self._over = True
            if self._socket is not None:
                with suppress(OSError):  # it has ended by itself
                    self._socket.shutdown(socket.SHUT_RDWR)


def _watched(kind: type[HTTPConnectionPool], deadline: Deadline) -> type[HTTPConnectionPool]:
    class Connection(kind.ConnectionCls):  # type: ignore[name-defined,misc]
        def connect(self) -> None:
            super().connect()
            deadline.opened(self.sock)

    return type(kind.__name__, (kind,), {"ConnectionCls": Connection})
