"""Which running processes `up` restarts."""

import os
import subprocess
import time

import psutil
import pytest

from stack.processes import lifecycle
from stack.processes.databases import NAMES
from stack.processes.definitions import AIRFLOW, MLFLOW
from stack.processes.env_markers import DIGEST_VARIABLE
from stack.processes.migrations import Schema


@pytest.mark.parametrize(
    ("digest", "outdated"),
    [("of another start", True), (None, False)],
    ids=["started with other settings", "about to read its settings"],
)
def test_a_process_with_another_digest_is_outdated(settings, digest, outdated):
    (definition,) = [one for one in lifecycle.Stack.of(settings).definitions() if one.name == MLFLOW]
    environment = {"PATH": os.environ["PATH"]} | ({DIGEST_VARIABLE: digest} if digest else {})
    with subprocess.Popen(["sleep", "60"], env=environment) as running:
        try:
            while "PATH" not in psutil.Process(running.pid).environ():  # a moment after the start it has none yet
                time.sleep(0.01)
            assert lifecycle._outdated(definition, running.pid) == outdated
        finally:
            running.kill()
    assert not lifecycle._outdated(definition, running.pid), "it has ended"
    assert not lifecycle._outdated(definition, None)


@pytest.mark.parametrize(
    ("states", "created", "lost"),
    [
        ({AIRFLOW: Schema.ABSENT, MLFLOW: Schema.CURRENT}, {"airflow"}, ["airflow"]),
        ({AIRFLOW: Schema.ABSENT, MLFLOW: Schema.OLDER}, set(), ["airflow"]),
        ({AIRFLOW: Schema.CURRENT, MLFLOW: Schema.ABSENT}, {"mlflow", "predictions"}, ["mlflow", "predictions"]),
        ({AIRFLOW: Schema.ABSENT, MLFLOW: Schema.ABSENT}, set(NAMES), []),
        ({AIRFLOW: Schema.CURRENT, MLFLOW: Schema.OLDER}, set(), []),
    ],
    ids=["dropped", "emptied", "two", "the first up", "none"],
)
def test_a_lost_database_is_named_loudly_with_what_is_unchanged(capsys, states, created, lost):
    lifecycle._warn_of_lost_databases(states, created)
    said = capsys.readouterr().err
    named = [name for name in NAMES if f"the database {name} is empty or missing" in said]
    assert named == lost
    assert ("unchanged: " in said) == bool(lost)
    assert all(name in said.partition("unchanged: ")[2] for name in NAMES if lost and name not in lost)
