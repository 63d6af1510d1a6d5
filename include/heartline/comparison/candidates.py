"""The participants of a model comparison: the families of a run, and the model in production."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from heartline.comparison.compare import OutOfFoldPredictions
from heartline.evaluation.cross_validation import Evaluation
from heartline.evaluation.metrics import Estimate


@dataclass(frozen=True, eq=False)
class Candidate:
    """A family of the run.

    Attributes:
        name: the family's name in the verdict and the comparisons.
        title: shown to users.
        predictions: out-of-fold predictions, averaged over the repeats.
        evaluation: its scores.
        parameters: hyperparameters of the final model, for the model card.
    """

    name: str
    title: str
    predictions: OutOfFoldPredictions
    evaluation: Evaluation
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ProductionModel:
    """The model in production itself, not its recipe fitted again.

    Attributes:
        version: its number in the registry.
        origin: of the records that it was trained on.
        holdout: its scores on this run's hold-out; empty if it was not scored.
        holdout_rows: number of records of the hold-out.
        unseen: its scores on the records of this run's snapshot that it was not trained on; empty without any.
        unseen_rows: number of these records.
        note: for example why it was not scored.
    """

    version: str
    origin: str
    holdout: Mapping[str, Estimate] = field(default_factory=dict)
    holdout_rows: int = 0
    unseen: Mapping[str, Estimate] = field(default_factory=dict)
    unseen_rows: int = 0
    note: str = ""
