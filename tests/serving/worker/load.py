"""Clients that send requests without a pause on kept connections, and count those that get no answer."""

import http.client
import select
import threading
from collections import Counter
from collections.abc import Callable

from tests.waiting import TIMEOUT


class Load:
    """Clients in threads, until ``total`` requests were sent or the server refuses connections.

    A client does what every client should: it opens a new connection where the server has closed the old one, and sends
    no request twice.

    Args:
        port: of the server on this machine.
        body: of each ``POST /predict``.
        total: number of requests of all clients together.
        clients: number of connections at one time.
        on: what to do once as many requests as the key were answered; called by one of the clients.

    Attributes:
        outcomes: how many requests had each outcome: a status, or what went wrong after the request was sent.
    """

    def __init__(
        self, port: int, body: bytes, total: int, clients: int = 8, on: dict[int, Callable[[], object]] | None = None
    ) -> None:
        self.outcomes: Counter[int | str] = Counter()
        self.refused = 0
        self._port, self._body, self._total, self._on = port, body, total, dict(on or {})
        self._started = 0
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._client, daemon=True) for _ in range(clients)]

    def run(self) -> "Load":
        """Send the requests, and return when all are answered."""
        for thread in self._threads:
            thread.start()
        for thread in self._threads:
            thread.join(TIMEOUT * 2)
            assert not thread.is_alive(), self.outcomes
        return self

    def _next(self) -> bool:
        with self._lock:
            self._started += 1
            due = self._on.pop(self._started, None)
            more = self._started <= self._total
        if due:
            due()
        return more

    def _client(self) -> None:
        connection: http.client.HTTPConnection | None = None
        while self._next():
            if connection is not None and (connection.sock is None or _is_closed(connection)):
                connection.close()
                connection = None
            if connection is None:
                connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=TIMEOUT)
                try:
                    connection.connect()
                except ConnectionRefusedError:
                    self.refused += 1
                    return
            outcome: int | str
            try:
                connection.request("POST", "/predict", self._body, {"Content-Type": "application/json"})
                response = connection.getresponse()
                response.read()
                outcome = response.status
            except (OSError, http.client.HTTPException) as error:
                outcome = type(error).__name__
                connection.close()
                connection = None
            with self._lock:
                self.outcomes[outcome] += 1
        if connection is not None:
            connection.close()


def _is_closed(connection: http.client.HTTPConnection) -> bool:
    """Return whether the server has closed a connection on which no answer is awaited."""
    return bool(select.select([connection.sock], [], [], 0)[0])
