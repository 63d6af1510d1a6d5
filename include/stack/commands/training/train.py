"""Starts training runs with checked parameters, and follows them."""

import json
import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from heartline import addresses
from heartline.errors import ParameterError
from heartline.parameters import training as parameters
from stack import console, mapping_choice
from stack.clients.airflow import Airflow
from stack.clients.mlflow import Registry
from stack.commands.training import source_access, summary
from stack.commands.training.follow import follow
from stack.commands.training.patience import Patience
from stack.errors import UnhealthyError, UsageError, WorkError
from stack.settings import DAG
from stack.source_choice import check

if TYPE_CHECKING:  # docker compose imports this module, and its image lacks the supervisor
    from stack.processes.lifecycle import Stack

DAG_IMPORT_TIMEOUT = 120.0  # seconds until the dag-processor must have imported a new DAG file
LAST_TASK = parameters.STAGES[-1]
REGISTERED, NOTHING_NEW, ENDED = "registered", "nothing new", "ended"
"""The field ``outcome`` of a run's result: versions were registered, an earlier run had done so, or ``until``."""


def client(stack: "Stack") -> Airflow:
    """Return a client of this stack's Airflow."""
    return Airflow(stack.settings.airflow_url, stack.credentials["airflow_admin_password"])


def assignments(given: Iterable[str]) -> dict[str, Any]:
    """Return the values of ``PARAM=VALUE`` arguments, each as the type of its parameter.

    Raises:
        UsageError: an argument has another form, or its source is a file that cannot be used.
    """
    found: dict[str, Any] = {}
    for argument in given:
        name, equals, value = argument.partition("=")
        if not equals or not name:
            raise UsageError(
                f"{argument!r} has no value" if name and not equals else f"{argument!r} is not an assignment",
                where="--set",
                expected="PARAM=VALUE, for example --set profile=quick",
                hint="correct it; ./heartline train --help lists the parameters",
            )
        found[name] = _value(name, value)
    if found.get("source", "").strip():
        found["source"] = check(found["source"], "--set source")
    if found.get("mapping", "").strip():
        found["mapping"] = mapping_choice.check(found["mapping"], "--set mapping")
    return found


def _value(name: str, text: str) -> Any:
    known = parameters.by_name().get(name)
    if known is None or known.kind in ("text", "choice"):
        return text
    if known.kind == "choices" and not text.startswith("["):
        return text.split(",")
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text  # which the check refuses


def run_parameters(
    source: str | None, given: Iterable[str], *, mapping: str | None = None, usual_source: str | None = None
) -> dict[str, Any]:
    """Return the ``PARAM=VALUE`` arguments together with ``--source`` and ``--mapping``, after checking them.

    Args:
        source: the option ``--source``.
        given: the options ``--set``.
        mapping: the option ``--mapping``.
        usual_source: the source of this stack's nightly runs, if it is known.

    Raises:
        UsageError: an argument has another form, the source or mapping is given twice, it is a file that cannot be
            used, or a parameter is unknown or has a wrong value.
    """
    found = assignments(given)
    if source is not None:
        _expect_once("source", found)
        found = {"source": check(source, "--source")} | found
    if mapping is not None:
        _expect_once("mapping", found)
        found["mapping"] = mapping_choice.check(mapping, "--mapping")
    try:
        parameters.check(found, usual_source=usual_source)
    except ParameterError as error:
        raise UsageError(error.what, where=error.where, expected=error.expected, hint=error.hint) from error
    return found


def _expect_once(name: str, found: Mapping[str, Any]) -> None:
    if name in found:
        raise UsageError(
            f"the {name} is given twice",
            where=f"--{name} and --set {name}",
            expected="one of them",
            hint="remove one",
        )


def wait_for_dag(airflow: Airflow) -> None:
    """Return once Airflow has imported the training DAG's file.

    Raises:
        WorkError: its file cannot be imported, or is gone.
        UnhealthyError: Airflow does not know it within ``DAG_IMPORT_TIMEOUT``.
        UsageError: it is paused, so that a run would never start.
    """
    deadline = time.monotonic() + DAG_IMPORT_TIMEOUT
    while True:
        details = airflow.dag(DAG)
        if details and not details.get("is_stale"):
            break
        health = airflow.dag_health()
        if details or health.failed:  # a stale DAG is one whose file could be imported before
            raise WorkError(
                f"Airflow cannot run the DAG {DAG}",
                where="\n            ".join(health.unusable),
                expected=f"a file of the DAG {DAG} that can be imported",
                hint="correct the file; Airflow imports it again within half a minute",
            )
        if time.monotonic() > deadline:
            raise UnhealthyError(
                f"Airflow does not know the DAG {DAG} after {DAG_IMPORT_TIMEOUT:.0f} s",
                where=airflow.url,
                expected="a DAG file in dags/",
                hint="see ./heartline logs dag-processor",
            )
        time.sleep(0.2)
    if details["is_paused"]:
        raise UsageError(
            f"the DAG {DAG} is paused",
            where=addresses.dag(DAG),
            expected="a DAG that is not paused",
            hint="unpause it there, with the switch beside its name",
        )


def train(
    stack: "Stack", given: Mapping[str, Any], *, as_json: bool = False, promote: str = summary.PROMOTE
) -> dict[str, Any]:
    """Start a training run, follow it, print its summary, and return its result.

    Args:
        stack: the running stack.
        given: the run's parameters.
        as_json: whether the summary is printed as JSON.
        promote: the command that puts a version into production, for the summary; "" where the caller does it.

    Raises:
        StackError: the run could not be started, or it failed.
    """
    airflow, patience = client(stack), Patience(lambda: not stack.supervisor.alive())
    if stack.supervisor.alive():
        patience(lambda: wait_for_dag(airflow))
    else:
        wait_for_dag(airflow)  # which says at once that nothing runs
    conf = dict(given)
    if conf.get("source"):
        conf["source"] = source_access.for_task(
            _task_environment(stack), conf["source"], patient=str(conf.get("patient") or "")
        )
    run = airflow.trigger(DAG, conf)
    shown = ", ".join(f"{name}={_shown(value)}" for name, value in given.items()) or "the DAG's own parameters"
    console.say(f"training: run {run} with {shown}")
    return _result(stack, airflow, run, patience, as_json=as_json, promote=promote)


def _shown(value: Any) -> str:
    """Return a value on one line: a mapping's text has many."""
    text = str(value)
    return f"({len(text.splitlines())} lines)" if "\n" in text else text


def _task_environment(stack: "Stack") -> Mapping[str, str]:
    from stack.processes.definitions import SCHEDULER  # compose's image lacks what it imports

    return next(one.settings for one in stack.definitions() if one.name == SCHEDULER)


def join(stack: "Stack") -> dict[str, Any] | None:
    """Follow the active run and return its result; None if there is no active run."""
    airflow, patience = client(stack), Patience(lambda: not stack.supervisor.alive())
    active = airflow.active_runs(DAG)
    if not active:
        return None
    console.say(f"training: run {active[0]} is already active")
    return _result(stack, airflow, active[0], patience, promote="")


def _result(
    stack: "Stack", airflow: Airflow, run: str, patience: Patience, *, promote: str, as_json: bool = False
) -> dict[str, Any]:
    started = time.monotonic()
    try:
        follow(airflow, DAG, run, patience)
        result = patience(lambda: result_of(airflow, run))
    except KeyboardInterrupt:
        console.say(f"\nthe run continues: {addresses.airflow_run(run)}")
        raise
    console.done("training", time.monotonic() - started)
    registry = Registry(stack.settings.mlflow_url)
    return conclude(airflow, registry, run, result, patience, as_json=as_json, promote=promote)


def result_of(airflow: Airflow, run: str) -> dict[str, Any] | None:
    """Return what a run did: what its last task returned, with an ``outcome``; None if that is not known.

    Args:
        airflow: the api-server.
        run: the id of a run that succeeded.
    """
    for task in reversed(parameters.STAGES):
        returned = airflow.returned(DAG, run, task)
        if isinstance(returned, list) and returned:  # of `preprocess`: what it says for each family
            returned = returned[0].get("prepared")
        if not isinstance(returned, dict):
            continue
        if task == LAST_TASK:
            return {"outcome": REGISTERED, **_shown_fields(returned)}
        if "ends" in returned:
            earlier = returned.get("registered")
            if earlier:
                return {"outcome": NOTHING_NEW, **_shown_fields(earlier)}
            return {"outcome": ENDED, "version": None, "until": task, "note": returned.get("note")}
    return None


def _shown_fields(returned: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in returned.items() if name != "assets"}


def conclude(
    airflow: Airflow,
    registry: Registry,
    run: str,
    result: Any,
    patience: Patience,
    *,
    as_json: bool,
    promote: str = summary.PROMOTE,
) -> dict[str, Any]:
    """Print the summary of a run that succeeded, and return its result.

    Args:
        airflow: the api-server.
        registry: MLflow.
        run: the run's id.
        result: what ``result_of`` returned.
        patience: how to wait while Airflow or MLflow is away.
        as_json: whether the summary is printed as JSON.
        promote: the command that puts a version into production, for the summary.

    Raises:
        WorkError: the run registered no version, or none that is good enough for `staging`.
        UnhealthyError: Airflow or MLflow is away for too long.
    """
    if not isinstance(result, dict) or "version" not in result:
        raise WorkError(
            f"the run registered no version: {LAST_TASK} returned {result!r}",
            where=f"run {run}",
            expected="a mapping with the field version",
            hint=f"see the log of {LAST_TASK} in Airflow",
        )
    found = patience(lambda: summary.collect(airflow, registry, run, result))
    text = json.dumps(found, indent=2, default=str) if as_json else "\n".join(summary.lines(found, promote))
    print(text, flush=True)  # before what is written to stderr next, also in a pipe
    if result["version"] is None and result.get("outcome") != ENDED:
        raise WorkError(
            f"no model of this run is good enough for `staging`: {result.get('reason')}",
            where=f"run {run}; it registered the versions {', '.join(result.get('versions', {}).values())}",
            expected="a model that meets the minimum requirements",
            hint="see the comparison in MLflow; train on more or better data, or promote one of these versions"
            " nevertheless",
        )
    return result
