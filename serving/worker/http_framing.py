"""Where a request ends in the bytes that a connection brings, so that it can be collected before a thread takes it.

gunicorn's own parser judges the head later, and refuses every head that is ambiguous; it is handed nothing but heads.
So a disagreement about where a body ends cannot make one request out of two.
"""

import re
from enum import Enum, auto

MAX_HEAD_BYTES = 64 * 1024
_END = b"\r\n\r\n"
_FRAMING = re.compile(rb"\r\n(content-length|transfer-encoding|expect)[ \t]*:[ \t]*([^\r\n]*)", re.IGNORECASE)
_CHUNK_SIZE = re.compile(rb"([0-9a-fA-F]{1,15})[ \t]*(;[^\r\n]*)?")
_MAX_CHUNK_LINE = 4096


class State(Enum):
    """How far a request is."""

    OPEN = auto()  # more must come
    WHOLE = auto()
    HEAD_TOO_LARGE = auto()
    BODY_TOO_LARGE = auto()
    BAD_CHUNK = auto()


class Incoming:
    """One request as it comes in.

    Args:
        max_body: bytes that its body may have.

    Attributes:
        state: how far it is.
        head: the request line and the fields, with the empty line; empty until they are there.
        body: the bytes of the body, without the marks of chunks; complete when ``state`` is ``WHOLE``.
        expects: whether the client waits for a sign before it sends the body; whoever gives it sets this to False.
        rest: what came after the request: the beginning of the next one.
    """

    __slots__ = ("_at", "_chunked", "_data", "_length", "_max_body", "body", "expects", "head", "rest", "state")

    def __init__(self, max_body: int) -> None:
        self.state = State.OPEN
        self.head = self.body = self.rest = b""
        self.expects = False
        self._max_body = max_body
        self._data: bytes | bytearray = b""
        self._length = 0
        self._chunked: bytearray | None = None
        self._at = 0

    def size(self) -> int:
        """Return how many bytes are held."""
        return len(self._data) + len(self.body) + len(self.rest) + len(self._chunked or b"")

    def begun(self) -> bool:
        """Return whether any byte of the request is there."""
        return bool(self.head or self._data)

    def feed(self, data: bytes) -> State:
        """Take what has come in, and return how far the request is."""
        if not self._data:
            self._data = data  # most requests come in one piece, of which no copy is made
        else:
            self._data = self._data if isinstance(self._data, bytearray) else bytearray(self._data)
            self._data += data
        if not self.head:
            self._find_head(max(0, len(self._data) - len(data) - len(_END)))
        if self.head and self.state is State.OPEN:
            self._find_end()
        return self.state

    def path(self) -> str:
        """Return the path that the head asks for, without its query; empty where it names none."""
        words = self.head.split(b"\r\n", 1)[0].split(b" ")
        return words[1].split(b"?", 1)[0].decode("latin-1") if len(words) > 2 else ""

    def _find_head(self, start: int) -> None:
        if self._data[:2] == b"\r\n":  # empty lines before a request count for nothing (RFC 9112, 2.2)
            self._data = self._data.lstrip(b"\r\n")
            start = 0
        end = self._data.find(_END, start)
        if end > MAX_HEAD_BYTES or (end < 0 and len(self._data) > MAX_HEAD_BYTES):
            self.state = State.HEAD_TOO_LARGE
        elif end >= 0:
            self.head = bytes(self._data[: end + len(_END)])
            self._data = self._data[end + len(_END) :]
            self._read_framing()
        elif self._data and not self._data[:1].isalpha():  # TLS, for example: nothing that more bytes could make HTTP
            self.head, self.state = bytes(self._data), State.WHOLE

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
            return 0  # gunicorn refuses it, without a look at the body
        return int(length) if len(length) <= 18 else self._max_body + 1

    def _find_end(self) -> None:
        if self._chunked is not None:
            self._read_chunks(self._chunked)
        elif len(self._data) >= self._length:
            self._finish(bytes(self._data[: self._length]), self._length)

    def _finish(self, body: bytes, end: int) -> None:
        self.body, self.rest = body, bytes(self._data[end:])
        self._data = b""
        self.state = State.WHOLE

    def _read_chunks(self, body: bytearray) -> None:
        """Take the chunks that are whole; ``_at`` is where the next one begins."""
        while self.state is State.OPEN and (size := self._chunk_size()) is not None:
            line_end = self._data.find(b"\r\n", self._at)
            end = line_end + 2 + size
            if len(body) + size > self._max_body:
                self.state = State.BODY_TOO_LARGE
            elif size == 0:
                self._read_trailer(body, line_end)
                break
            elif len(self._data) < end + 2:
                break
            elif self._data[end : end + 2] != b"\r\n":
                self.state = State.BAD_CHUNK
            else:
                body += self._data[line_end + 2 : end]
                self._at = end + 2
        if self._at:
            self._data = self._data[self._at :]
            self._at = 0

    def _chunk_size(self) -> int | None:
        """Return the size that the next chunk begins with; None where it is not there yet, or is none."""
        end = self._data.find(b"\r\n", self._at, self._at + _MAX_CHUNK_LINE)
        if end < 0:
            if len(self._data) - self._at >= _MAX_CHUNK_LINE:
                self.state = State.BAD_CHUNK
            return None
        found = _CHUNK_SIZE.fullmatch(self._data, self._at, end)
        if not found:
            self.state = State.BAD_CHUNK
            return None
        return int(found[1], 16)

    def _read_trailer(self, body: bytearray, line_end: int) -> None:
        end = self._data.find(_END, line_end)
        if end >= 0:
            self._finish(bytes(body), end + len(_END))
            self._at = 0
        elif len(self._data) - line_end > MAX_HEAD_BYTES:
            self.state = State.HEAD_TOO_LARGE
