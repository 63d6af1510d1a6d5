"""Airflow's LocalExecutor, whose tasks start with all libraries imported, and which wakes the scheduler.

The scheduler's loop waits here, until a task ends or somebody triggers or changes something, instead of sleeping for
``scheduler_idle_sleep_time``, which the stack therefore sets to 0. A short sleep would cost an idle stack a tenth of a
core, and a long one would delay each task.

It imports nothing heavy itself: every Airflow process imports it, and only the scheduler starts it.
"""

import importlib
import sys
from collections import Counter
from typing import Any

from airflow.executors.local_executor import LocalExecutor
from airflow.models.log import Log
from airflow.utils.session import create_session
from sqlalchemy import func, select

# numpy and scipy first: skops finds the module of a function by searching all modules in their import order, and would
# trigger a warning in each of Airflow's deprecated modules that it touches before.
FIRST = ("numpy", "scipy.special")
# What the tasks import, and what Airflow imports in each task. None of them starts a Python thread: a fork has only the
# thread that forked. Modules of Heartline are not among them: a task runs them as they are on the disk.
PRELOADED = (
    "pandas",
    "sklearn.ensemble",
    "sklearn.linear_model",
    "skops.io",
    "mlflow.pyfunc",
    "great_expectations",
    "great_expectations.render.renderer.content_block",
    "skl2onnx",
    "onnxruntime",
    "matplotlib.figure",
    "matplotlib.style",
    "matplotlib.backends.backend_svg",
    "openpyxl",
    "pyarrow.csv",
    "pyarrow.parquet",
    "fsspec.implementations.local",
    "psycopg2.errorcodes",
    "psycopg2.extras",
    "psycopg2.sql",
    "airflow.sdk.execution_time.supervisor",
    "airflow.sdk.execution_time.task_runner",
    "airflow.dag_processing.dagbag",
    "airflow.providers.standard.decorators.python",
)
# MLflow looks for these in each of its requests, several times; where one is not installed, Python looks through its
# whole path each time.
ABSENT = ("dbruntime", "pyspark", "IPython")

# Seconds. Without an event the loop runs every LONGEST: the schedule and retries need no more.
SHORTEST, LONGEST = 0.05, 4.0
LOOK = 0.5  # between two looks for what somebody did


class PreloadingExecutor(LocalExecutor):
    """A LocalExecutor that imports what tasks need before it forks their workers, and waits for events."""

    _next_wait = SHORTEST
    _latest: int | None = None  # of Airflow's audit log

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)  # type: ignore[no-untyped-call]
        self._parts: Counter[Any] = Counter()  # started and not ended, by the key of an attempt

    def start(self) -> None:
        """Import the libraries, then fork the workers."""
        preload()
        super().start()

    def heartbeat(self) -> None:
        """Start queued tasks, and wait for an event.

        The scheduler calls it in each of its loops. After an event it waits only shortly, then twice as long each time:
        one event often leads to a next one, such as a skipped task to the end of the run.
        """
        started = bool(self.queued_tasks or self.queued_callbacks)
        super().heartbeat()
        if started or self.event_buffer or self._event_within(self._next_wait):
            self._next_wait = SHORTEST
        else:
            self._next_wait = min(2 * self._next_wait, LONGEST)

    def has_task(self, task_instance: Any) -> bool:
        """Return whether a task is queued or runs here. LocalExecutor forgets a task when it starts."""
        return task_instance.key in self._parts or super().has_task(task_instance)

    def change_state(self, key: Any, state: Any, info: Any = None, remove_running: bool = True) -> None:
        """Hand over how a task ended, unless a later part of the same attempt has started.

        A task that asks a person ends while it waits, and starts again with the answer under the same key. The end of
        its first part may arrive late; the scheduler would take it for the end of the second one, and fail the task.
        """
        self._parts[key] -= 1
        if self._parts[key] > 0:
            return
        del self._parts[key]
        super().change_state(key, state, info, remove_running)

    def _process_workloads(self, workload_list: Any) -> None:
        self._parts.update(one.key for one in workload_list)
        super()._process_workloads(workload_list)  # type: ignore[no-untyped-call]

    def _event_within(self, seconds: float) -> bool:
        """Wait until a task ends or somebody acts in the UI or by REST; return whether that was in time."""
        while True:
            if self.result_queue._reader.poll(min(seconds, LOOK)):  # type: ignore[attr-defined]
                self._read_results()  # type: ignore[no-untyped-call]
                return True
            seconds -= LOOK
            if seconds <= 0:
                return False  # the loop looks at everything
            latest = latest_action()
            if latest != self._latest:
                self._latest = latest
                return True


def latest_action() -> int | None:
    """Return the number of the last entry of Airflow's audit log: each trigger, answer and change makes one."""
    with create_session() as session:
        return session.scalar(select(func.max(Log.id)))


def preload() -> None:
    """Import what tasks need, in the process that forks them."""
    for name in FIRST:
        importlib.import_module(name)
    _move_to_front(FIRST)
    for name in PRELOADED:
        importlib.import_module(name)
    for name in ABSENT:
        sys.modules.setdefault(name, None)  # type: ignore[arg-type]  # an import of it fails at once


def _move_to_front(modules: tuple[str, ...]) -> None:
    packages = {name.partition(".")[0] for name in modules}
    others = {name: sys.modules[name] for name in list(sys.modules) if name.partition(".")[0] not in packages}
    for name in others:
        del sys.modules[name]
    sys.modules.update(others)
