"""Makes request bodies safe on gunicorn's stock worker; the service's own worker reads complete requests instead.

The stock worker has three faults here:

- A body that the application did not read is discarded after the response. If the next request arrives meanwhile, it
  can be read together with the body. It stays in the parser's buffer, and is not answered.
- After a malformed chunk, the connection may be kept. The bytes that follow are then parsed as a request.
- A body that ends before its Content-Length looks like a complete one.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from gunicorn.http.errors import ParseException  # type: ignore[import-untyped]

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment
    from gunicorn.http.body import Body  # type: ignore[import-untyped]
    from gunicorn.http.wsgi import Response  # type: ignore[import-untyped]

MAX_BYTES = 64 * 1024  # of an unread body; above it the connection is closed, as gunicorn does
_PIECE_BYTES = 8192


class CheckedBody:
    """A request body that fails where it ends too early or is malformed.

    Args:
        body: the body that gunicorn reads from the socket.
        length: the declared Content-Length; ``None`` for a chunked body.

    Attributes:
        complete: whether the body was read to its end, without an error.
    """

    def __init__(self, body: "Body", length: int | None) -> None:
        self._body = body
        self._left = length
        self._failed = False
        self.complete = length == 0

    def read(self, size: int | None = -1) -> bytes:
        """Return the next ``size`` bytes of the body, or all of them; fewer only at its end.

        Raises:
            ConnectionAbortedError: the body cannot be read to its end; Werkzeug answers 400.
        """
        if self._failed:
            raise ConnectionAbortedError("an earlier part of the body could not be read")
        if size == 0 or self.complete:
            return b""
        try:
            piece: bytes = self._body.read(size)
        except (OSError, ParseException) as error:  # gunicorn's errors for chunks are of both kinds
            self._failed = True
            raise ConnectionAbortedError("the body is malformed, or the client has disconnected") from error
        at_end = size is None or size < 0 or len(piece) < size
        if self._left is not None:
            self._left -= len(piece)
            if at_end and self._left:
                self._failed = True
                raise ConnectionAbortedError("the body is shorter than its Content-Length")
            at_end = not self._left
        self.complete = at_end
        return piece


class DrainUnreadBodies:
    """A WSGI application that keeps a connection only after a complete body.

    What has arrived of an unread body is discarded before the response is sent. No thread waits for the rest: the
    connection is closed after the response.

    Args:
        application: the application that answers.
    """

    def __init__(self, application: "WSGIApplication") -> None:
        self._application = application

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        """Answer a request; close the connection afterwards if its body is malformed, truncated or still to come."""
        chunked = "HTTP_TRANSFER_ENCODING" in environ
        body = CheckedBody(environ["wsgi.input"], None if chunked else int(environ.get("CONTENT_LENGTH") or 0))
        environ["wsgi.input"] = body
        answer = self._application(environ, start_response)
        if not body.complete:
            _discard_received(body, environ["gunicorn.socket"])
        if not body.complete:
            # gunicorn ignores the header `Connection: close` of an application
            response: Response = start_response.__self__  # type: ignore[attr-defined]
            response.force_close()
        return answer


def _discard_received(body: CheckedBody, sock: Any) -> None:
    """Read what has arrived of a body, without waiting for more."""
    timeout = sock.gettimeout()
    sock.settimeout(0)
    try:
        left = MAX_BYTES
        while left > 0 and (piece := body.read(_PIECE_BYTES)):
            left -= len(piece)
    except OSError:
        return
    finally:
        sock.settimeout(timeout)
