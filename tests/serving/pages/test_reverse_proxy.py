"""The pages behind a reverse proxy that serves them below a path, and removes it from the requests."""

import http.client
import http.server
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urljoin, urlsplit

import msgspec
import pytest
from werkzeug.serving import make_server

from serving.settings import Settings
from tests.serving.fakes import RECORD, FakeRegistry, Service, make_bundle

PREFIX = "/heart"
_LINK = re.compile(r'\b(?:href|src|action)="([^"#][^"]*)"')


class Proxy(http.server.BaseHTTPRequestHandler):
    """Passes on what is below the prefix, as the nginx configuration in docs/compose.md does; the rest is not found."""

    backend_port = 0

    def log_message(self, *args: object) -> None:
        """Keep the output of the tests short."""

    def do_GET(self) -> None:
        if not self.path.startswith(f"{PREFIX}/"):
            self.send_error(404, "not below the prefix")
            return
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        connection = http.client.HTTPConnection("127.0.0.1", self.backend_port, timeout=30)
        try:
            connection.request(self.command, self.path.removeprefix(PREFIX), body, dict(self.headers))
            answer = connection.getresponse()
            content = answer.read()
        finally:
            connection.close()
        self.send_response(answer.status)
        for name in ("Content-Type", "Location"):
            if name in answer.headers:
                self.send_header(name, answer.headers[name])
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def do_POST(self) -> None:
        self.do_GET()


class Browser:
    """Requests addresses of the proxy."""

    def __init__(self, host: str) -> None:
        self.host = host
        self.url = f"http://{host}{PREFIX}"

    def request(self, url: str, body: bytes | None = None) -> tuple[int, str]:
        """Return status and text. The address has to be one of the proxy's host."""
        parts = urlsplit(url)
        assert parts.netloc == self.host
        connection = http.client.HTTPConnection(parts.netloc, timeout=30)
        try:
            connection.request(
                "GET" if body is None else "POST", parts.path, body, {"Content-Type": "application/json"}
            )
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()


@contextmanager
def _running(server: http.server.HTTPServer) -> Iterator[int]:
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def browser(registry: FakeRegistry, settings: Settings) -> Iterator[Browser]:
    """A browser of a service that knows its public address, that of the proxy."""
    registry.register(make_bundle())
    handler = type("Handler", (Proxy,), {})
    with _running(http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)) as port:
        found = Browser(f"127.0.0.1:{port}")
        service = Service(msgspec.structs.replace(settings, public_service_url=found.url)).poll()
        with _running(make_server("127.0.0.1", 0, service.app, threaded=True)) as handler.backend_port:
            yield found


@pytest.mark.parametrize("page", ["/", "/docs"])
def test_every_link_of_a_page_resolves_below_the_prefix(browser: Browser, page: str) -> None:
    status, text = browser.request(browser.url + page)
    assert status == 200
    links = {urljoin(browser.url + page, link) for link in _LINK.findall(text)}
    assert len(links) >= 3
    for link in links:
        assert link.startswith(f"{browser.url}/")
        assert browser.request(link)[0] == 200


def test_every_request_of_the_forms_script_resolves_below_the_prefix(browser: Browser) -> None:
    _, script = browser.request(f"{browser.url}/static/page.js")
    called = re.findall(r'\bpost\("([^"]*)"', script)
    assert called
    for path in called:
        status, text = browser.request(urljoin(f"{browser.url}/", path), msgspec.json.encode(RECORD))
        assert (status, "probability" in text) == (200, True)


def test_the_api_document_and_the_example_name_the_public_address(browser: Browser) -> None:
    _, text = browser.request(f"{browser.url}/openapi.json")
    document = msgspec.json.decode(text)
    assert document["servers"] == [{"url": browser.url}]
    assert browser.request(f"{document['servers'][0]['url']}/healthz")[0] == 200
    _, page = browser.request(f"{browser.url}/docs")
    assert f"curl {browser.url}/predict" in page


def test_an_address_beside_the_prefix_is_not_the_services(browser: Browser) -> None:
    assert browser.request(f"http://{browser.host}/static/page.css")[0] == 404
