"""What docker compose calls within containers: the health check, and the one-shot init."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from stack.compose import healthcheck, init
from stack.compose.init import FromEnvironment
from stack.errors import UnhealthyError
from tests.running import free_ports

PAGES = {
    "/health": (200, b"OK"),
    "/broken": (503, b""),
    "/monitor": (200, b'{"scheduler": {"status": "healthy"}, "dag_processor": {"status": null}}'),
}


class Pages(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        status, body = PAGES[self.path]
        self.send_response(status)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Pages) as http:
        thread = threading.Thread(target=http.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}"
        http.shutdown()
        thread.join()


@pytest.mark.parametrize(("path", "component"), [("/health", None), ("/monitor", "scheduler")])
def test_what_is_healthy_has_no_problem(server: str, path: str, component: str | None) -> None:
    assert healthcheck.problem(server + path, component) is None


@pytest.mark.parametrize(
    ("path", "component", "message"),
    [("/broken", None, "answers 503"), ("/monitor", "dag_processor", "reports that dag_processor is None")],
)
def test_what_is_not_healthy_is_named(server: str, path: str, component: str | None, message: str) -> None:
    assert healthcheck.problem(server + path, component) == f"{server}{path} {message}"


def test_what_does_not_answer_is_named() -> None:
    url = f"http://127.0.0.1:{free_ports(1)[0]}/health"
    problem = healthcheck.problem(url)
    assert problem is not None
    assert problem.startswith(f"{url} does not answer")


def test_a_database_that_refuses_is_told_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    # given
    port = free_ports(1)[0]
    monkeypatch.setattr(init, "HOST", "127.0.0.1")
    monkeypatch.setattr(init, "PORT", port)
    monkeypatch.setenv("POSTGRES_PASSWORD", "irrelevant")
    # when
    with pytest.raises(UnhealthyError) as raised:
        init.databases(FromEnvironment())
    # then
    assert raised.value.what.startswith("PostgreSQL refuses: ")
    assert raised.value.where == f"127.0.0.1:{port}"
    assert ".env" in raised.value.expected
    assert ".env" in raised.value.hint
