"""A stack that release 0.1 started, and that still runs, is recognized: its markers, configuration and state folder.

The files in tests/fixtures/v1/stack were written by the code of that release.
"""

import os
import shutil
import subprocess
import time

import psutil
import pytest

from stack.commands import status
from stack.processes import lifecycle, orphans
from stack.processes.definitions import MLFLOW
from stack.processes.supervisor import CONFIGURATION, Supervisor
from stack.settings import MARKER_FILE
from tests.conftest import ROOT

V1 = ROOT / "tests" / "fixtures" / "v1" / "stack"


@pytest.fixture
def v1_process(settings):
    """Start a process with the environment markers of release 0.1; return its process id."""
    marked = {
        "HEARTLINE_STACK": str(settings.home),
        "HEARTLINE_PART": MLFLOW,
        "HEARTLINE_PART_DIGEST": "of that release",
    }
    with subprocess.Popen(["sleep", "60"], env={"PATH": os.environ["PATH"]} | marked) as child:
        while "PATH" not in psutil.Process(child.pid).environ():  # empty for a moment after the start
            time.sleep(0.01)
        yield child.pid
        child.kill()


def test_its_processes_are_found_and_ended(settings, v1_process):
    assert [one.pid for one in orphans.of_stack(settings.home)] == [v1_process]
    assert [one.pid for one in orphans.of_process(settings.home, MLFLOW)] == [v1_process]
    assert orphans.oldest_by_name(settings.home) == {MLFLOW: v1_process}
    assert orphans.end(orphans.of_stack(settings.home)) == [v1_process]


def test_status_names_its_processes_if_its_supervisor_has_ended(settings, v1_process):
    shutil.copy(V1 / "supervisord.conf", settings.home / CONFIGURATION)
    found = status.check_all(lifecycle.Stack.of(settings))
    (row,) = [one for one in found.processes if one.pid]
    assert (row.name, row.pid) == (MLFLOW, v1_process)
    assert row.note == "runs, but no supervisor would restart it"


def test_its_processes_are_outdated(settings, v1_process):
    (definition,) = [one for one in lifecycle.Stack.of(settings).definitions() if one.name == MLFLOW]
    assert lifecycle._outdated(definition, v1_process)


def test_its_supervisor_is_restarted(settings, credentials):
    definitions = lifecycle.Stack.of(settings).definitions()
    supervisor = Supervisor(settings, credentials)
    shutil.copy(V1 / "supervisord.conf", supervisor.configuration_file)
    assert supervisor.outdated(definitions), "it starts processes with a module that no longer exists"


def test_its_state_folder_is_accepted(settings):
    shutil.copy(V1 / "HEARTLINE", settings.home / MARKER_FILE)
    (settings.home / "store").mkdir()
    settings.make_home()
