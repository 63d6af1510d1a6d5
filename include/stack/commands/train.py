"""Starts training runs with checked parameters, and follows them."""

import json
import time
from collections.abc import Iterable
from typing import Any

from stack import console, mapping_choice
from stack.clients.airflow import Airflow
from stack.commands.follow import follow
from stack.errors import UnhealthyError, UsageError, WorkError
from stack.processes.lifecycle import Stack
from stack.settings import DAG
from stack.source_choice import check

DAG_IMPORT_TIMEOUT = 120.0  # seconds until the dag-processor must have imported a new DAG file
LAST_TASK = "register"


def client(stack: Stack) -> Airflow:
    """Return a client of this stack's Airflow."""
    return Airflow(stack.settings.airflow_url, stack.credentials["airflow_admin_password"])


def assignments(given: Iterable[str]) -> dict[str, str]:
    """Split ``PARAM=VALUE`` arguments.

    Raises:
        UsageError: an argument has another form.
    """
    found = {}
    for argument in given:
        name, equals, value = argument.partition("=")
        if not equals or not name:
            raise UsageError(
                f"{argument!r} is not an assignment",
                where="--set",
                expected="PARAM=VALUE, for example --set profile=quick",
                hint="correct it; Airflow's trigger form lists the parameters",
            )
        found[name] = value
    if "source" in found:
        found["source"] = check(found["source"], "--set source")
    if "mapping" in found:
        found["mapping"] = mapping_choice.check(found["mapping"], "--set mapping")
    return found


def parameters(source: str | None, given: Iterable[str], *, mapping: str | None = None) -> dict[str, str]:
    """Return the ``PARAM=VALUE`` arguments together with ``--source`` and ``--mapping``.

    Raises:
        UsageError: an argument has another form, the source or mapping is given twice, or it cannot be used.
    """
    found = assignments(given)
    if source is not None:
        _expect_once("source", found)
        found = {"source": check(source, "--source")} | found
    if mapping is not None:
        _expect_once("mapping", found)
        found["mapping"] = mapping_choice.check(mapping, "--mapping")
    return found


def _expect_once(name: str, found: dict[str, str]) -> None:
    if name in found:
        raise UsageError(
            f"the {name} is given twice",
            where=f"--{name} and --set {name}",
            expected="one of them",
            hint="remove one",
        )


def typed(given: dict[str, str], params: dict[str, Any]) -> dict[str, Any]:
    """Convert each value to the type that the DAG's schema requires.

    Args:
        given: the values from the command line.
        params: the DAG's ``params``, as Airflow describes them.

    Raises:
        UsageError: the DAG has no such parameter.
    """
    values: dict[str, Any] = {}
    for name, text in given.items():
        if name not in params:
            raise UsageError(
                f"the DAG {DAG} has no parameter {name!r}",
                where="--set",
                expected="one of " + ", ".join(sorted(params)),
                hint="correct the name",
            )
        values[name] = _value(text, params[name].get("schema", {}).get("type", "string"))
    return values


def _value(text: str, kinds: str | list[str]) -> Any:
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if text in ("", "null") and "null" in kinds:
        return None
    if "string" in kinds:
        return text
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text  # Airflow refuses it and names the type


def wait_for_dag(airflow: Airflow) -> dict[str, Any]:
    """Return the training DAG's details, once Airflow has imported its file.

    Raises:
        WorkError: its file cannot be imported.
        UnhealthyError: Airflow does not know it within ``DAG_IMPORT_TIMEOUT``.
        UsageError: it is paused, so that a run would never start.
    """
    deadline = time.monotonic() + DAG_IMPORT_TIMEOUT
    while True:
        details = airflow.dag(DAG)
        if details:
            break
        problems = airflow.import_errors()
        if problems:
            raise WorkError(
                "a DAG file cannot be imported",
                where="\n            ".join(problems),
                expected=f"the DAG {DAG}",
                hint="correct the file; Airflow imports it again within seconds",
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
            where=f"{airflow.url}/dags/{DAG}",
            expected="a DAG that is not paused",
            hint="unpause it there, with the switch beside its name",
        )
    return details


def train(stack: Stack, given: dict[str, str]) -> dict[str, Any]:
    """Start a training run, follow it, and return the return value of its last task.

    Raises:
        StackError: the run could not be started, or it failed.
    """
    airflow = client(stack)
    details = wait_for_dag(airflow)
    values = typed(given, details["params"])
    if "source" in given:
        values.setdefault("mapping", None)  # the mapping of the nightly source is not that of another source
    run = airflow.trigger(DAG, values)
    shown = ", ".join(f"{name}={_shown(value)}" for name, value in given.items()) or "the DAG's own parameters"
    console.say(f"training: run {run} with {shown}")
    return _result(airflow, run)


def _shown(value: str) -> str:
    """Return a value on one line: a mapping's text has many."""
    return f"({len(value.splitlines())} lines)" if "\n" in value else value


def join(stack: Stack) -> dict[str, Any] | None:
    """Follow the active run and return the return value of its last task; None if there is no active run."""
    airflow = client(stack)
    active = airflow.active_runs(DAG)
    if not active:
        return None
    console.say(f"training: run {active[0]} is already active")
    return _result(airflow, active[0])


def _result(airflow: Airflow, run: str) -> dict[str, Any]:
    started = time.monotonic()
    try:
        follow(airflow, DAG, run)
    except KeyboardInterrupt:
        console.say(f"\nthe run continues: {airflow.url}/dags/{DAG}/runs/{run}")
        raise
    console.done("training", time.monotonic() - started)
    result = airflow.returned(DAG, run, LAST_TASK)
    if not isinstance(result, dict) or "version" not in result:
        raise WorkError(
            f"the run registered no version: {LAST_TASK} returned {result!r}",
            where=f"run {run}",
            expected="a mapping with the field version",
            hint=f"see the log of {LAST_TASK} in Airflow",
        )
    if result["version"] is None:
        raise WorkError(
            f"no model of this run is good enough for `staging`: {result.get('reason')}",
            where=f"run {run}; it registered the versions {', '.join(result.get('versions', {}).values())}",
            expected="a model that meets the minimum requirements",
            hint="see the comparison in MLflow; train on more or better data, or promote one of these versions"
            " nevertheless",
        )
    return result
