import pytest

from stack.errors import Exit, UsageError
from stack.setting_checks import check


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HEARTLINE_SCHEDULE", "0 2 * *"),
        ("HEARTLINE_SCHEDULE", "0 25 * * *"),
        ("HEARTLINE_SCHEDULE", "0 0 30 2 *"),
        ("HEARTLINE_SCHEDULE", "0 2 * * * *"),
        ("HEARTLINE_SCHEDULE", "@nightly"),
        ("HEARTLINE_SCHEDULE", "every night"),
        ("HEARTLINE_TIMEZONE", "Mars/Olympus"),
        ("HEARTLINE_TIMEZONE", "America"),
        ("HEARTLINE_TIMEZONE", "../etc"),
        ("HEARTLINE_SOURCE", "sample:50"),
        ("HEARTLINE_SOURCE", "sample:99999999"),
        ("HEARTLINE_SOURCE_FOLDERS", "data"),
        ("HEARTLINE_SOURCE_NETWORKS", "10.0.0.1/8"),
        ("HEARTLINE_SOURCE_NETWORKS", "the ward"),
        ("HEARTLINE_SOURCE_SECONDS", "5 minutes"),
        ("HEARTLINE_SOURCE_MAX_BYTES", "0"),
        ("HEARTLINE_SOURCE_MAX_ROWS", "1e6"),
        ("HEARTLINE_SOURCE_MAX_ROWS", "0"),
        ("HEARTLINE_LEDGER_DAYS", "0"),
        ("HEARTLINE_LEDGER_DAYS", "for ever"),
        ("HEARTLINE_MAPPING", "hospitl"),
        ("HEARTLINE_MAPPING", "/nowhere/m.yaml"),
        ("HEARTLINE_MAPPING", "file:///nowhere/m.yaml"),
        ("HEARTLINE_MAPPING", "pyproject.toml"),
        ("HEARTLINE_CACHE_DIR", "cache"),
        ("HEARTLINE_UCI_URL", "archive.zip"),
        ("HEARTLINE_UCI_URL", "https://"),
        ("HEARTLINE_STORE", "/srv/store"),
        ("HEARTLINE_MONITORING_SCHEDULE", "@nightly"),
        ("HEARTLINE_HARM_MARGIN", "-0.1"),
        ("HEARTLINE_HARM_MARGIN", "1"),
        ("HEARTLINE_HARM_MARGIN", "nan"),
        ("HEARTLINE_HARM_RATE", "0"),
        ("HEARTLINE_HARM_RATE", "1 %"),
        ("HEARTLINE_DRIFT_RATE", "1"),
        ("HEARTLINE_WEEKLY_RATE", "often"),
        ("HEARTLINE_OUTCOMES", "sample"),
        ("HEARTLINE_OUTCOMES", "outcomes.csv"),
    ],
)
def test_a_value_that_its_reader_cannot_use_is_refused(name, value):
    with pytest.raises(UsageError) as caught:
        check({name: value})
    assert repr(value) in caught.value.what
    assert caught.value.where == f"setting {name}"
    assert caught.value.code == Exit.USAGE


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HEARTLINE_DATABASE_URL", "me:secret@host"),
        ("HEARTLINE_PUBLIC_AIRFLOW_URL", "https://me:secret@ml.example"),
        ("HEARTLINE_PUBLIC_MLFLOW_URL", "secret.example/mlflow"),
        ("HEARTLINE_PUBLIC_SERVICE_URL", "https://ml.example/heart?key=secret"),
    ],
)
def test_a_url_that_may_hold_a_password_is_not_repeated(name, value):
    with pytest.raises(UsageError) as caught:
        check({name: value})
    assert caught.value.where == f"setting {name}"
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HEARTLINE_SCHEDULE", ""),
        ("HEARTLINE_SCHEDULE", "@daily"),
        ("HEARTLINE_SCHEDULE", "*/5 1-3 * * mon"),
        ("HEARTLINE_TIMEZONE", "Europe/Berlin"),
        ("HEARTLINE_TIMEZONE", "utc"),
        ("HEARTLINE_SOURCE", "postgres"),
        ("HEARTLINE_SOURCE", "sample:200"),
        ("HEARTLINE_SOURCE", "records.csv"),
        ("HEARTLINE_SOURCE_FOLDERS", "/srv/a:~/b"),
        ("HEARTLINE_SOURCE_NETWORKS", "10.0.0.0/8, fd00::/8"),
        ("HEARTLINE_SOURCE_MAX_ROWS", "1000"),
        ("HEARTLINE_MAPPING", "hospital"),
        ("HEARTLINE_MAPPING", "columns: {age: years}"),
        ("HEARTLINE_UCI_URL", "/srv/heart.zip"),
        ("HEARTLINE_UCI_URL", "file:///srv/heart.zip"),
        ("HEARTLINE_UCI_URL", "http://mirror.example/heart.zip"),
        ("HEARTLINE_STORE", "s3://bucket/heartline"),
        ("HEARTLINE_MONITORING_SCHEDULE", "15 1 * * *"),
        ("HEARTLINE_HARM_MARGIN", "0"),
        ("HEARTLINE_HARM_RATE", "0.001"),
        ("HEARTLINE_DRIFT_RATE", "5e-2"),
        ("HEARTLINE_OUTCOMES", "/data/outcomes.csv"),
        ("HEARTLINE_OUTCOMES", "postgres:outcomes"),
        ("HEARTLINE_PUBLIC_SERVICE_URL", "https://ml.example/heart/"),
    ],
)
def test_usable_values_pass(name, value):
    check({name: value})


def test_a_mapping_may_be_a_file_by_any_path(tmp_path, monkeypatch):
    (tmp_path / "two words.yaml").write_text("columns: {age: years}")
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "two words.yaml"
    for value in ("two words.yaml", str(path), path.as_uri()):
        check({"HEARTLINE_MAPPING": value})


def test_in_a_container_a_mapping_is_a_name_a_text_or_an_absolute_path(tmp_path, monkeypatch):
    for value in ("hospital", "columns: {age: years}", "/data/m.yaml", "file:///data/m.json"):
        check({"HEARTLINE_MAPPING": value}, in_container=True)
    (tmp_path / "m.yaml").write_text("columns: {age: years}")
    monkeypatch.chdir(tmp_path)
    for value in ("m.yaml", "/data/m.txt", "hospitl"):
        with pytest.raises(UsageError, match="cannot be used"):
            check({"HEARTLINE_MAPPING": value}, in_container=True)
