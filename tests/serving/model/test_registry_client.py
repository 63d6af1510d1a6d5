"""The registry client reports unexpected responses and time-outs."""

import re
import socket
from collections.abc import Iterator

import pytest

from serving.model import registry_client
from serving.model.registry_client import ModelVersion, NotFoundError, RegistryClient, RegistryError
from tests.serving.fakes import FakeRegistry, make_bundle


@pytest.fixture
def black_hole() -> Iterator[str]:
    """An address that accepts connections and never responds."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def ask(registry: FakeRegistry) -> ModelVersion:
    return RegistryClient(registry.url + "/").version_with_alias("heart-disease", "production").version


def test_the_version_under_the_alias(registry: FakeRegistry) -> None:
    registry.register(make_bundle())

    assert ask(registry) == ModelVersion("heart-disease", "1", "models:/m-1", "r1")


def test_the_artifact_root_of_a_version(registry: FakeRegistry) -> None:
    client = RegistryClient(registry.url)
    files = make_bundle()
    registry.register(files)

    root = client.artifact_root(ask(registry))

    assert root == "1/models/1/artifacts"
    assert b"".join(client.read(root, "model.onnx", 10**6)) == files["model.onnx"]


def test_a_file_is_read_no_further_than_its_limit(registry: FakeRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry_client, "CHUNK_BYTES", 10)
    registry.answer = lambda path: (200, b"x" * 1000)

    assert len(b"".join(RegistryClient(registry.url).read("root", "file", 25))) == 30


@pytest.mark.parametrize("name", ["heart-disease", "another"])
def test_a_missing_object_is_not_a_registry_error(registry: FakeRegistry, name: str) -> None:
    with pytest.raises(NotFoundError, match="not found"):
        RegistryClient(registry.url).version_with_alias(name, "production")


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (200, b"<html>", "returned an unexpected response: JSON is malformed"),
        (200, b"[]", "returned an unexpected response: Expected `object`, got `array`"),
        (200, b'{"model_version": {"name": "x"}}', "Object missing required field `version`"),
        (200, b"\xff\xfe", "returned an unexpected response"),
        (200, b"", "returned an unexpected response"),
        (403, b"Invalid Host header", "answered with status 403: Invalid Host header"),
        (500, b'{"error_code": "INTERNAL_ERROR", "message": "no disk"}', "answered with status 500: no disk"),
        (302, b"", "answered with status 302"),
        (404, b"\xff", "answered with status 404"),
    ],
)
def test_an_unexpected_response_is_a_registry_error(
    registry: FakeRegistry, status: int, body: bytes, message: str
) -> None:
    registry.answer = lambda path: (status, body)

    with pytest.raises(RegistryError, match=message):
        ask(registry)


def test_a_registry_that_never_answers_runs_into_a_time_out(black_hole: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry_client, "READ_TIMEOUT_SECONDS", 0.2)
    client = RegistryClient(black_hole)

    with pytest.raises(RegistryError, match=re.escape("Read timed out. (read timeout=0.2)")):
        client.version_with_alias("heart-disease", "production")


def test_a_slow_download_runs_into_a_time_out(registry: FakeRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry_client, "DOWNLOAD_TIMEOUT_SECONDS", -1.0)
    registry.answer = lambda path: (200, b"x" * 1000)

    with pytest.raises(RegistryError, match="was not read within"):
        list(RegistryClient(registry.url).read("root", "file", 1000))


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "http://no-such-host.invalid", "http://127.0.0.1:99999"])
def test_an_address_without_a_registry(url: str) -> None:
    with pytest.raises(RegistryError, match="does not answer"):
        RegistryClient(url).version_with_alias("heart-disease", "production")
