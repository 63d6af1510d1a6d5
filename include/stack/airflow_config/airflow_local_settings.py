"""Airflow imports this module at the start of each of its processes.

It shortens what a task's log shows of our own errors: message and advice are complete, and Airflow would put forty
stack frames of its own behind them. Other errors keep their stack trace.

Each task runs in a fork of the scheduler and need not import again what the scheduler has imported. Imports are most of
the time of a short task. The other Airflow processes run no tasks, so nothing is imported there.
"""

import importlib
import logging
import sys
from typing import Any

from structlog import tracebacks

from heartline.errors import HeartlineError

# numpy and scipy first: skops finds the module of a function by searching all modules in their import order, and would
# trigger a warning in each of Airflow's deprecated modules that it touches before.
FIRST = ("numpy", "scipy.special")
PRELOADED = ("pandas", "sklearn.ensemble", "sklearn.linear_model", "skops.io", "mlflow")


def _move_to_front(modules: tuple[str, ...]) -> None:
    packages = {name.partition(".")[0] for name in modules}
    others = {name: sys.modules[name] for name in list(sys.modules) if name.partition(".")[0] not in packages}
    for name in others:
        del sys.modules[name]
    sys.modules.update(others)


def _preload() -> None:
    for name in FIRST:
        importlib.import_module(name)
    _move_to_front(FIRST)
    for name in PRELOADED:
        importlib.import_module(name)


def _shorten_our_errors() -> None:
    """Leave out stack frames and causes of a HeartlineError in the logs; structlog has no setting for that."""
    complete = tracebacks.ExceptionDictTransformer.__call__

    def shortened(self: tracebacks.ExceptionDictTransformer, exc_info: Any) -> list[dict[str, Any]]:
        rendered = complete(self, exc_info)
        if isinstance(exc_info[1], HeartlineError):
            return [{**rendered[0], "frames": []}]
        return rendered

    tracebacks.ExceptionDictTransformer.__call__ = shortened  # type: ignore[method-assign]


for chatty in ("great_expectations", "mlflow"):  # Airflow's namespace_levels do not reach loggers like these
    logging.getLogger(chatty).setLevel(logging.WARNING)
_shorten_our_errors()
if "scheduler" in sys.argv:
    _preload()
