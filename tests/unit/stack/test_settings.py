from typing import get_args, get_type_hints

import pytest

from serving import settings as service_settings
from stack.errors import Exit, UsageError
from stack.settings import PORTS, WORKERS, Settings, check_name, own_folder


def test_defaults(tmp_path):
    settings = Settings.load({}, tmp_path)
    assert settings.home == tmp_path / ".heartline"
    assert (settings.airflow_url, settings.mlflow_url, settings.service_url) == (
        "http://127.0.0.1:4200",
        "http://127.0.0.1:5000",
        "http://127.0.0.1:8080",
    )
    assert settings.postgres_port == 5433


@pytest.mark.parametrize("value", ["http", "0", "65536", "-1", "٣", "80.5"])
def test_a_bad_port_is_named_with_its_setting(tmp_path, value):
    with pytest.raises(UsageError, match="is not a TCP port") as caught:
        Settings.load({"HEARTLINE_MLFLOW_PORT": value}, tmp_path)
    assert caught.value.where == "setting HEARTLINE_MLFLOW_PORT"
    assert caught.value.code == Exit.USAGE


def test_two_processes_cannot_share_a_port(tmp_path):
    with pytest.raises(UsageError, match="port 5000") as caught:
        Settings.load({"HEARTLINE_SERVICE_PORT": str(PORTS["HEARTLINE_MLFLOW_PORT"])}, tmp_path)
    assert "HEARTLINE_MLFLOW_PORT" in caught.value.where
    assert "HEARTLINE_SERVICE_PORT" in caught.value.where


def test_another_database_is_refused(tmp_path):
    with pytest.raises(UsageError, match="not the URL of a PostgreSQL server"):
        Settings.load({"HEARTLINE_POSTGRES_URL": "mysql://localhost"}, tmp_path)


def test_the_state_folder_is_for_its_owner_only(settings):
    assert settings.home.stat().st_mode & 0o077 == 0
    settings.make_home()  # again: it is a state folder now


def test_a_folder_with_other_files_is_refused(tmp_path):
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(UsageError, match="holds other files"):
        own_folder(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize("name", ["100% heart", 'a "heart"', "a$b", "a\\b", "a`b", "a\nb"])
def test_a_name_that_mlflow_or_postgresql_cannot_use_is_refused_at_once(tmp_path, name):
    with pytest.raises(UsageError, match="cannot be used"):
        check_name(tmp_path / name, "the clone")


def test_spaces_quotes_and_accents_can_be_used(tmp_path):
    check_name(tmp_path / "Zoë's #1 heart; copy", "the clone")


def test_an_unknown_worker_is_refused_before_anything_is_stopped(tmp_path):
    with pytest.raises(UsageError) as caught:
        Settings.load({"HEARTLINE_WORKER": "nonsense"}, tmp_path)
    assert "'nonsense'" in caught.value.what
    assert caught.value.where == "setting HEARTLINE_WORKER"
    for worker in ("", *WORKERS):
        Settings.load({"HEARTLINE_WORKER": worker}, tmp_path)


def test_the_workers_are_those_of_the_service():
    assert get_args(get_args(get_type_hints(service_settings.Settings, include_extras=True)["worker"])[0]) == WORKERS
