"""`heartline score`: scores a file or another source with a registered version, in this process."""

import os
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from heartline import addresses
from heartline.errors import ParameterError
from heartline.ingestion import sources
from heartline.parameters import scoring as parameters
from heartline.registry.production import approvals
from heartline.scoring import local, tasks
from heartline.scoring.model import MANIFEST, NEEDED, ScoringModel
from stack import console, mapping_choice, source_choice
from stack.clients.mlflow import PRODUCTION, Registry
from stack.commands.promote import current_user
from stack.errors import UsageError, WorkError
from stack.processes.definitions import SCHEDULER
from stack.processes.lifecycle import Stack


def run_parameters(source: str, given: Mapping[str, str | None]) -> dict[str, Any]:
    """Return the parameters of a scoring run, after checking them.

    Args:
        source: the argument FILE.
        given: the options, by the name of their parameter.

    Raises:
        UsageError: the file cannot be used, or an option has a wrong value.
    """
    found = {name: value for name, value in given.items() if value is not None}
    found["source"] = source_choice.check(source, "FILE")
    if mapping := found.get("mapping"):
        found["mapping"] = mapping_choice.check(mapping, "--mapping")
    output = found["output"]
    if not output.strip():
        raise UsageError(
            "the output has no name",
            where="--output",
            expected="a .parquet or .csv file, a folder, an address, or postgres:TABLE",
            hint="name one; nothing was scored",
        )
    if not output.startswith("postgres:") and "://" not in output:
        found["output"] = str(Path(output).expanduser().absolute())
        _expect_another_file(source, found["output"])
    try:
        parameters.check(found)
    except ParameterError as error:
        raise UsageError(error.what, where=error.where, expected=error.expected, hint=error.hint) from error
    return parameters.chosen(found)


def _expect_another_file(source: str, output: str) -> None:
    """Raise if the output would replace the records."""
    path = Path(unquote(urlsplit(source).path)) if source.startswith("file://") else Path(source).expanduser()
    try:
        if not path.samefile(output):
            return
    except OSError:  # one of them is not there, or is no file
        return
    raise UsageError(
        "the output would replace the records",
        where=f"--output {output}",
        expected="another file than FILE",
        hint="name another file; nothing was scored",
    )


def score(stack: Stack, given: Mapping[str, Any]) -> tasks.Finished:
    """Score a source with a registered version, show the progress, and return what was done.

    Args:
        stack: a running stack.
        given: what ``run_parameters`` returned.

    Raises:
        UsageError: there is no such version.
        UnhealthyError: MLflow does not answer.
        HeartlineError: the source, the output or the ledger cannot be used.
    """
    environment = next(one.settings for one in stack.definitions() if one.name == SCHEDULER)
    model = _model(Registry(stack.settings.mlflow_url), given["version"], environment)
    settings = sources.Settings.from_environment(environment)
    run = f"command__{datetime.now(UTC):%Y-%m-%dT%H:%M:%S}_{secrets.token_hex(2)}"
    url = environment["HEARTLINE_LEDGER_URL"]
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console.err,
        transient=True,
    ) as shown:
        reading = shown.add_task("reading", total=_size(given["source"]))
        scoring = shown.add_task("scoring", total=None, visible=False)
        return local.score(
            given,
            model,
            run=run,
            settings=settings,
            progress=local.Progress(
                lambda count: shown.advance(reading, count),
                lambda count: shown.update(scoring, total=count, visible=True),
                lambda count: shown.advance(scoring, count),
            ),
            enter=lambda content: tasks.entered(content, by=current_user(), url=url),
        )


def _size(source: str) -> int | None:
    """Return the bytes of a local file; None where they are unknown."""
    try:
        return os.stat(source).st_size  # noqa: PTH116 - a source need not be a path
    except OSError:
        return None


def _model(registry: Registry, version: str | None, environment: Mapping[str, str]) -> ScoringModel:
    number = registry.named(version, default=PRODUCTION) if version else registry.at(PRODUCTION)
    if number is None:
        raise UsageError(
            "there is no version that could score",
            where=f"alias {PRODUCTION} of {addresses.model()}",
            expected="a version in production",
            hint="./heartline promote, or name a version with --version",
        )
    found = registry.files(number, (MANIFEST, *NEEDED))
    absent = [name for name, data in found.items() if data is None]
    if absent:
        raise WorkError(
            f"files of version {number} are gone: {', '.join(absent)}",
            where=addresses.model(),
            expected="the files that were registered",
            hint="score with another version, or train again, which repairs it",
        )
    model = ScoringModel({name: data for name, data in found.items() if data is not None}, number)
    _expect_approved(registry, model, environment)
    return model


def _expect_approved(registry: Registry, model: ScoringModel, environment: Mapping[str, str]) -> None:
    """Raise where approvals are required and the version has none that is valid."""
    if not approvals.required(environment):
        return
    facts = registry.facts(model.about.version)
    tag = facts.approval if facts else ""
    if problem := approvals.problem(tag, model.about.digest, environment.get(approvals.SECRET, "")):
        raise WorkError(
            f"version {model.about.version} may not score: {problem}",
            where=f"tag {approvals.TAG} of version {model.about.version}; setting {approvals.REQUIRED}",
            expected="a version that a person has approved",
            hint=f"trigger heart_approval with version {model.about.version}, or name another one with --version",
        )


def summary(content: tasks.Finished) -> list[str]:
    """Return what a run has done, in lines."""
    rows = "row" if content["rows"] == 1 else "rows"
    return [
        f"{content['rows']:,} {rows} scored with version {content['version']} ({content['family']}): "
        f"{content['positive']:,} heart disease, {content['rejected']:,} rejected",
        *(f"  {count:,} rejected: {reason}" for reason, count in list(content["reasons"].items())[:10]),
        f"output: {content['output']}",
    ]
