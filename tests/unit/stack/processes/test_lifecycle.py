"""Which running processes `up` restarts."""

import os
import subprocess
import time

import psutil
import pytest

from stack.processes import lifecycle
from stack.processes.definitions import MLFLOW
from stack.processes.env_markers import DIGEST_VARIABLE


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
