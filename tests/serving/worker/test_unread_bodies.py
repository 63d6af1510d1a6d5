"""On gunicorn's stock worker, a connection is kept only after a request body that was read completely."""

import io
import socket
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest
from gunicorn.http.errors import InvalidChunkSize, InvalidHeader, NoMoreData

from serving.worker.unread_bodies import MAX_BYTES, CheckedBody, DrainUnreadBodies

BODY = b"x" * 20_000


class Raising(io.BytesIO):
    """A body that cannot be read."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    def read(self, size: int | None = -1, /) -> bytes:
        raise self.error


class Response:
    """The member of gunicorn's response that is used."""

    closes = False

    def force_close(self) -> None:
        self.closes = True

    def start(self, status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Callable[[bytes], object]:
        return lambda data: None


@pytest.fixture
def sock() -> Iterator[socket.socket]:
    with socket.socket() as opened:
        opened.settimeout(7)
        yield opened


def closes_after(sock: socket.socket, body: io.BytesIO, length: int | None, read: int = 0) -> bool:
    """Call an application that reads ``read`` bytes of the body; return whether the connection is closed."""

    def application(environ: Any, start_response: Callable[..., Any]) -> Iterable[bytes]:
        environ["wsgi.input"].read(read)
        start_response("405 METHOD NOT ALLOWED", [])
        return [b"no"]

    environ: dict[str, Any] = {"wsgi.input": body, "gunicorn.socket": sock}
    environ |= {"HTTP_TRANSFER_ENCODING": "chunked"} if length is None else {"CONTENT_LENGTH": str(length)}
    response = Response()
    assert DrainUnreadBodies(application)(environ, response.start) == [b"no"]
    assert sock.gettimeout() == 7
    return response.closes


@pytest.mark.parametrize("read", [0, 10, len(BODY)])
@pytest.mark.parametrize("length", [len(BODY), None])
def test_the_rest_of_a_body_is_read_before_the_response(sock: socket.socket, read: int, length: int | None) -> None:
    body = io.BytesIO(BODY)

    assert not closes_after(sock, body, length, read)

    assert body.tell() == len(BODY)


def test_a_request_without_a_body_reads_nothing(sock: socket.socket) -> None:
    assert not closes_after(sock, Raising(AssertionError("it was read")), 0)


@pytest.mark.parametrize("length", [3 * MAX_BYTES, None])
def test_the_connection_is_closed_after_a_large_unread_body(sock: socket.socket, length: int | None) -> None:
    body = io.BytesIO(b"x" * 3 * MAX_BYTES)

    assert closes_after(sock, body, length)

    assert body.tell() == MAX_BYTES


@pytest.mark.parametrize(
    "error", [BlockingIOError(), NoMoreData(), InvalidChunkSize(b"ZZ"), InvalidHeader("a"), ConnectionResetError()]
)
@pytest.mark.parametrize("length", [10, None])
def test_the_connection_is_closed_after_a_body_that_cannot_be_read(
    sock: socket.socket, error: Exception, length: int | None
) -> None:
    assert closes_after(sock, Raising(error), length)


def test_the_connection_is_closed_after_an_unread_body_that_is_truncated(sock: socket.socket) -> None:
    assert closes_after(sock, io.BytesIO(BODY), len(BODY) + 1)


@pytest.mark.parametrize("size", [-1, None, len(BODY), 3 * len(BODY)])
def test_a_body_that_ends_before_its_content_length_raises(size: int | None) -> None:
    body = CheckedBody(io.BytesIO(BODY), 2 * len(BODY))

    with pytest.raises(ConnectionAbortedError):
        assert body.read(size) == BODY
        body.read(size)

    assert not body.complete


@pytest.mark.parametrize("length", [len(BODY), None])
def test_a_complete_body_is_read_in_pieces(length: int | None) -> None:
    body = CheckedBody(io.BytesIO(BODY), length)

    pieces = list(iter(lambda: body.read(3000), b""))

    assert (b"".join(pieces), body.complete) == (BODY, True)


def test_an_application_gets_an_error_again_when_it_reads_again() -> None:
    body = CheckedBody(Raising(InvalidChunkSize(b"ZZ")), None)

    for _ in range(2):
        with pytest.raises(ConnectionAbortedError):
            body.read(10)
