"""What is ended, and above all what is not."""

import os
import subprocess
import sys
import time

import psutil
import pytest

from stack.processes.env_markers import PART_VARIABLE, STACK_VARIABLE
from stack.processes.orphans import by_part, end, marked, of_part

SLEEP = "import time; print('ready', flush=True); time.sleep(600)"
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN);" + SLEEP


@pytest.fixture
def process():
    """Start a process of a stack's part, or a stranger."""
    started = []

    def start(home=None, part=None, code=SLEEP, **more):
        environment = dict(os.environ) | more
        if home:
            environment |= {STACK_VARIABLE: str(home), PART_VARIABLE: part}
        child = subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE)
        child.stdout.readline()
        started.append(child)
        return child.pid

    yield start
    for child in started:
        child.kill()
        child.wait()
        child.stdout.close()


def test_only_marked_processes_of_this_home_are_found(process, tmp_path):
    ours = process(tmp_path / "a", "mlflow")
    process(tmp_path / "b", "mlflow")
    process(HEARTLINE_HOME=str(tmp_path / "a"))  # a user's shell: the setting is no mark
    assert [one.pid for one in marked(tmp_path / "a")] == [ours]


def test_parts_are_told_apart(process, tmp_path):
    mlflow, scheduler, worker = (
        process(tmp_path, "mlflow"),
        process(tmp_path, "scheduler"),
        process(tmp_path, "scheduler"),
    )
    assert [one.pid for one in of_part(tmp_path, "mlflow")] == [mlflow]
    assert {one.pid for one in of_part(tmp_path, "scheduler")} == {scheduler, worker}
    assert by_part(tmp_path) == {"mlflow": mlflow, "scheduler": scheduler}


def test_this_process_never_counts(tmp_path, monkeypatch):
    monkeypatch.setenv(STACK_VARIABLE, str(tmp_path))
    assert marked(tmp_path) == []


def test_ending_asks_first_and_then_insists(process, tmp_path):
    polite, stubborn, stranger = process(tmp_path, "a"), process(tmp_path, "b", STUBBORN), process()
    begun = time.monotonic()
    assert sorted(end(marked(tmp_path), patience=0.5)) == sorted([polite, stubborn])
    assert 0.5 <= time.monotonic() - begun < 300, "it waited for the stubborn one to end by itself"
    assert psutil.Process(stranger).status() != psutil.STATUS_ZOMBIE
    assert not [
        pid for pid in (polite, stubborn) if psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie"
    ]


def test_nothing_to_end(tmp_path):
    assert end(marked(tmp_path)) == []
