"""What is logged of a piece of work, before anything is said to MLflow."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

EXPERIMENT = "heart-disease"
COMPARISON_EXPERIMENT = "heart-disease-comparisons"
DATA_EXPERIMENT = "heart-disease-data"  # apart, so that the list of models stays one of models
REFUSED = "refused"  # the tag that says why a run ended in a refusal


@dataclass(frozen=True)
class Dataset:
    """A snapshot of records, as MLflow shows it.

    Attributes:
        name: a short name.
        uri: where the snapshot lies.
        source: where its records came from, in words.
        digest: its sha256.
        rows: its number of records.
    """

    name: str
    uri: str
    source: str
    digest: str
    rows: int


@dataclass(frozen=True)
class Run:
    """What is logged of one piece of work: a family's training, or the check of a set of records.

    Attributes:
        key: names what was done on what; the same key is the same run.
        title: the run's name.
        tags: family, origin, snapshot and so on.
        parameters: settings and hyperparameters.
        metrics: scores and counts.
        files: artifacts by path.
        dataset: what it was trained on.
        experiment: the MLflow experiment that it belongs to.
        failed: whether it ended in a refusal.
        note: Markdown that MLflow shows at its head.
        begun: when the work began; without it, when it is logged.
    """

    key: str
    title: str
    tags: Mapping[str, str]
    parameters: Mapping[str, Any]
    metrics: Mapping[str, float]
    files: Mapping[str, bytes]
    dataset: Dataset | None = None
    experiment: str = EXPERIMENT
    failed: bool = False
    note: str = ""
    begun: datetime | None = None
