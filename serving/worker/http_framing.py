"""HTTP framing: where a request ends in the bytes of a connection, so that it can be read before a thread gets it.

gunicorn's own parser checks the head later, and refuses every ambiguous one. It reads heads only, never a body, so a
different reading of where a body ends cannot turn one request into two (request smuggling).
"""

import re
from enum import Enum, auto

MAX_HEAD_BYTES = 64 * 1024
_END = b"\r\n\r\n"
_FRAMING = re.compile(rb"\r\n(content-length|transfer-encoding|expect)[ \t]*:[ \t]*([^\r\n]*)", re.IGNORECASE)
_CHUNK_LINE = re.compile(rb"([0-9a-fA-F]{1,15})[ \t]*(?:;[^\r\n]*)?\r\n")
_MAX_CHUNK_LINE = 4096
_TRAILERS = re.compile(rb"(?:[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t\x20-\x7e\x80-\xff]*\r\n)*\r\n")
_EMPTY_LINES = re.compile(rb"(?:\r\n)*")
# How much is read at once. A chunk may have one byte, and each costs the event loop the same time: it reads them in
# small portions, so that the other connections get their turn.
RECEIVE_BYTES = 256 * 1024
FIRST_BYTES = 16 * 1024  # while the head, and so the kind of the body, is not known
CHUNKS_BYTES = 4 * 1024


class State(Enum):
    """How much of a request was received, or why it is refused."""

    PARTIAL = auto()
    COMPLETE = auto()
    HEAD_TOO_LARGE = auto()
    BODY_TOO_LARGE = auto()
    BAD_CHUNK = auto()


class Incoming:
    """One request while it is received.

    Args:
        max_body: bytes that its body may have.

    Attributes:
        state: how much of it was received, or why it is refused.
        head: the request line and the header fields, with the empty line; empty until all of it was received.
        body: the bytes of the body, with chunked coding removed; set when ``state`` is ``COMPLETE``.
        expects: whether the client waits for ``100 Continue``; the caller that sends it sets this to False.
        rest: bytes received after the request: the start of the next one.
    """

    __slots__ = ("_chunked", "_data", "_length", "_max_body", "_missing", "body", "expects", "head", "rest", "state")

    def __init__(self, max_body: int) -> None:
        self.state = State.PARTIAL
        self.head = self.body = self.rest = b""
        self.expects = False
        self._max_body = max_body
        self._data: bytes | bytearray = b""
        self._length = 0
        self._chunked: bytearray | None = None
        self._missing = 0  # bytes of the last chunk that were not received yet

    def size(self) -> int:
        """Return how many bytes are buffered."""
        return len(self._data) + len(self.body) + len(self.rest) + len(self._chunked or b"")

    def started(self) -> bool:
        """Return whether any byte of the request was received."""
        return bool(self.head or self._data)

    def feed(self, data: bytes) -> State:
        """Add received bytes, and return the new state."""
        if not self._data:
            self._data = data  # most requests are received in one piece, which is not copied
        else:
            self._data = self._data if isinstance(self._data, bytearray) else bytearray(self._data)
            self._data += data
        if not self.head:
            self._find_head(max(0, len(self._data) - len(data) - len(_END)))
        if self.head and self.state is State.PARTIAL:
            self._find_end()
        return self.state

    def wanted(self) -> int:
        """Return how many bytes to read next, at most."""
        if not self.head:
            return FIRST_BYTES
        return RECEIVE_BYTES if self._chunked is None else min(CHUNKS_BYTES + self._missing, RECEIVE_BYTES)

    def path(self) -> str:
        """Return the path in the request line, without the query; empty if there is none."""
        words = self.head.split(b"\r\n", 1)[0].split(b" ")
        return words[1].split(b"?", 1)[0].decode("latin-1") if len(words) > 2 else ""

    def _find_head(self, start: int) -> None:
        if self._data[:1] == b"\r":  # empty lines before a request are ignored (RFC 9112, 2.2)
            self._data = self._data[_EMPTY_LINES.match(self._data).end() :]  # type: ignore[union-attr]
            start = 0
            if self._data == b"\r":
                return
        end = self._data.find(_END, start)
        if end > MAX_HEAD_BYTES or (end < 0 and len(self._data) > MAX_HEAD_BYTES):
            self.state = State.HEAD_TOO_LARGE
        elif end >= 0:
            self.head = bytes(self._data[: end + len(_END)])
            self._data = self._data[end + len(_END) :]
            self._read_framing()
        elif self._data and not self._data[:1].isalpha():  # not HTTP, such as TLS
            self.head, self.state = bytes(self._data), State.COMPLETE

    def _read_framing(self) -> None:
        for name, value in _FRAMING.findall(self.head):
            match name.lower():
                case b"content-length":
                    self._length = max(self._length, self._bounded(value.strip(b" \t")))
                case b"transfer-encoding":
                    self._chunked = bytearray() if b"chunked" in value.lower() else self._chunked
                case _:
                    self.expects = value.strip().lower() == b"100-continue"
        if self._chunked is not None:
            self._length = 0
        if self._length > self._max_body:
            self.state = State.BODY_TOO_LARGE

    def _bounded(self, length: bytes) -> int:
        if not length.isdigit():
            return 0  # gunicorn's parser refuses it, without reading the body
        return int(length) if len(length) <= 18 else self._max_body + 1

    def _find_end(self) -> None:
        if self._chunked is not None:
            self._read_chunks(self._chunked)
        elif len(self._data) >= self._length:
            self._finish(bytes(self._data[: self._length]), self._length)

    def _finish(self, body: bytes, end: int) -> None:
        self.body, self.rest = body, bytes(self._data[end:])
        self._data = b""
        self.state = State.COMPLETE

    def _read_chunks(self, body: bytearray) -> None:
        """Decode the complete chunks."""
        data, at, limit, self._missing = self._data, 0, self._max_body, 0
        while line := _CHUNK_LINE.match(data, at, at + _MAX_CHUNK_LINE):
            size = int(line[1], 16)
            start, end = line.end(), line.end() + size
            if len(body) + size > limit:
                self.state = State.BODY_TOO_LARGE
                return
            if size == 0:
                self._read_trailer(body, start)
                break
            if len(data) < end + 2:
                self._missing = end + 2 - len(data)
                break
            if data[end : end + 2] != b"\r\n":
                self.state = State.BAD_CHUNK
                return
            body += data[start:end]
            at = end + 2
        else:
            self._check_line(at)
        if self.state is State.PARTIAL:
            self._data = data[at:]

    def _check_line(self, at: int) -> None:
        """Refuse a chunk whose first line is complete, or too long, and not valid."""
        if self._data.find(b"\r\n", at, at + _MAX_CHUNK_LINE) >= 0 or len(self._data) - at >= _MAX_CHUNK_LINE:
            self.state = State.BAD_CHUNK

    def _read_trailer(self, body: bytearray, start: int) -> None:
        """End the body if the trailer section, which starts at ``start``, is complete. Its fields are not used."""
        end = self._data.find(_END, start - 2)
        if end < 0:
            if len(self._data) - start > MAX_HEAD_BYTES:
                self.state = State.HEAD_TOO_LARGE
        elif _TRAILERS.fullmatch(self._data, start, end + len(_END)):
            self._finish(bytes(body), end + len(_END))
        else:
            self.state = State.BAD_CHUNK
