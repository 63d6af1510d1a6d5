"""Which hosts the service answers for, and requests that no proper client sends."""

import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from werkzeug.test import EnvironBuilder

from serving.api.hosts import AllowedHosts
from serving.settings import SettingError, Settings
from tests.serving.fakes import RECORD, Service

Ask = Callable[..., tuple[int, Any]]


@pytest.fixture
def ask(service: Service) -> Ask:
    """Send a request with a WSGI environment that the client of Werkzeug would not make."""

    def send(path: str = "/model", **environ: str | None) -> tuple[int, Any]:
        base = EnvironBuilder(path=path).get_environ()
        for name, value in environ.items():
            if value is None:
                base.pop(name, None)
            else:
                base[name] = value
        return run(service, base)

    return send


def run(service: Service, environ: dict[str, Any]) -> tuple[int, Any]:
    found: list[str] = []
    body = b"".join(service.app.wsgi_app(environ, lambda status, headers: found.append(status)))  # type: ignore[arg-type]
    return int(found[0][:3]), json.loads(body)


@pytest.mark.parametrize(
    ("bound_to", "setting", "allowed", "refused"),
    [
        ("127.0.0.1", "", ["localhost", "LOCALHOST.:1", "127.0.0.1:8080", "[::1]:80", "a.localhost"], ["10.0.0.5"]),
        (
            "127.0.0.1",
            "serving, heart.example.org",
            ["serving:8080", "heart.example.org"],
            ["example.org", "serving.x"],
        ),
        ("0.0.0.0", "", ["10.0.0.5:8080", "[fe80::1]"], ["heart.example.org", "10.0.0.5.example.org"]),
        ("heart.local", "", ["heart.local:8080"], ["other.local"]),
        ("127.0.0.1", "*", ["anything.example"], ["two words", "a,b", ""]),
    ],
)
def test_the_hosts_that_are_allowed(bound_to: str, setting: str, allowed: list[str], refused: list[str]) -> None:
    hosts = AllowedHosts(Settings(cache="/tmp", service_host=bound_to, allowed_hosts=setting))

    assert [host for host in allowed if not hosts.allows(host)] == []
    assert [host for host in [*refused, "evil.example"] if hosts.allows(host)] == (
        ["evil.example"] if setting == "*" else []
    )


def test_the_host_of_the_public_address_is_allowed() -> None:
    hosts = AllowedHosts(Settings(cache="/tmp", public_service_url="https://ML.example.org:8443/heart"))

    assert hosts.allows("ml.example.org")
    assert hosts.allows("ml.example.org:8443")
    assert not hosts.allows("example.org")


def test_the_name_of_another_site_gets_nothing_but_the_health_checks(ask: Ask) -> None:
    for path in ("/model", "/metrics", "/", "/docs", "/openapi.json", "/nothing"):
        status, problem = ask(path, HTTP_HOST="evil.example:8080")
        assert (status, problem["type"]) == (421, "urn:heartline:problem:host-not-allowed")
        assert "evil.example" in problem["detail"]
        assert "HEARTLINE_ALLOWED_HOSTS" in problem["hint"]
    assert ask("/healthz", HTTP_HOST="10.1.2.3:8080")[0] == 200
    assert ask("/readyz", HTTP_HOST="evil.example")[0] == 200


def test_the_host_of_an_absolute_url_counts_too(ask: Ask) -> None:
    assert ask(RAW_URI="http://evil.example/model")[0] == 421
    assert ask(RAW_URI="http://localhost/model")[0] == 200
    assert ask(RAW_URI="http://[/model")[0] == 400


@pytest.mark.parametrize("host", [None, "", "localhost,localhost", "local host", "localhost:port", "ü", "a/b"])
def test_http_1_1_needs_one_valid_host(ask: Ask, host: str | None) -> None:
    status, problem = ask(HTTP_HOST=host)

    assert (status, problem["type"]) == (400, "urn:heartline:problem:invalid-host")


def test_http_1_0_needs_no_host(ask: Ask) -> None:
    assert ask(HTTP_HOST=None, SERVER_PROTOCOL="HTTP/1.0")[0] == 200


def test_a_url_without_a_path_is_the_form(service: Service) -> None:
    environ = EnvironBuilder(path="/").get_environ() | {"PATH_INFO": "", "RAW_URI": "http://localhost"}
    found: list[str] = []
    service.app.wsgi_app(environ, lambda status, headers: found.append(status))  # type: ignore[arg-type]

    assert found == ["200 OK"]


@pytest.mark.parametrize("coding", ["gzip, chunked", "gzip", "identity", "chunked, chunked", "xchunked"])
def test_another_transfer_coding_than_chunked_is_501(ask: Ask, coding: str) -> None:
    status, problem = ask(HTTP_TRANSFER_ENCODING=coding)

    assert (status, problem["type"]) == (501, "urn:heartline:problem:unsupported-transfer-coding")


def test_a_byte_that_is_not_utf_8_is_no_error_of_the_service(service: Service) -> None:
    client: FlaskClient = service.client
    for query in ("explain=tr%ff", "explain=tr\xff", "explain=%ed%a0%80", "explain=%00"):
        answer = client.post("/predict?" + query, json=RECORD)
        assert (answer.status_code, answer.get_json(force=True)["type"]) == (
            400,
            "urn:heartline:problem:invalid-parameter",
        )
    assert client.get("/%ff%fe").status_code == 404
    assert client.get("/predictions/%ff").status_code == 503  # the prediction log is off


def test_a_query_that_is_no_text_is_refused(ask: Ask) -> None:
    for query in ("\x80", "explain=\xff"):
        status, problem = ask("/predict", QUERY_STRING=query)
        assert (status, problem["type"]) == (400, "urn:heartline:problem:malformed-request")


LATIN = st.text(st.characters(max_codepoint=255, exclude_characters="\r\n"), max_size=30)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    method=st.sampled_from(["GET", "POST", "OPTIONS", "HEAD", "BREW"]),
    path=st.sampled_from(["", "/", "/predict", "/predictions/", "/static/", "/model"]),
    rest=LATIN,
    query=st.sampled_from(["", "explain=", "explain=true&explain="]),
    value=LATIN,
    field=st.sampled_from(
        ["X_REQUEST_ID", "X_API_KEY", "AUTHORIZATION", "HOST", "CONTENT_ENCODING", "ACCEPT", "RANGE"]
    ),
    media_type=st.one_of(st.just("application/json"), st.just("text/csv"), LATIN),
)
def test_no_request_of_any_bytes_is_an_error_of_the_service(
    service: Service, method: str, path: str, rest: str, query: str, value: str, field: str, media_type: str
) -> None:
    environ = EnvironBuilder(method=method, data=json.dumps(RECORD), content_type="application/json").get_environ()
    environ |= {
        "PATH_INFO": path + rest,
        "QUERY_STRING": query + value,
        f"HTTP_{field}": value,
        "CONTENT_TYPE": media_type,
    }
    found: list[str] = []

    list(service.app.wsgi_app(environ, lambda status, headers: found.append(status)))  # type: ignore[arg-type]

    assert int(found[0][:3]) < 500 or found[0].startswith("503"), found  # 503: the prediction log is off


def test_an_invalid_setting_of_hosts_is_refused() -> None:
    with pytest.raises(SettingError, match="not a valid value"):
        Settings.from_environment({"HEARTLINE_ALLOWED_HOSTS": "http://heart.example.org"})


def test_a_body_with_a_content_encoding_is_not_read_as_json(service: Service) -> None:
    answer = service.client.post("/predict", json=RECORD, headers={"Content-Encoding": "gzip"})

    assert answer.status_code in (400, 415)
    assert msgspec.json.decode(answer.data)["type"].startswith("urn:heartline:problem:")
