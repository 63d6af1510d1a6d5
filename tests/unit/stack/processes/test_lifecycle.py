"""Which running parts a start leaves alone."""

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
def test_a_part_is_outdated_when_it_was_started_with_something_else(settings, digest, outdated):
    (part,) = [one for one in lifecycle.Stack.of(settings).parts() if one.name == MLFLOW]
    environment = {"PATH": os.environ["PATH"]} | ({DIGEST_VARIABLE: digest} if digest else {})
    with subprocess.Popen(["sleep", "60"], env=environment) as running:
        try:
            while "PATH" not in psutil.Process(running.pid).environ():  # a moment after the start it has none yet
                time.sleep(0.01)
            assert lifecycle._outdated(part, running.pid) == outdated
        finally:
            running.kill()
    assert not lifecycle._outdated(part, running.pid), "it has ended"
    assert not lifecycle._outdated(part, None)
