"""Airflow imports this module in each of its processes, before anything else is done.

Every task runs in a process that is forked from the scheduler. What the scheduler has imported, a task need not import
again, which is most of the time that a short task takes. The other Airflow processes run no task and import nothing.
"""

import importlib
import sys

# numpy and scipy first: skops looks up where a function comes from by walking through all modules in their order of
# import, and each of Airflow's deprecated modules that it would touch on the way warns.
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
