"""On gunicorn's stock worker, request bodies that the application does not read are read before the response."""

import io
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from serving.worker.unread_bodies import MAX_BYTES, DrainUnreadBodies

BODY = b"x" * 20_000


class Broken(io.BytesIO):
    """A body whose chunks are malformed."""

    def read(self, size: int | None = -1, /) -> bytes:
        raise ValueError("a malformed chunk")


def call(read: int, body: io.BytesIO, length: int | None) -> Iterable[bytes]:
    """Call an application that reads ``read`` bytes of the body."""

    def application(environ: Any, start_response: Callable[..., Any]) -> Iterable[bytes]:
        environ["wsgi.input"].read(read)
        start_response("405 METHOD NOT ALLOWED", [])
        return [b"no"]

    environ: dict[str, Any] = {"wsgi.input": body}
    if length is not None:
        environ["CONTENT_LENGTH"] = str(length)
    return DrainUnreadBodies(application)(environ, lambda *_: lambda data: None)


@pytest.mark.parametrize("read", [0, 10, len(BODY)])
@pytest.mark.parametrize("length", [len(BODY), None])
def test_the_rest_of_a_body_is_read_before_the_response(read: int, length: int | None) -> None:
    body = io.BytesIO(BODY)

    assert call(read, body, length) == [b"no"]

    assert body.tell() == len(BODY)


def test_a_body_after_which_gunicorn_closes_the_connection_is_not_read() -> None:
    declared, chunked = io.BytesIO(b"x" * 3 * MAX_BYTES), io.BytesIO(b"x" * 3 * MAX_BYTES)

    call(0, declared, 3 * MAX_BYTES)
    call(0, chunked, None)

    assert (declared.tell(), chunked.tell()) == (0, MAX_BYTES)


def test_a_body_that_cannot_be_read_does_not_change_the_response() -> None:
    def application(environ: Any, start_response: Callable[..., Any]) -> Iterable[bytes]:
        return [b"no"]

    assert DrainUnreadBodies(application)({"wsgi.input": Broken()}, lambda *_: lambda data: None) == [b"no"]
