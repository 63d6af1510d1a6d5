"""The executor: what a task finds imported when it starts, and when the scheduler's loop goes on."""

import ast
import json
import logging
from types import SimpleNamespace

import pytest

from tests.conftest import ROOT
from tests.dags.airflow_process import result

CONFIG = ROOT / "include" / "stack" / "airflow_config"

# In a fork, as a task: what the tasks' code imports anywhere, also inside of functions.
PROBE = """
import importlib, json, os, sys, threading
import heartline_executor

heartline_executor.preload()
threads = threading.active_count()
reader, writer = os.pipe()
if os.fork() == 0:
    before = set(sys.modules)
    for name in json.loads(sys.argv[1]):
        importlib.import_module(name)
    added = set(sys.modules) - before
    added = sorted(name for name in added if name.partition(".")[0] not in ("heartline", "encodings"))
    os.write(writer, json.dumps(added).encode())
    os._exit(0)
os.close(writer)
with open(reader) as pipe:
    added = json.load(pipe)
names = [name for name in sys.modules if sys.modules[name] is not None]
first = [name.partition(".")[0] for name in names[:2]]
ours = [name for name in names if name.startswith("heartline.pipeline")]
print("RESULT" + json.dumps({"threads": threads, "added": added, "first": first, "heartline": ours}))
"""


def imported_by_tasks():
    """Return the modules that the domain's code imports."""
    tasks = ("ingest", "validate", "preprocess", "train", "compare", "register")
    found = {f"heartline.pipeline.{name}" for name in tasks}
    for path in (ROOT / "include" / "heartline").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found |= {one.name for one in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                found.add(node.module)
    return sorted(found)


@pytest.fixture(scope="module")
def forked():
    return result(PROBE, json.dumps(imported_by_tasks()), path=(CONFIG,))[0]


def test_a_task_imports_no_library_after_the_fork(forked):
    """Each of them would be imported again by each task; most of the seconds of a short task were that."""
    assert forked["added"] == []


def test_nothing_that_is_preloaded_starts_a_thread(forked):
    """A fork has only the thread that forked: a lock that another one holds stays locked in the task."""
    assert forked["threads"] == 1


def test_a_task_runs_the_code_on_the_disk(forked):
    assert forked["heartline"] == []


def test_skops_finds_functions_of_numpy_and_scipy_first(forked):
    assert set(forked["first"]) <= {"numpy", "scipy"}


class Queue:
    """A queue of results that gets one while somebody waits for it."""

    def __init__(self, *results):
        self.results = list(results)
        self.arrived = []
        self.waits = []
        self._reader = SimpleNamespace(poll=self.poll)

    def poll(self, seconds):
        self.waits.append(seconds)
        self.arrived, self.results = self.arrived + self.results[:1], self.results[1:]
        return bool(self.arrived)

    def empty(self):
        return not self.arrived

    def get(self):
        return self.arrived.pop(0)


@pytest.fixture(scope="module")
def local_executor():
    """Airflow's LocalExecutor, imported without the configuration of logging that comes with it."""
    root = logging.getLogger()
    level, handlers = root.level, list(root.handlers)
    from airflow.executors.local_executor import LocalExecutor

    root.setLevel(level)
    root.handlers[:] = handlers
    return LocalExecutor


@pytest.fixture
def executor(monkeypatch, local_executor):
    monkeypatch.syspath_prepend(str(CONFIG))
    import heartline_executor

    made = heartline_executor.PreloadingExecutor(parallelism=1)
    made.audit_log = [7]
    monkeypatch.setattr(heartline_executor, "latest_action", lambda: made.audit_log[-1])
    monkeypatch.setattr(made, "_check_workers", lambda: None)
    return made


def test_the_end_of_a_task_ends_the_wait(executor):
    executor.result_queue = Queue(("key", "success", None))
    executor.running.add("key")
    executor.heartbeat()
    assert executor.get_event_buffer() == {"key": ("success", None)}
    assert len(executor.result_queue.waits) == 1


def test_the_late_end_of_a_tasks_first_part_is_not_that_of_its_second_part(executor, local_executor, monkeypatch):
    """A person's answer starts the task ``ask`` again, perhaps before the end of its first part arrives."""
    monkeypatch.setattr(local_executor, "_process_workloads", lambda self, workloads: None)
    part, ask = SimpleNamespace(key="ask"), SimpleNamespace(key="ask", id="id")
    executor._process_workloads([part])
    executor._process_workloads([part])
    executor.change_state("ask", "success")
    assert executor.get_event_buffer() == {}
    assert executor.has_task(ask)
    executor.change_state("ask", "success")
    assert executor.get_event_buffer() == {"ask": ("success", None)}
    assert not executor.has_task(ask)


def test_a_task_that_has_started_is_known_until_it_ends(executor, local_executor, monkeypatch):
    """The scheduler asks before it takes an end for one that nobody reported."""
    monkeypatch.setattr(local_executor, "_process_workloads", lambda self, workloads: None)
    executor.change_state("ask", "success")  # the first part ends, and the answer starts the second one
    executor._process_workloads([SimpleNamespace(key="ask")])
    assert executor.has_task(SimpleNamespace(key="ask", id="id"))


def idle(executor):
    """Let the executor wait until it waits longest, and forget these waits."""
    executor.result_queue = Queue()
    for _ in range(30):
        executor.heartbeat()
    waits, executor.result_queue.waits = executor.result_queue.waits, []
    return waits


def test_an_idle_scheduler_waits_longer_each_time_up_to_four_seconds(executor):
    assert idle(executor)[:3] == [0.05, 0.1, 0.2]
    executor.heartbeat()
    assert sum(executor.result_queue.waits) == 4.0


def test_what_somebody_does_ends_the_wait(executor):
    """Such as a run that was triggered, or an answer that was given."""
    idle(executor)
    executor.audit_log.append(8)
    executor.heartbeat()
    executor.heartbeat()
    assert executor.result_queue.waits == [0.5, 0.05]


def test_after_an_event_it_looks_again_at_once(executor):
    idle(executor)
    executor.result_queue.arrived.append(("key", "success", None))
    executor.heartbeat()
    assert executor.get_event_buffer()
    executor.heartbeat()
    assert executor.result_queue.waits == [0.05]


def test_a_queued_task_is_started_without_a_wait(executor, monkeypatch):
    executor.result_queue = Queue()
    executor.queued_tasks["key"] = object()
    monkeypatch.setattr(executor, "trigger_tasks", lambda slots: executor.queued_tasks.clear())
    executor.heartbeat()
    assert executor.result_queue.waits == []
