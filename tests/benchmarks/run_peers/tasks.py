"""The tasks of a training run, in their order, for the plain process and for the Prefect flow."""

import json
import sys
from typing import Any

FAMILIES = ("logistic_regression", "random_forest")


def given() -> dict[str, Any]:
    """Return the parameters of the run, the program's only argument."""
    found: dict[str, Any] = json.loads(sys.argv[1])
    return found


def ingest(source: str) -> Any:
    """Call the task's function; each of these imports it first, as the tasks of the DAG do."""
    from heartline.pipeline.ingest import ingest

    return ingest(source)


def validate(ingested: Any, run: str) -> Any:
    """Call the task's function."""
    from heartline.pipeline.validate import validate

    return validate(ingested, run=run)


def preprocess(validated: Any, profile: str, seed: int) -> Any:
    """Call the task's function."""
    from heartline.pipeline.preprocess import preprocess

    return preprocess(validated, profile=profile, seed=seed)


def train(family: str, prepared: Any, run: str) -> Any:
    """Call the task's function."""
    from heartline.pipeline.train import train

    return train(family, prepared, run=run)


def compare(trained: Any, prepared: Any, run: str) -> Any:
    """Call the task's function."""
    from heartline.pipeline.compare import compare

    return compare(trained, prepared, run=run)


def register(compared: Any, run: str) -> Any:
    """Call the task's function."""
    from heartline.pipeline.register import register

    return register(compared, promotion="manual", run=run)


def expect_registered(registered: Any) -> None:
    """End with an error unless all families were registered: a run that did less cannot be compared.

    Raises:
        SystemExit: a family is missing.
    """
    if set(registered["versions"]) != set(FAMILIES):
        sys.exit(f"not all families were registered: {registered}")
