"""Each environment variable of the code is documented, or listed here as internal, and takes effect."""

import re
import subprocess

import msgspec
import pytest

from serving.settings import Settings as ServiceSettings
from stack.processes import definitions
from tests.conftest import ROOT

VARIABLE = re.compile(r"\bHEARTLINE_[A-Z0-9]+(?:_[A-Z0-9]+)*\b")
CODE = ("include", "serving", "dags", "plugins", "docker-compose.yaml", "Dockerfile")

# Variables that a user does not set, and the reason.
INTERNAL = {
    "HEARTLINE_STACK": "marker of a process: the state folder of its stack",
    "HEARTLINE_PROCESS": "marker of a process: its name",
    "HEARTLINE_PROCESS_DIGEST": "marker of a process: the digest of its definition",
    "HEARTLINE_PART": "the former name of HEARTLINE_PROCESS",
    "HEARTLINE_PART_DIGEST": "the former name of HEARTLINE_PROCESS_DIGEST",
    "HEARTLINE_LOCK": "the digest of locks and code in a process's definition, so that an update restarts it",
    "HEARTLINE_DOWNLOAD_PROXIES": "the proxies of the caller's environment, handed to the tasks that download",
    "HEARTLINE_PYTHON": "the interpreter in the supervisor's configuration; the supervisor is given it",
    "HEARTLINE_ALIAS_LOCK_URL": "set by the stack and docker-compose.yaml, which know the database of the lock",
    "HEARTLINE_MONITORING_URL": "set by the stack and docker-compose.yaml, which know the database of its state",
    "HEARTLINE_READYZ_URL": "set by the stack and docker-compose.yaml, which know the port of the service",
    "HEARTLINE_DATA_DOCS_URL": "set by the stack and docker-compose.yaml, which know the port of Airflow",
    "HEARTLINE_SERVING_PYTHON": "set by the stack and docker-compose.yaml, which create the service's environment",
    "HEARTLINE_PATIENT_SECRET": "a secret that the stack and `./heartline init` generate, for the tasks only",
    "HEARTLINE_DB_PASSWORD": "a secret that `./heartline init` generates, like the passwords without this prefix",
}


def _tracked(*patterns: str) -> list[str]:
    listed = subprocess.run(["git", "ls-files", *patterns], cwd=ROOT, capture_output=True, text=True, check=True)
    return listed.stdout.splitlines()


def _named(paths: list[str]) -> set[str]:
    return {name for path in paths for name in VARIABLE.findall((ROOT / path).read_text())}


def _of_the_service() -> set[str]:
    return {f"HEARTLINE_{field.name.upper()}" for field in msgspec.structs.fields(ServiceSettings)}


def _of_the_code() -> set[str]:
    text = [path for path in _tracked(*CODE) if path.endswith((".py", ".yaml", "Dockerfile"))]
    # these two lists have the names without their prefix
    return _named(text) | _of_the_service() | set(definitions._SERVICE) | set(definitions._PIPELINE)


def _documented() -> set[str]:
    return _named([page for page in _tracked("*.md") if not page.startswith("tests/")])


def test_each_variable_is_documented_or_internal():
    assert _of_the_code() - _documented() - set(INTERNAL) == set()


def test_each_internal_variable_is_used_and_not_documented():
    assert set(INTERNAL) <= _of_the_code() - _documented()


def test_each_documented_variable_exists():
    for_tests = _named(_tracked("tests/*.py", ".ci"))
    assert _documented() - _of_the_code() - for_tests == set()


def test_a_change_of_each_setting_of_the_service_restarts_it():
    set_by_the_stack = {
        f"HEARTLINE_{name}"
        for name in (
            "API_KEYS",
            "APPROVAL_SECRET",
            "CACHE",
            "LEDGER_URL",
            "MLFLOW_URL",
            "PREDICTION_LOG_URL",
            "PUBLIC_SERVICE_URL",
            "SERVICE_PORT",
        )
    }
    not_passed_on = {"HEARTLINE_BUNDLE"}  # the local stack serves the registry's version
    assert set(definitions._SERVICE) == _of_the_service() - set_by_the_stack - not_passed_on


@pytest.mark.parametrize(
    "name",
    [
        "HEARTLINE_SOURCE_MAX_BYTES",
        "HEARTLINE_SOURCE_MAX_ROWS",
        "HEARTLINE_SOURCE_SECONDS",
        "HEARTLINE_UCI_URL",
    ],
)
def test_docker_compose_passes_on_what_the_tasks_read(name):
    assert re.search(rf"^  {name}:$", (ROOT / "docker-compose.yaml").read_text(), re.MULTILINE)
