"""Authentication: API keys, their file, and the addresses that require them."""

import base64
import hashlib
import hmac
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest

from serving.api import api_keys, auth
from serving.settings import SettingError, Settings
from tests.serving.api.test_predict import assert_problem
from tests.serving.fakes import RECORD, FakeRegistry, Service, make_bundle
from tests.serving.gunicorns import ROOT

ANN, BOB = "hl_of-ann", "hl_of-bob"


def line(name: str, key: str) -> str:
    return f"{name} 2026-01-31 sha256:{hashlib.sha256(key.encode()).hexdigest()}\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file of keys of Ann and Bob."""
    path = tmp_path / "keys"
    path.write_text("# API keys\n\n" + line("ann", ANN) + line("bob.2", BOB))
    path.chmod(0o644)
    return path


@pytest.fixture
def locked(registry: FakeRegistry, settings: Settings, file: Path, monkeypatch: pytest.MonkeyPatch) -> Service:
    """A service that requires keys and checks their file with each request."""
    monkeypatch.setattr(api_keys, "REFRESH_SECONDS", 0)
    registry.register(make_bundle())
    return Service(msgspec.structs.replace(settings, api_keys=str(file))).poll()


def basic(password: str) -> str:
    return "Basic " + base64.b64encode(f"anybody:{password}".encode()).decode()


def status(service: Service, key: str) -> int:
    return service.client.post("/predict", json=RECORD, headers={"X-API-Key": key}).status_code


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": f"Bearer {ANN}"},
        {"Authorization": f"bearer  {ANN} "},
        {"X-API-Key": ANN},
        {"Authorization": basic(ANN)},
        {"Authorization": f"Bearer {BOB}"},
    ],
    ids=["bearer", "blanks", "header", "browser", "another"],
)
def test_a_request_with_a_valid_key_is_accepted(locked: Service, headers: dict[str, str]) -> None:
    assert locked.client.post("/predict", json=RECORD, headers=headers).status_code == 200


def test_a_key_has_the_name_of_its_line(locked: Service) -> None:
    keys = locked.app.extensions["keys"]

    assert [keys.name_of(key) for key in (ANN, BOB, "hl_of-eve")] == ["ann", "bob.2", None]


@pytest.mark.parametrize(
    ("headers", "detail"),
    [
        ({}, "the request has no key"),
        ({"Authorization": ""}, "the request has no key"),
        ({"Authorization": "Bearer"}, "the request has no key"),
        ({"Authorization": "Digest x"}, "the request has no key"),
        ({"Authorization": "Basic not base 64"}, "the request has no key"),
        ({"Authorization": "Bearer hl_of-eve"}, "the key is unknown"),
        ({"X-API-Key": ANN.upper()}, "the key is unknown"),
        ({"X-API-Key": ANN + "x"}, "the key is unknown"),
        ({"X-API-Key": "\xff"}, "the key is unknown"),
        ({"X-API-Key": hashlib.sha256(ANN.encode()).hexdigest()}, "the key is unknown"),
        ({"Authorization": basic("x")}, "the key is unknown"),
        ({"Authorization": "Bearer x", "X-API-Key": ANN}, "the key is unknown"),
    ],
    ids=lambda value: str(value)[:30] if isinstance(value, dict) else "",
)
def test_a_request_without_a_valid_key_is_refused(
    locked: Service, headers: dict[str, str], detail: str, caplog: pytest.LogCaptureFixture
) -> None:
    response = locked.client.post("/predict", json=RECORD, headers=headers)

    assert response.headers["WWW-Authenticate"] == 'Basic realm="Heartline", charset="UTF-8", Bearer realm="Heartline"'
    assert_problem(
        response,
        type="urn:heartline:problem:unauthorized",
        title="Unauthorized",
        status=401,
        detail=detail,
        expected="Authorization: Bearer KEY, or X-API-Key: KEY; a browser sends the key as the password",
        hint="ask the operator of the service for a key",
        instance="/predict",
    )
    assert "hl_" not in caplog.text


def test_only_health_and_readiness_need_no_key(locked: Service) -> None:
    paths = {str(rule) for rule in locked.app.url_map.iter_rules() if "GET" in (rule.methods or ())}

    opened = {path for path in paths if locked.client.get(path.replace("<", "x").replace(">", "")).status_code != 401}

    assert opened == {"/healthz", "/readyz"}
    assert locked.client.get("/nothing").status_code == 401  # the response does not reveal which paths exist


def test_without_a_file_of_keys_no_key_is_required(service: Service) -> None:
    assert service.client.post("/predict", json=RECORD).status_code == 200
    assert service.get("/readyz")["api_keys_error"] is None


def test_a_key_is_added_and_revoked_while_the_service_runs(locked: Service, file: Path) -> None:
    assert (status(locked, ANN), status(locked, "hl_new")) == (200, 401)

    file.write_text(line("new", "hl_new"))

    assert (status(locked, ANN), status(locked, "hl_new")) == (401, 200)
    file.write_text("")
    assert status(locked, "hl_new") == 401


def test_the_file_is_checked_once_a_second_at_most(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert api_keys.REFRESH_SECONDS == 1
    monkeypatch.setattr(api_keys, "REFRESH_SECONDS", 600)
    found = api_keys.Keys(file)
    file.write_text(line("new", "hl_new"))

    assert found.name_of("hl_new") is None
    found._next_check = time.monotonic()
    assert found.name_of("hl_new") == "new"


def spoil_by_mode(path: Path) -> None:
    path.chmod(0o664)


SPOILED = [
    (lambda path: path.unlink(), "No such file or directory"),
    (
        lambda path: path.write_text(line("new", "x") + "new"),
        "line 2 is not NAME YYYY-MM-DD sha256:64 hexadecimal digits",
    ),
    (lambda path: path.write_text(line("New", "x")), "line 1 is not NAME YYYY-MM-DD sha256:64 hexadecimal digits"),
    (lambda path: path.write_text(line("new", "x") * 2), "line 2 names new a second time"),
    (lambda path: path.write_bytes(b"\xff"), "it is not UTF-8"),
    (spoil_by_mode, "others than its owner can write it (chmod go-w)"),
    (lambda path: path.write_text("# " + "x" * api_keys.MAX_BYTES), f"it has more than {api_keys.MAX_BYTES} bytes"),
]


@pytest.mark.parametrize(("spoil", "reason"), SPOILED, ids=[reason[:20] for _, reason in SPOILED])
def test_if_the_file_becomes_unusable_the_old_keys_stay_valid_and_the_error_is_reported(
    locked: Service, file: Path, spoil: object, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    good = file.read_text()
    spoil(file)  # type: ignore[operator]

    assert (status(locked, ANN), status(locked, "x")) == (200, 401)
    problem = f"the file of API keys cannot be used, the keys read before stay valid: {reason}"
    assert locked.get("/readyz")["api_keys_error"] == problem
    assert status(locked, ANN) == 200
    assert caplog.text.count(problem) == 1  # not with each request

    file.unlink(missing_ok=True)
    file.write_text(good)
    file.chmod(0o600)
    assert status(locked, BOB) == 200
    assert locked.get("/readyz")["api_keys_error"] is None


@pytest.mark.parametrize(("spoil", "reason"), SPOILED, ids=[reason[:20] for _, reason in SPOILED])
def test_the_service_does_not_start_with_an_unusable_file(
    settings: Settings, file: Path, spoil: object, reason: str
) -> None:
    spoil(file)  # type: ignore[operator]

    with pytest.raises(SettingError) as caught:
        Service(msgspec.structs.replace(settings, api_keys=str(file)))

    assert caught.value.what == f"the file of API keys {file} cannot be used: {reason}"
    assert caught.value.where == "HEARTLINE_API_KEYS"
    assert "NAME YYYY-MM-DD sha256:64 hexadecimal digits" in caught.value.expected
    assert "./heartline keys add NAME" in caught.value.hint


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.10", "::1", "localhost"])
def test_loopback_addresses_require_no_keys(settings: Settings, host: str) -> None:
    auth.check_addresses([host], settings)


def test_a_name_is_loopback_if_all_its_addresses_are(monkeypatch: pytest.MonkeyPatch) -> None:
    def resolve(*addresses: str) -> bool:
        found = [(2, 1, 6, "", (address, 0)) for address in addresses]
        monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: found)
        return auth.is_loopback("name")

    assert resolve("127.0.0.1", "::1")
    assert not resolve("127.0.0.1", "192.0.2.7")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "2001:db8::1", "no-such-host.invalid", "", "a" * 70])
def test_other_addresses_require_keys_or_the_setting_for_anonymous_access(settings: Settings, host: str) -> None:
    with pytest.raises(SettingError) as caught:
        auth.check_addresses(["127.0.0.1", host], settings)

    assert caught.value.where == "HEARTLINE_SERVICE_HOST"
    auth.check_addresses([host], msgspec.structs.replace(settings, api_keys="/keys"))
    auth.check_addresses([host], msgspec.structs.replace(settings, allow_anonymous="yes"))


def start(tmp_path: Path, *arguments: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HEARTLINE_")}
    return subprocess.run(
        [sys.executable, "-m", "gunicorn", "-c", str(ROOT / "serving" / "gunicorn.conf.py"), *arguments],
        cwd=tmp_path,
        env=kept | {"HEARTLINE_CACHE": str(tmp_path)} | variables,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.mark.parametrize(
    ("arguments", "variables"),
    [([], {"HEARTLINE_SERVICE_HOST": "0.0.0.0"}), (["--bind", "0.0.0.0:0"], {})],
    ids=["setting", "command line"],
)
def test_gunicorn_does_not_listen_for_other_machines_without_keys(
    tmp_path: Path, arguments: list[str], variables: dict[str, str]
) -> None:
    ended = start(tmp_path, *arguments, **variables)

    assert ended.returncode != 0
    assert ended.stderr.splitlines()[-4:] == [
        "every machine that reaches 0.0.0.0 could use the service without a key",
        "  where:    HEARTLINE_SERVICE_HOST",
        "  expected: a loopback address, or a file of keys in HEARTLINE_API_KEYS",
        "  hint:     ./heartline keys add NAME makes one; HEARTLINE_ALLOW_ANONYMOUS=yes allows access without keys",
    ]
    assert "Traceback" not in ended.stderr


def test_gunicorn_does_not_start_without_the_file_of_keys(tmp_path: Path) -> None:
    ended = start(tmp_path, HEARTLINE_API_KEYS=str(tmp_path / "nothing"))

    assert ended.returncode != 0
    assert re.fullmatch(
        r"the file of API keys .*/nothing cannot be used: No such file or directory(\n  .*){3}\n", ended.stderr
    )


def test_a_key_is_compared_with_every_entry(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[bool] = []

    def compare(one: bytes, other: bytes) -> bool:
        compared.append(hmac.compare_digest(one, other))
        return compared[-1]

    monkeypatch.setattr(api_keys, "hmac", SimpleNamespace(compare_digest=compare))
    found = api_keys.Keys(file)

    assert [found.name_of(key) for key in (ANN, BOB, "hl_nobody")] == ["ann", "bob.2", None]
    assert compared == [True, False, False, True, False, False]
