"""Which processes are found and ended, and which are not."""

import os
import subprocess
import sys
import time

import psutil
import pytest

from stack.processes.env_markers import PROCESS_VARIABLE, STACK_VARIABLE
from stack.processes.orphans import end, of_process, of_stack, oldest_by_name

SLEEP = "import time; print('ready', flush=True); time.sleep(600)"
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN);" + SLEEP


@pytest.fixture
def process():
    """Start a process of a stack, or one without markers."""
    started = []

    def start(home=None, name=None, code=SLEEP, **more):
        environment = dict(os.environ) | more
        if home:
            environment |= {STACK_VARIABLE: str(home), PROCESS_VARIABLE: name}
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
    process(HEARTLINE_HOME=str(tmp_path / "a"))  # a user's shell: the setting is no marker
    assert [one.pid for one in of_stack(tmp_path / "a")] == [ours]


def test_processes_are_found_by_name(process, tmp_path):
    mlflow, scheduler, worker = (
        process(tmp_path, "mlflow"),
        process(tmp_path, "scheduler"),
        process(tmp_path, "scheduler"),
    )
    assert [one.pid for one in of_process(tmp_path, "mlflow")] == [mlflow]
    assert {one.pid for one in of_process(tmp_path, "scheduler")} == {scheduler, worker}
    assert oldest_by_name(tmp_path) == {"mlflow": mlflow, "scheduler": scheduler}


def test_this_process_never_counts(tmp_path, monkeypatch):
    monkeypatch.setenv(STACK_VARIABLE, str(tmp_path))
    assert of_stack(tmp_path) == []


def test_end_sends_term_first_and_kills_what_still_runs(process, tmp_path):
    obedient, stubborn, unmarked = process(tmp_path, "a"), process(tmp_path, "b", STUBBORN), process()
    started = time.monotonic()
    assert sorted(end(of_stack(tmp_path), timeout=0.5)) == sorted([obedient, stubborn])
    assert 0.5 <= time.monotonic() - started < 300, "it waited for the stubborn one to end by itself"
    assert psutil.Process(unmarked).status() != psutil.STATUS_ZOMBIE
    assert not [
        pid for pid in (obedient, stubborn) if psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie"
    ]


def test_nothing_to_end(tmp_path):
    assert end(of_stack(tmp_path)) == []
