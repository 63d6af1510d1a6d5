"""Clients that send requests without a pause, in a process of their own: ``python crowd.py PORT OUT RECORD…``.

One client for each record, each on a connection that it keeps. The process says a line once there are as many answers
as clients. It ends when its input is closed, and writes what it was answered to OUT: a list of [client, when it asked,
seconds, status, version, probability].

It needs the standard library only, and one thread: it must not be what is slow.
"""

import json
import selectors
import socket
import sys
import time
from pathlib import Path
from typing import Any

Answer = tuple[int, float, float, int, str, float]
BROKEN = 0  # instead of a status, if a connection ended without a response


class Client:
    def __init__(self, number: int, port: int, record: str) -> None:
        body = record.encode()
        self._request = (
            b"POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
        )
        self.number = number
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._asked = 0.0
        self._received = b""

    def ask(self) -> None:
        self._received = b""
        self._asked = time.monotonic()
        self.socket.sendall(self._request)

    def response(self) -> Answer | None:
        """Read on and return the response when it is complete."""
        try:
            data = self.socket.recv(65536)
        except OSError:
            data = b""
        if not data:
            return (self.number, self._asked, time.monotonic() - self._asked, BROKEN, "", 0.0)
        self._received += data
        head, end, body = self._received.partition(b"\r\n\r\n")
        if not end:
            return None
        headers = dict(line.split(b": ", 1) for line in head.lower().split(b"\r\n")[1:])
        if len(body) < int(headers[b"content-length"]):
            return None
        seconds = time.monotonic() - self._asked
        answer: dict[str, Any] = json.loads(body)
        version = str(answer.get("model", {}).get("version", ""))
        return (self.number, self._asked, seconds, int(head[9:12]), version, float(answer.get("probability", 0)))


def main(port: str, out: str, *records: str) -> None:
    selector = selectors.DefaultSelector()
    selector.register(sys.stdin, selectors.EVENT_READ)
    for number, record in enumerate(records):
        client = Client(number, int(port), record)
        selector.register(client.socket, selectors.EVENT_READ, client)
        client.ask()
    answers: list[Answer] = []
    while True:
        for key, _ in selector.select():
            client = key.data
            if client is None:
                Path(out).write_text(json.dumps(answers))
                return
            if (answer := client.response()) is None:
                continue
            answers.append(answer)
            if len(answers) == len(records):
                print("asking", flush=True)
            if answer[3] == BROKEN:
                selector.unregister(client.socket)
            else:
                client.ask()


if __name__ == "__main__":
    main(*sys.argv[1:])
