"""The content of an MLflow run, independent of MLflow's client."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from heartline import dag_ids

EXPERIMENT = "heart-disease"
COMPARISON_EXPERIMENT = "heart-disease-comparisons"
DATA_EXPERIMENT = "heart-disease-data"  # an experiment of its own, so that the others list models only
DESCRIPTIONS = {  # Markdown, above the runs of the experiment
    EXPERIMENT: "One run for each model family and training run. Metrics are out of fold (cross-validated); those with "
    "`holdout_` are of the hold-out, which nothing was fitted or chosen on. The artifact `evaluation.json` has all "
    "scores with their 95 % intervals. `rmse` is that of the probability: the root of `brier`.",
    COMPARISON_EXPERIMENT: "One run for each comparison of model families. The artifact `comparison.html` states the "
    "verdict with its evidence; the model cards are beside it.",
    DATA_EXPERIMENT: "One run for each set of records that was validated. The artifact `data_docs.html` lists the "
    "findings; the quarantined rows are beside it.",
}
COMPARISON_PAGE = "comparison.html"
SOURCE = f"dags/{dag_ids.TRAINING}.py"  # what MLflow shows as the source of a run
USER = "heartline"  # the owner of the DAGs in Airflow; what MLflow shows as the creator of a run
REFUSED = "refused"  # tag of a run: why its family was refused


@dataclass(frozen=True)
class Dataset:
    """A snapshot of records, as MLflow shows it.

    Attributes:
        name: a short name.
        uri: of the snapshot.
        source: the source of its records, in words.
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
    """One run: the training of a family, the validation of a set of records, or a comparison.

    Attributes:
        key: identifies the work and its input; the same key is the same run.
        title: the run's name.
        tags: family, origin, snapshot and so on.
        parameters: settings and hyperparameters.
        metrics: scores and counts.
        files: artifacts by path.
        dataset: the training data.
        experiment: name of the MLflow experiment.
        failed: whether the run ends with the status FAILED.
        note: the run's description in MLflow, Markdown.
        started: the start of the work; without it, the time of logging.
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
    started: datetime | None = None
