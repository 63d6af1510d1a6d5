"""Fixtures of the launcher's tests."""

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from stack.secrets.credentials import Credentials
from stack.settings import Settings
from tests.running import ROOT, free_ports
from tests.unit.stack.fake_registry import query_of


@pytest.fixture
def settings(tmp_path):
    """Return the settings of an empty state folder, with free ports."""
    airflow, mlflow, service, postgres = free_ports(4)
    made = Settings(ROOT, tmp_path / "home", airflow, mlflow, service, postgres, None)
    made.make_home()
    return made


@pytest.fixture
def credentials(settings):
    return Credentials(settings.home)


class FakeServer:
    """An HTTP server with prepared responses, which records its requests.

    ``answers`` maps "GET /path", without the query, to a status and a body, to a list of them, used in turn, or to a
    function that returns them for the query and the body of the request.
    """

    def __init__(self, port: int) -> None:
        self.answers: dict = {}
        self.asked: list[tuple[str, str, dict]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def _answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                path = self.path.partition("?")[0]
                sent = json.loads(body) if body else {}
                outer.asked.append((f"{self.command} {path}", self.path, sent))
                found = outer.answers.get(f"{self.command} {path}", (404, {"detail": "not found"}))
                if isinstance(found, list):
                    found = found.pop(0) if len(found) > 1 else found[0]
                status, content = found(query_of(self.path), sent) if callable(found) else found
                data = content.encode() if isinstance(content, str) else json.dumps(content).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = _answer  # noqa: N815

            def log_message(self, *_: object) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", port), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()


@pytest.fixture
def answers():
    """Start a fake server on a port, by default any free one."""
    made = []

    def make(port: int = 0) -> FakeServer:
        made.append(FakeServer(port))
        return made[-1]

    yield make
    for one in made:
        one.server.shutdown()
        one.server.server_close()
