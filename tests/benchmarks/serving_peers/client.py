"""A load client: one thread per connection, each sending requests without a pause on a connection that it keeps."""

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.client import HTTPConnection
from itertools import cycle, islice
from time import perf_counter
from typing import Any

HEADERS = {"Content-Type": "application/json"}
TIMEOUT_SECONDS = 60.0


class Client:
    """Connections to the server at ``port``.

    Args:
        port: on this machine.
        path: what the bodies are posted to.
        bodies: what to send, one after the other, and then again from the first.
        connections: how many at a time.
        headers: sent with each request, beside its type.
    """

    def __init__(
        self, port: int, path: str, bodies: Sequence[bytes], connections: int, headers: dict[str, str] | None = None
    ) -> None:
        self._path = path
        self._bodies = bodies
        self._headers = {**HEADERS, **(headers or {})}
        self._connections = [HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_SECONDS) for _ in range(connections)]

    def close(self) -> None:
        """Close all connections."""
        for connection in self._connections:
            connection.close()

    def ask(self, requests: int) -> list[float]:
        """Send ``requests`` requests in all, the same number on each connection; return the seconds that each took.

        Raises:
            RuntimeError: an answer was not 200.
        """
        each = max(1, requests // len(self._connections))
        taken: list[list[float]] = [[] for _ in self._connections]
        failures: list[Exception] = []

        def work(number: int) -> None:
            try:
                for body in islice(cycle(self._bodies), number, number + each):
                    started = perf_counter()
                    self._post(self._connections[number], body)
                    taken[number].append(perf_counter() - started)
            except Exception as error:
                failures.append(error)

        if len(self._connections) == 1:
            work(0)
        else:
            threads = [threading.Thread(target=work, args=(number,)) for number in range(len(self._connections))]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        if failures:
            raise RuntimeError("a request failed") from failures[0]
        return [seconds for connection in taken for seconds in connection]

    def answer(self, position: int) -> Any:
        """Send body ``position``; return the JSON of the response."""
        return json.loads(self._post(self._connections[0], self._bodies[position]))

    def _post(self, connection: HTTPConnection, body: bytes) -> bytes:
        connection.request("POST", self._path, body, self._headers)
        response = connection.getresponse()
        data = response.read()
        if response.status != 200:
            raise RuntimeError(f"{response.status}: {data[:500].decode(errors='replace')}")
        return data


@contextmanager
def connected(*arguments: Any, **named: Any) -> Iterator[Client]:
    """Yield a client; close its connections afterwards."""
    client = Client(*arguments, **named)
    try:
        yield client
    finally:
        client.close()
