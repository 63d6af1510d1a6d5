"""Checks of docker-compose.yaml as text, without an engine."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from stack.processes import definitions
from stack.processes.environment import base_environment
from stack.secrets import env_file
from stack.secrets.credentials import Credentials
from stack.settings import PORTS, Settings

ROOT = Path(__file__).parents[3]
TEXT = (ROOT / "docker-compose.yaml").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
DOCKERFILES = [ROOT / "Dockerfile", ROOT / "serving" / "Dockerfile"]

ONE_SHOT = {name for name, service in SERVICES.items() if service["restart"] == "no"}
LONG_RUNNING = set(SERVICES) - ONE_SHOT

# Airflow's settings that are a place or a secret, so that they cannot be those of the local stack.
PLACE_OR_SECRET = re.compile(r"AIRFLOW_HOME|.*(KEY|SECRET|FOLDER|FILE|HOST|PORT|URL|CONN|CONN_ASYNC)$")


def environment(service: dict[str, Any]) -> dict[str, str]:
    return {name: str(value) for name, value in service.get("environment", {}).items() if value is not None}


def required() -> dict[str, set[str]]:
    """The variables without which nothing starts, and the messages for them."""
    found: dict[str, set[str]] = {}
    for name, message in re.findall(r"\$\{(\w+):\?([^}]*)\}", TEXT):
        found.setdefault(name, set()).add(message)
    return found


def test_what_must_be_set_is_what_init_generates(tmp_path: Path) -> None:
    env_file.init(tmp_path)
    assert set(required()) == set(env_file.read_env(tmp_path / ".env"))


def test_a_missing_secret_says_what_to_do() -> None:
    assert {message for messages in required().values() for message in messages} == {"run ./heartline init first"}


@pytest.mark.parametrize("name", SERVICES)
def test_no_secret_is_written_down(name: str) -> None:
    for variable, value in environment(SERVICES[name]).items():
        # SECRETS_BACKEND names a class; SECRETS_BACKEND_KWARGS could hold a secret
        if re.search(r"PASSWORD$|SECRET(?!S_BACKEND$)|_KEY$|TOKEN", variable):
            assert re.fullmatch(r"\$\{\w+:\?[^}]*\}", value), variable
        for password in re.findall(r"://[^:/@\s]+:(.*)@", value):
            assert re.fullmatch(r"\$\{\w+:\?[^}]*\}", password), variable


def test_only_three_ports_are_published_and_only_on_loopback() -> None:
    published = {port for service in SERVICES.values() for port in service.get("ports", [])}
    published_ports = [name for name in PORTS if name != "HEARTLINE_POSTGRES_PORT"]
    assert published == {f"127.0.0.1:${{{name}:-{PORTS[name]}}}:{PORTS[name]}" for name in published_ports}


@pytest.mark.parametrize("name", sorted(LONG_RUNNING))
def test_every_long_running_container_restarts_and_has_a_health_check(name: str) -> None:
    service = SERVICES[name]
    assert service["restart"] == "unless-stopped"
    assert service["healthcheck"]["test"][0] == "CMD"
    # what the images have: their own program or Python, no curl
    assert service["healthcheck"]["test"][1] in {"python", "pg_isready"}


def test_the_order_of_the_start_is_by_health() -> None:
    conditions = {
        (name, needed): how["condition"]
        for name, service in SERVICES.items()
        for needed, how in service.get("depends_on", {}).items()
    }
    assert conditions  # each waits for the exit of one-shot containers and the health of the others
    for (_, needed), condition in conditions.items():
        assert condition == ("service_completed_successfully" if needed in ONE_SHOT else "service_healthy")
    # `up --wait` treats the exit of a one-shot container as a failure unless another container waits for it
    assert {needed for _, needed in conditions} >= ONE_SHOT
    assert ("init", "postgres") in conditions
    assert all((name, "init") in conditions for name in ("mlflow", "airflow-api-server", "airflow-dag-processor"))
    assert {needed for name, needed in conditions if name == "airflow-scheduler"} == {"airflow-api-server", "mlflow"}


def test_images_are_upstream_ones_with_a_version_or_our_own() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    ours = {f"heartline:{version}", f"heartline-serving:{version}"}
    assert {service["image"] for service in SERVICES.values()} == {"postgres:17"} | ours
    built = {service["image"]: service for service in SERVICES.values() if "build" in service}
    assert set(built) == ours
    for service in SERVICES.values():  # our images are in no registry and must not be pulled
        assert service["image"] not in ours or service["pull_policy"] in {"build", "never"}
    bases = {base for path in DOCKERFILES for base in re.findall(r"^FROM (\S+)", path.read_text(), re.MULTILINE)}
    assert bases == {"python:3.13-slim"}


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.parent.name)
def test_the_images_do_not_run_as_root(path: Path) -> None:
    lines = path.read_text().splitlines()
    assert [line for line in lines if line.startswith("USER")][-1] == "USER heartline"
    assert not any(line.startswith("# syntax") for line in lines)  # would have to be pulled


@pytest.mark.parametrize("name", SERVICES)
def test_no_container_has_rights_that_it_does_not_need(name: str) -> None:
    service = SERVICES[name]
    assert not {"privileged", "cap_add", "user", "network_mode", "pid", "devices"} & set(service)
    if name != "postgres":  # its image starts as root, changes the owner of the data folder, and drops the rights
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]


def test_only_postgres_and_init_get_the_superuser_password() -> None:
    assert {name for name, service in SERVICES.items() if "POSTGRES_PASSWORD" in environment(service)} == {
        "postgres",
        "init",
    }


def test_the_service_logs_to_the_database_that_init_makes() -> None:
    given = environment(SERVICES["serving"])["HEARTLINE_PREDICTION_LOG_URL"]
    password = environment(SERVICES["init"])["PREDICTIONS_DB_PASSWORD"]
    assert given == f"${{HEARTLINE_PREDICTION_LOG_URL:-postgresql://predictions:{password}@postgres:5432/predictions}}"


def test_airflow_is_set_as_in_the_local_stack(tmp_path: Path) -> None:
    # given
    settings = Settings.load({"HEARTLINE_HOME": str(tmp_path)}, ROOT)
    local = {
        definition.name: definition for definition in definitions.define_processes(settings, Credentials(tmp_path))
    }
    ours = {name: value for name, value in local[definitions.SCHEDULER].settings.items() if name.startswith("AIRFLOW_")}
    # when
    theirs = {k: v for k, v in environment(SERVICES["airflow-scheduler"]).items() if k.startswith("AIRFLOW_")}
    # then
    assert set(theirs) == set(ours)
    for name in set(ours):
        assert theirs[name] == ours[name] or PLACE_OR_SECRET.fullmatch(name), name


@pytest.mark.parametrize(
    ("service", "process"),
    [
        ("airflow-api-server", definitions.AIRFLOW),
        ("airflow-scheduler", definitions.SCHEDULER),
        ("airflow-dag-processor", definitions.DAG_PROCESSOR),
    ],
)
def test_airflow_is_called_as_in_the_local_stack(service: str, process: str, tmp_path: Path) -> None:
    settings = Settings.load({"HEARTLINE_HOME": str(tmp_path)}, ROOT)
    local = {one.name: one for one in definitions.define_processes(settings, Credentials(tmp_path))}
    assert tuple(SERVICES[service]["command"][1:]) == local[process].command[3:]


def test_the_images_disable_telemetry_as_the_local_stack_does() -> None:
    text = (ROOT / "Dockerfile").read_text()
    for name in ("DO_NOT_TRACK", "GX_ANALYTICS_ENABLED", "MLFLOW_DISABLE_TELEMETRY", "ORT_DISABLE_TELEMETRY"):
        assert f"{name}={base_environment()[name]}" in text


def test_every_setting_is_in_the_documentation() -> None:
    documented = set(re.findall(r"`(HEARTLINE_\w+)`", (ROOT / "docs" / "compose.md").read_text()))
    taken = set(re.findall(r"\$\{(HEARTLINE_\w+):-", TEXT))
    taken |= {
        name
        for service in SERVICES.values()
        for name, value in service.get("environment", {}).items()
        if value is None and name.startswith("HEARTLINE_")
    }
    assert documented == taken


def test_nothing_private_reaches_the_engine() -> None:
    rules = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert rules[0] == "*"
    assert {rule for rule in rules if rule.startswith("!")} == {
        "!dags",
        "!include",
        "!plugins",
        "!serving",
        "!requirements.txt",
    }
    assert rules[-1] == "**/.*"


def test_a_socks_proxy_of_the_engine_does_not_reach_the_tasks() -> None:
    environment = yaml.safe_load(TEXT)["services"]["airflow-scheduler"]["environment"]
    assert environment["ALL_PROXY"] == environment["all_proxy"] == ""
    assert "airflow-api-server" in environment["NO_PROXY"].split(",")
