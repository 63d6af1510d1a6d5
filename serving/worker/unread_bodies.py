"""Reads what the application left of a request body, for gunicorn's stock worker.

That worker sends the response first, and discards the rest of the body then. If a client sends its next request
meanwhile, its bytes can be read together with the body: they stay in the parser's buffer, and the connection waits for
its socket to become readable, which does not happen. With the body read before the response, the next request cannot
arrive too early. The service's own worker reads complete requests, and does not need this.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

MAX_BYTES = 64 * 1024  # gunicorn closes the connection where it would have to discard more
_PIECE_BYTES = 8192


class DrainUnreadBodies:
    """A WSGI application that reads the rest of each request body before the response is sent.

    Args:
        application: the application that answers.
    """

    def __init__(self, application: "WSGIApplication") -> None:
        self._application = application

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        """Answer a request; read up to ``MAX_BYTES`` of its body that the application did not read."""
        response = self._application(environ, start_response)
        if int(environ.get("CONTENT_LENGTH") or 0) <= MAX_BYTES:
            _drain(environ)
        return response


def _drain(environ: "WSGIEnvironment") -> None:
    left = MAX_BYTES
    try:
        while left > 0 and (piece := environ["wsgi.input"].read(min(left, _PIECE_BYTES))):
            left -= len(piece)
    except Exception:  # the client has disconnected, or its chunks are malformed: gunicorn closes the connection
        return
