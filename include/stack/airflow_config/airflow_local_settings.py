"""Airflow imports this module at the start of each of its processes.

Each task runs in a fork of the scheduler and need not import again what the scheduler has imported. Imports are most of
the time of a short task. The other Airflow processes run no tasks, so nothing is imported there.
"""

import importlib
import sys

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


if "scheduler" in sys.argv:
    _preload()
