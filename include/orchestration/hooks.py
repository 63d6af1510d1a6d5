"""What happens before and after each task: a run that is to end skips the next tasks, and assets get their events.

The tasks say both in what they return (``heartline.pipeline.handovers.Told``). Each parse of a DAG file imports this
module, so it imports nothing heavy.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from airflow.sdk import Asset
from airflow.sdk.exceptions import AirflowSkipException


def skip_when_ended(context: Mapping[str, Any]) -> None:
    """Skip a task that is given the result of a task after which the run ends; an operator's ``pre_execute``.

    Args:
        context: Airflow's context.

    Raises:
        AirflowSkipException: the run ended; its text is the reason, for the log.
    """
    for given in _given(context["task"]):
        if isinstance(given, Mapping) and given.get("ends"):
            raise AirflowSkipException(given["ends"])


def _given(task: Any) -> Iterator[Any]:
    yield from getattr(task, "op_args", ())  # operators that run no function have neither
    yield from getattr(task, "op_kwargs", {}).values()


def emit_assets(context: Mapping[str, Any], result: Any) -> None:
    """Emit an event for each asset that a task changed, with what it says of it; an operator's ``post_execute``.

    A task whose result has no field ``assets`` is left to Airflow, which emits an event for each outlet.

    Args:
        context: Airflow's context.
        result: what the task returned.
    """
    if not isinstance(result, Mapping) or "assets" not in result:
        return
    task = context["task"]
    assets = {one.name: one for one in task.outlets if isinstance(one, Asset)}
    for name, extra in result["assets"].items():
        context["outlet_events"][assets[name]].extra = extra
    task.outlets = [assets[name] for name in result["assets"]]  # those of which Airflow makes events
