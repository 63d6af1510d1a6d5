"""Settings come from the environment. An invalid one is reported with what is allowed."""

import re
from pathlib import Path

import msgspec
import pytest

import serving
from serving.app import create_app
from serving.metrics import multiprocess
from serving.settings import PREFIX, SettingError, Settings

README = Path(serving.__file__).with_name("README.md").read_text()


def test_every_setting_has_a_default(tmp_path: Path) -> None:
    settings = Settings.from_environment({"HEARTLINE_HOME": str(tmp_path), "HEARTLINE_MLFLOW_URL": ""})

    assert settings.mlflow_url == "http://127.0.0.1:5000"
    assert (settings.service_host, settings.service_port) == ("127.0.0.1", 8080)
    assert settings.poll_seconds == 5
    assert settings.max_records == 10_000
    assert settings.service_workers >= 1
    assert settings.make_cache_folder() == tmp_path / "model-cache"


def test_every_setting_can_be_set(tmp_path: Path) -> None:
    environment = {
        "HEARTLINE_CACHE": str(tmp_path),
        "HEARTLINE_MLFLOW_URL": "https://mlflow.example:8443/prefix",
        "HEARTLINE_MODEL_NAME": "other",
        "HEARTLINE_MODEL_ALIAS": "staging",
        "HEARTLINE_BUNDLE": str(tmp_path),
        "HEARTLINE_POLL_SECONDS": "0.5",
        "HEARTLINE_SERVICE_HOST": "0.0.0.0",
        "HEARTLINE_SERVICE_PORT": "81",
        "HEARTLINE_PUBLIC_SERVICE_URL": "https://ml.example/heart",
        "HEARTLINE_SERVICE_WORKERS": "3",
        "HEARTLINE_SERVICE_THREADS": "4",
        "HEARTLINE_WORKER": "gthread",
        "HEARTLINE_MAX_RECORDS": "7",
        "HEARTLINE_MAX_BODY_BYTES": "4096",
        "HEARTLINE_MAX_WAITING": "9",
        "HEARTLINE_REQUEST_SECONDS": "2.5",
        "HEARTLINE_ALLOWED_HOSTS": "heart.example.org",
        "HEARTLINE_API_KEYS": str(tmp_path / "keys"),
        "HEARTLINE_ALLOW_ANONYMOUS": "yes",
        "HEARTLINE_PREDICTION_LOG_URL": "postgresql://me:secret@host/db",
        "HEARTLINE_PREDICTION_LOG_DAYS": "7",
        "HEARTLINE_PREDICTION_LOG_SPILL_BYTES": "1000",
        "HEARTLINE_REQUIRE_APPROVAL": "yes",
        "HEARTLINE_APPROVAL_SECRET": "k" * 64,
        "HEARTLINE_LEDGER_URL": "postgresql://me:secret@host/heartline",
    }

    settings = Settings.from_environment(environment)

    fields = msgspec.structs.asdict(settings)
    assert {PREFIX + name.upper(): str(value) for name, value in fields.items()} == environment


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        ("HEARTLINE_SERVICE_PORT", "http", "a port from 1 to 65535"),
        ("HEARTLINE_SERVICE_PORT", "70000", "a port from 1 to 65535"),
        ("HEARTLINE_SERVICE_PORT", "80.5", "a port from 1 to 65535"),
        ("HEARTLINE_POLL_SECONDS", "nan", "seconds, from 0.05 to 3600"),
        ("HEARTLINE_POLL_SECONDS", "-1", "seconds, from 0.05 to 3600"),
        ("HEARTLINE_MLFLOW_URL", "localhost:5000", "http:// or https:// and the host of the MLflow server, no user"),
        (
            "HEARTLINE_MLFLOW_URL",
            "http://me:secret@host",
            "http:// or https:// and the host of the MLflow server, no user",
        ),
        ("HEARTLINE_MAX_RECORDS", "0", "records in one request, at least 1"),
        ("HEARTLINE_WORKER", "sync", "heartline or gthread"),
    ],
)
def test_an_invalid_value_is_reported_with_what_is_allowed(variable: str, value: str, expected: str) -> None:
    with pytest.raises(SettingError) as caught:
        Settings.from_environment({variable: value})

    assert str(caught.value) == (
        f"{value!r} is not a valid value\n"
        f"  where:    {variable}\n"
        f"  expected: {expected}\n"
        "  hint:     correct the variable, or unset it to use the default"
    )


def test_a_cache_that_cannot_be_created_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    settings = Settings.from_environment({"HEARTLINE_CACHE": str(tmp_path / "file" / "cache")})

    with pytest.raises(SettingError, match="cannot be written to: Not a directory") as caught:
        settings.make_cache_folder()

    assert caught.value.where == "HEARTLINE_CACHE"


def test_the_readme_names_every_setting_with_its_default_and_no_other() -> None:
    settings, _ = README.split("The defaults are those of the service alone.")
    documented = dict(re.findall(r"^\| `HEARTLINE_(\w+)` \| `?(.*?)`? \|", settings, re.MULTILINE))

    fields = msgspec.structs.fields(Settings)
    assert list(documented) == [field.name.upper() for field in fields]
    for field in fields:
        if field.name not in ("cache", "service_workers"):  # these defaults are computed
            assert msgspec.convert(documented[field.name.upper()], field.type, strict=False) == field.default


def test_the_readme_names_every_other_variable_that_the_code_reads_or_sets() -> None:
    _, others = README.split("These environment variables have an effect too:")
    code = "".join(path.read_text() for path in Path(serving.__file__).parent.rglob("*.py"))
    found = {*re.findall(r"os\.environ(?:\.get\(|\[)[\"'](\w+)", code), multiprocess.VARIABLE, "HEARTLINE_HOME"}

    assert found >= {"HEARTLINE_SERVICE_PORT", "ORT_DISABLE_TELEMETRY"}
    assert [name for name in sorted(found) if f"`{name}`" not in others] == []


def test_the_readme_names_every_endpoint(tmp_path: Path) -> None:
    app = create_app(Settings(cache=str(tmp_path)))
    rules = {f"{method} {rule.rule}" for rule in app.url_map.iter_rules() for method in rule.methods or ()}

    for endpoint in rules:
        if not endpoint.startswith(("HEAD", "OPTIONS")):
            assert f"`{endpoint}`" in README
