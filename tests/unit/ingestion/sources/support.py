"""Shared by the tests of sources: a file, short limits, a web server and a check of refusals."""

import contextlib
import http.server
import io
import socket
import threading
import zipfile

import pytest

from heartline.errors import HeartlineError, SourceError
from heartline.ingestion import sources
from heartline.ingestion.access import files, networks, uci
from heartline.ingestion.access.http import Limits
from heartline.ingestion.sample import synthetic
from heartline.ingestion.sources import Settings

STALL_SECONDS = 120  # without a response of a stalled server
FRAME = synthetic.generate(30)
CSV = FRAME.to_csv(index=False).encode()
# Long enough for every success, even on a slow machine; tests of a time-out set their own limits.
BRIEF = Settings(
    limits=Limits(seconds=60, retries=1, connect_seconds=30, read_seconds=30, size=100_000),
    folders=files.ANYWHERE,
    reach=networks.Reach(networks.parse("127.0.0.0/8")),
)


def archive(data: bytes = CSV, member: str = uci.MEMBER) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr(member, data)
    return buffer.getvalue()


class Web:
    """A web server whose response depends on the path."""

    def __init__(self) -> None:
        self.bodies = {"/ok.csv": CSV, "/uci.zip": archive(), "/page.csv": b"<html>log in</html>"}
        self.asked: list[str] = []
        self.over = threading.Event()
        web = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                path = self.path.partition("?")[0]
                web.asked.append(path)
                special = getattr(web, path.strip("/").partition(".")[0], None)
                with contextlib.suppress(OSError):  # the client disconnects, as it should
                    special(self) if special else web.answer(self, path)

            def log_message(self, *_: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def close(self) -> None:
        self.over.set()
        self.server.shutdown()
        self.server.server_close()

    def answer(self, request: http.server.BaseHTTPRequestHandler, path: str) -> None:
        body = self.bodies.get(path)
        request.send_response(404 if body is None else 200)
        request.send_header("Content-Length", str(len(body or b"")))
        request.end_headers()
        request.wfile.write(body or b"")

    def moved(self, request: http.server.BaseHTTPRequestHandler) -> None:
        request.send_response(302)
        request.send_header("Location", "/ok.csv")
        request.end_headers()

    def circle(self, request: http.server.BaseHTTPRequestHandler) -> None:
        request.send_response(302)
        request.send_header("Location", "/circle")
        request.end_headers()

    def busy(self, request: http.server.BaseHTTPRequestHandler) -> None:
        request.send_response(503)
        request.send_header("Retry-After", "3600")
        request.end_headers()

    def waking(self, request: http.server.BaseHTTPRequestHandler) -> None:
        if self.asked.count("/waking") == 1:
            self.busy(request)
        else:
            self.answer(request, "/ok.csv")

    def locked(self, request: http.server.BaseHTTPRequestHandler) -> None:
        request.send_response(401)
        request.end_headers()

    def stalled(self, request: http.server.BaseHTTPRequestHandler) -> None:
        self.over.wait(STALL_SECONDS)

    def broken(self, request: http.server.BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Length", str(len(CSV)))
        request.end_headers()
        request.wfile.write(CSV[: len(CSV) // 2])

    def trickle(self, request: http.server.BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.end_headers()
        while not self.over.wait(0.05):
            request.wfile.write(b"1")

    def drip(self, request: http.server.BaseHTTPRequestHandler) -> None:
        request.wfile.write(b"HTTP/1.0 200 OK\r\nX-Slow: ")
        self.trickle(request)

    def flood(self, request: http.server.BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.end_headers()
        while not self.over.is_set():
            request.wfile.write(b"1" * 65536)

    def huge(self, request: http.server.BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Length", str(10**12))
        request.end_headers()


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def refused(
    spec: str, settings: Settings = BRIEF, *, query: str | None = None, kind: type[HeartlineError] = SourceError
) -> HeartlineError:
    with pytest.raises(kind) as caught:
        sources.read(spec, query=query, settings=settings)
    error = caught.value
    assert isinstance(error, kind)
    assert error.what
    assert error.where
    assert error.expected
    assert error.hint
    return error
