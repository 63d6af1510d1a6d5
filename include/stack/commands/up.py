"""`heartline up`: starts the stack, trains a model if there is none, and prints a prediction."""

import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from heartline import addresses
from heartline.registry.production import alias_moves
from heartline.registry.production.alias_history import FIRST_UP
from stack import console, mapping_choice, setting_checks, source_choice
from stack.clients import service
from stack.clients.mlflow import PRODUCTION, STAGING, Registry
from stack.commands import promote, readiness
from stack.commands.training import train
from stack.errors import WorkError
from stack.processes import lifecycle
from stack.processes.lifecycle import Stack
from stack.settings import APPROVER, USER


def up(stack: Stack, given: Mapping[str, Any]) -> None:
    """Start the stack, train if there is no model in production, and print a prediction.

    Args:
        stack: the stack to start.
        given: parameters of the training DAG, from the command line.

    Raises:
        HeartlineError: a step failed.
    """
    setting_checks.check(os.environ)
    began = datetime.now(UTC)
    with stack.locked("up"):
        home = stack.settings.home
        choice = source_choice.choose(given.get("source"), home)
        if source_choice.remembered(home) is None:
            source_choice.remember(home, choice.source)
            mapping_choice.remember(home, given.get("mapping"))
        lifecycle.start(stack)
        readiness.wait(stack, began)
        registry = stack.registry
        version = registry.at(PRODUCTION)
        if version is None:
            _refuse_lost_production(registry)
            first = _first_version(stack, given, choice)
            if waits := promote.waits_for_approval(registry, first):
                _show_waiting(stack, first, waits)
                return
            version = promote.promote(registry, first, by=promote.current_user(), how=FIRST_UP)
        elif given:
            console.say(f"not training: version {version} is in production. To train another one: ./heartline train")
        with console.step(f"service answers with version {version}"):
            service.wait_until_served(stack.settings, version)
    _show_prediction(stack)


def _refuse_lost_production(registry: Registry) -> None:
    """Refuse to put a first model into production where there was one before, whose alias is gone."""
    lost = alias_moves.lost_production("", promote.moves(registry), registry.served())
    if lost:
        raise WorkError(
            lost,
            where=addresses.model(),
            expected=f"a version at the alias {PRODUCTION}",
            hint="./heartline promote VERSION puts a version that MLflow lists into production; "
            "./heartline train trains another one",
        )


def _first_version(stack: Stack, given: Mapping[str, Any], choice: source_choice.Choice) -> str:
    """Return a version for production: of an active run, else the staged one, else of a new run."""
    if not given:
        result = train.join(stack)
        staged = str(result["version"]) if result and result["version"] else stack.registry.at(STAGING)
        if staged:
            return staged
    home = stack.settings.home
    source = source_choice.check(given.get("source", choice.source), "source of the first `up`")
    console.say(f"no model yet: training one on `{source}`")
    if choice.fallback:
        console.warn(
            f"{choice.reason}.\nThis model is trained on SYNTHETIC patients: for trying things out only."
            "\nTo use your own records: ./heartline train --source FILE"
        )
    try:
        result = train.train(stack, {**given, "source": source}, promote="")
    except WorkError:
        source_choice.remember(home, None)
        mapping_choice.remember(home, None)
        raise
    source_choice.remember(home, source)
    mapping_choice.remember(home, given.get("mapping"))
    if result["version"] is None:
        raise WorkError(
            "no model was registered, so none can be put into production",
            where=f"--set until={given.get('until')}",
            expected="a whole run, as nothing is in production yet",
            hint="leave until out; or ./heartline train runs a part of the tasks once the stack is up",
        )
    return str(result["version"])


def _show_prediction(stack: Stack) -> None:
    settings, record = stack.settings, service.example()
    answer = service.predict(settings, record)
    print(f"POST {settings.public_service_url}/predict\n{json.dumps(record)}\n\n{json.dumps(answer, indent=2)}\n")
    _show_addresses(stack)


def _show_waiting(stack: Stack, version: str, why: str) -> None:
    print(
        f"version {version} is trained and waits for an approval before it answers ({why}).\n"
        f"A person answers in Airflow, under Required Actions: {addresses.required_actions()}\n"
    )
    _show_addresses(stack)


def _show_addresses(stack: Stack) -> None:
    settings = stack.settings
    print(f"Airflow  {settings.public_airflow_url}  (user {USER}, password in {_short(stack.login_file)})")
    print(f"         to approve versions: user {APPROVER}, password in {_short(stack.approver_file)}")
    print(f"MLflow   {settings.public_mlflow_url}")
    print(f"Service  {settings.public_service_url}")


def _short(path: Path) -> str:
    cwd = Path.cwd()
    return str(path.relative_to(cwd) if path.is_relative_to(cwd) else path)
