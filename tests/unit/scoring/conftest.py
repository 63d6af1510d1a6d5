"""A small model with a contract of its own, and a function that scores a file with it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from heartline.ingestion import sources
from heartline.ingestion.access import files
from heartline.parameters import scoring as parameters
from heartline.scoring import local
from heartline.scoring.model import ScoringModel
from tests.serving import trained

Score = Callable[..., list[dict[str, Any]]]
SILENT = local.Progress(lambda count: None, lambda count: None, lambda count: None)


@pytest.fixture(scope="session")
def model() -> ScoringModel:
    """A logistic regression, trained on the sample."""
    return ScoringModel(trained.bundle("logistic_regression"), "7")


@pytest.fixture
def run(model: ScoringModel, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Score a source into a file or folder, and return what was done."""

    def score(source: str | Path, output: str | Path, **given: Any) -> Any:
        settings = given.pop("settings", sources.Settings(folders=files.ANYWHERE))
        wanted = parameters.chosen({"source": str(source), "output": str(output), **given})
        return local.score(
            wanted, given.pop("model", model), run="r1", settings=settings, progress=SILENT, enter=lambda content: 5
        )

    return score


@pytest.fixture
def score(run: Callable[..., Any], tmp_path: Path) -> Score:
    """Score a source, and return the rows of the output."""

    def rows(source: str | Path, **given: Any) -> list[dict[str, Any]]:
        output = tmp_path / "scored.parquet"
        content = run(source, output, **given)
        found: list[dict[str, Any]] = pq.read_table(output).to_pylist()
        assert content["rows"] == len(found)
        assert content["rejected"] == sum(one["reason"] is not None for one in found)
        assert [one["row"] for one in found] == list(range(1, len(found) + 1))
        return found

    return rows


def errors(row: dict[str, Any]) -> list[tuple[str, str]]:
    """Return field and detail of each bad field of a row."""
    return [(one["pointer"], one["detail"]) for one in json.loads(row["errors"] or "[]")]
