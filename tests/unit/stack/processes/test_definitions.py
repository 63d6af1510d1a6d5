import dataclasses
import json

import pytest

from stack import source_choice
from stack.processes.definitions import (
    AIRFLOW,
    DAG_PROCESSOR,
    MLFLOW,
    POSTGRES,
    SCHEDULER,
    SERVICE,
    define_processes,
)
from stack.processes.env_markers import DIGEST_VARIABLE, PROCESS_VARIABLE, STACK_VARIABLE, start_file
from stack.processes.environment import base_environment
from stack.secrets.credentials import LOCAL
from tests.conftest import ROOT


@pytest.fixture(autouse=True)
def no_settings(monkeypatch):
    for name in ("HEARTLINE_SOURCE", "HEARTLINE_SCHEDULE", "HEARTLINE_STORE", "HEARTLINE_DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)


def by_name(settings, credentials):
    return {definition.name: definition for definition in define_processes(settings, credentials)}


def test_no_secret_is_on_a_command_line(settings, credentials):
    secrets = [credentials[name] for name in LOCAL]
    for definition in define_processes(settings, credentials):
        assert not any(secret in word for secret in secrets for word in definition.command)


def test_each_process_gets_only_the_secrets_that_it_needs(settings, credentials):
    found = by_name(settings, credentials)
    given = {name: json.dumps(definition.settings) for name, definition in found.items()}
    assert credentials["postgres_password"] not in "".join(given.values())
    assert credentials["mlflow_db_password"] in given[MLFLOW]
    assert credentials["airflow_db_password"] in given[SCHEDULER]
    of_the_service = ["predictions_db_password", "ledger_service_db_password", "approval_secret"]
    assert [name for name in LOCAL if credentials[name] in given[SERVICE]] == of_the_service
    of_the_ledger = [name for name in found if credentials["ledger_db_password"] in given[name]]
    assert of_the_ledger == [AIRFLOW, SCHEDULER], "plugins read it, and tasks write it"
    of_the_monitoring = [name for name in found if credentials["monitoring_db_password"] in given[name]]
    assert of_the_monitoring == [AIRFLOW, SCHEDULER], "plugins read it, and tasks write it"
    assert credentials["predictions_reader_db_password"] not in "".join(given.values())


def test_the_tasks_read_the_prediction_log_of_the_stack_unless_told_otherwise(settings, credentials, monkeypatch):
    name = "HEARTLINE_PREDICTIONS_URL"
    login = f"postgresql://monitoring:{credentials['monitoring_db_password']}@127.0.0.1:{settings.postgres_port}"
    monkeypatch.delenv(name, raising=False)
    found = by_name(settings, credentials)
    assert {process for process, one in found.items() if name in one.settings} == {SCHEDULER}
    assert found[SCHEDULER].settings[name] == f"{login}/predictions"
    assert found[SCHEDULER].settings["HEARTLINE_MONITORING_URL"] == f"{login}/heartline"
    monkeypatch.setenv(name, "postgresql://reader@elsewhere/log")
    assert by_name(settings, credentials)[SCHEDULER].settings[name] == "postgresql://reader@elsewhere/log"


def test_the_service_logs_to_its_own_database_unless_told_otherwise(settings, credentials, monkeypatch):
    name = "HEARTLINE_PREDICTION_LOG_URL"
    password = credentials["predictions_db_password"]
    monkeypatch.delenv(name, raising=False)
    assert by_name(settings, credentials)[SERVICE].settings[name] == (
        f"postgresql://predictions:{password}@127.0.0.1:{settings.postgres_port}/predictions"
    )
    monkeypatch.setenv(name, "off")
    assert by_name(settings, credentials)[SERVICE].settings[name] == "off"


def test_the_service_gets_the_worker_that_is_set(settings, credentials, monkeypatch):
    assert "HEARTLINE_WORKER" not in by_name(settings, credentials)[SERVICE].settings
    monkeypatch.setenv("HEARTLINE_WORKER", "gthread")
    assert by_name(settings, credentials)[SERVICE].settings["HEARTLINE_WORKER"] == "gthread"


def test_everything_listens_on_the_loopback_interface(settings, credentials):
    found = by_name(settings, credentials)
    assert "listen_addresses=127.0.0.1" in found[POSTGRES].command
    assert found[MLFLOW].command[found[MLFLOW].command.index("--host") + 1] == "127.0.0.1"
    assert found[AIRFLOW].settings["AIRFLOW__API__HOST"] == "127.0.0.1"
    assert "0.0.0.0" not in json.dumps([dataclasses.asdict(definition) for definition in found.values()], default=str)


def test_every_port_has_its_setting(settings, credentials):
    found = {
        definition.port_variable: definition.port
        for definition in define_processes(settings, credentials)
        if definition.port
    }
    assert found == {
        "HEARTLINE_AIRFLOW_PORT": settings.airflow_port,
        "HEARTLINE_MLFLOW_PORT": settings.mlflow_port,
        "HEARTLINE_SERVICE_PORT": settings.service_port,
        "HEARTLINE_POSTGRES_PORT": settings.postgres_port,
    }


NONSENSE = {
    "AIRFLOW__CORE__DAGS_FOLDER": "/theirs",
    "ALL_PROXY": "socks5://127.0.0.1:9",
    "GUNICORN_CMD_ARGS": "--bind 0.0.0.0",
    "HEARTLINE_POSTGRES_URL": "postgresql://superuser:secret@host/db",
    "HTTPS_PROXY": "nonsense://x",
    "LC_ALL": "xx_YY",
    "LD_PRELOAD": "/nowhere.so",
    "MLFLOW_TRACKING_URI": "http://theirs",
    "PATH": "/nowhere",
    "PGPASSWORD": "theirs",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONHOME": "/nowhere",
    "PYTHONPATH": "/nowhere",
    "SQLALCHEMY_WARN_20": "1",
    "SSL_CERT_FILE": "/nowhere.pem",
    "http_proxy": "http://127.0.0.1:9",
}


def test_the_callers_environment_does_not_reach_a_process(settings, credentials, monkeypatch):
    before = {name: one.digest() for name, one in by_name(settings, credentials).items()}
    for name, value in NONSENSE.items():
        monkeypatch.setenv(name, value)
    for definition in define_processes(settings, credentials):
        environment = definition.environment()
        assert not {name for name, value in NONSENSE.items() if environment.get(name) == value}
        proxied = "HEARTLINE_DOWNLOAD_PROXIES" in environment
        assert proxied == (definition.name in (AIRFLOW, SCHEDULER, DAG_PROCESSOR)), "the tasks that download use them"
        assert (definition.digest() == before[definition.name]) != proxied


@pytest.mark.parametrize("name", ["TZ", "HOME", "TMPDIR"])
def test_what_a_process_inherits_is_part_of_its_digest(settings, credentials, monkeypatch, name):
    before = {process: one.digest() for process, one in by_name(settings, credentials).items()}
    monkeypatch.setenv(name, "/elsewhere")
    after = by_name(settings, credentials)
    assert all(one.digest() != before[process] for process, one in after.items())
    assert all(one.environment()[name] == "/elsewhere" for one in after.values())


def test_a_session_variable_of_another_terminal_restarts_nothing(settings, credentials, monkeypatch):
    before = {name: one.digest() for name, one in by_name(settings, credentials).items()}
    for name in ("SSH_CONNECTION", "TERM", "PWD", "WINDOWID", "HEARTLINE_REAL_DATA"):
        monkeypatch.setenv(name, "another")
    assert {name: one.digest() for name, one in by_name(settings, credentials).items()} == before


def test_a_setting_that_is_in_no_list_reaches_the_pipeline_and_the_service(settings, credentials, monkeypatch):
    monkeypatch.setenv("HEARTLINE_SOMETHING_NEW", "on")
    readers = {one.name for one in define_processes(settings, credentials) if "HEARTLINE_SOMETHING_NEW" in one.settings}
    assert readers == {AIRFLOW, SCHEDULER, DAG_PROCESSOR, SERVICE}


def test_postgresql_does_not_load_the_libraries_of_another_installation(settings, credentials, monkeypatch):
    monkeypatch.setenv("LD_LIBRARY_PATH", "/opt/python/lib")
    found = by_name(settings, credentials)
    with_it = {name for name, one in found.items() if one.environment().get("LD_LIBRARY_PATH")}
    assert with_it == set(found) - {POSTGRES}


def test_telemetry_is_off():
    environment = base_environment()
    assert environment["GX_ANALYTICS_ENABLED"] == "false"
    assert environment["MLFLOW_DISABLE_TELEMETRY"] == "true"
    assert environment["ORT_DISABLE_TELEMETRY"] == "1"


def test_the_start_file_is_private_and_has_the_markers(settings, credentials):
    definition = by_name(settings, credentials)[MLFLOW]
    definition.write(settings)
    path = start_file(settings.home, MLFLOW)
    start = json.loads(path.read_text())
    assert path.stat().st_mode & 0o777 == 0o600
    assert start["command"] == list(definition.command)
    assert start["environment"][STACK_VARIABLE] == str(settings.home)
    assert start["environment"][PROCESS_VARIABLE] == MLFLOW
    assert start["environment"][DIGEST_VARIABLE] == definition.digest()


@pytest.mark.parametrize(
    ("name", "value", "readers"),
    [
        ("HEARTLINE_CACHE_DIR", "/srv/cache", {AIRFLOW, SCHEDULER, DAG_PROCESSOR}),
        ("HEARTLINE_SCHEDULE", "0 4 * * *", {AIRFLOW, SCHEDULER, DAG_PROCESSOR}),
        ("HEARTLINE_SOURCE_FOLDERS", "/srv/records", {AIRFLOW, SCHEDULER, DAG_PROCESSOR}),
        ("HEARTLINE_SOURCE_MAX_BYTES", "1000", {AIRFLOW, SCHEDULER, DAG_PROCESSOR}),
        ("HEARTLINE_SOURCE_MAX_ROWS", "1000", {AIRFLOW, SCHEDULER, DAG_PROCESSOR}),
        ("HEARTLINE_SOURCE_NETWORKS", "10.0.0.0/8", {AIRFLOW, SCHEDULER, DAG_PROCESSOR}),
        ("HEARTLINE_SOURCE_SECONDS", "900", {AIRFLOW, SCHEDULER, DAG_PROCESSOR}),
        ("HEARTLINE_STORE", "file:///srv/store", {AIRFLOW, SCHEDULER, DAG_PROCESSOR}),
        ("HEARTLINE_MODEL_ALIAS", "staging", {SERVICE}),
        ("HEARTLINE_MAX_RECORDS", "5", {SERVICE}),
    ],
)
def test_a_changed_setting_changes_the_digest_of_the_processes_that_read_it(
    settings, credentials, monkeypatch, name, value, readers
):
    monkeypatch.delenv(name, raising=False)
    before = by_name(settings, credentials)
    monkeypatch.setenv(name, value)
    after = by_name(settings, credentials)
    assert {process for process in after if after[process].digest() != before[process].digest()} == readers
    assert {after[process].settings[name] for process in readers} == {value}


def test_the_nightly_run_reads_the_source_of_the_first_up(settings, credentials, monkeypatch, tmp_path):
    assert "HEARTLINE_SOURCE" not in by_name(settings, credentials)[SCHEDULER].settings
    source_choice.remember(settings.home, "uci")
    assert by_name(settings, credentials)[SCHEDULER].settings["HEARTLINE_SOURCE"] == "uci"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HEARTLINE_SOURCE", "data.csv")
    assert by_name(settings, credentials)[SCHEDULER].settings["HEARTLINE_SOURCE"] == str(tmp_path / "data.csv")


def test_with_a_server_of_the_users_own_there_is_no_postgres(settings, credentials):
    theirs = dataclasses.replace(settings, postgres_url="postgresql://me:pw@db.example:6000/postgres?sslmode=require")
    found = by_name(theirs, credentials)
    assert POSTGRES not in found
    assert found[MLFLOW].settings["MLFLOW_BACKEND_STORE_URI"] == (
        f"postgresql+psycopg2://mlflow:{credentials['mlflow_db_password']}@db.example:6000/mlflow?sslmode=require"
    )
    assert "ssl=require" in found[SCHEDULER].settings["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN_ASYNC"]
    assert "me:pw" not in json.dumps([definition.settings for definition in found.values()])


def test_both_stacks_have_the_same_executor_and_intervals(settings, credentials):
    compose = (ROOT / "docker-compose.yaml").read_text()
    local = by_name(settings, credentials)[SCHEDULER].settings
    assert f"AIRFLOW__CORE__EXECUTOR: {local['AIRFLOW__CORE__EXECUTOR']}\n" in compose
    for name in (
        "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME",
        "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL",
        "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL",
    ):
        assert f'  {name}: "{local[name]}"\n' in compose


def test_the_scheduler_gets_the_connections_that_the_notifications_name_and_no_others(
    settings, credentials, monkeypatch
):
    monkeypatch.setenv("HEARTLINE_NOTIFY", "smtp:team_mail, webhook:pager")
    monkeypatch.setenv("AIRFLOW_CONN_TEAM_MAIL", "smtp://mail.example.org")
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", "postgresql://warehouse.example.org")
    given = by_name(settings, credentials)[SCHEDULER].settings
    assert given["AIRFLOW_CONN_TEAM_MAIL"] == "smtp://mail.example.org"
    assert not {"AIRFLOW_CONN_PAGER", "AIRFLOW_CONN_WAREHOUSE"} & given.keys()
