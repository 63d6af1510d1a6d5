"""What takes part in a comparison: the families of a run, and the version in production."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from heartline.comparison.compare import OutOfFoldPredictions
from heartline.evaluation.cross_validation import Evaluation
from heartline.evaluation.metrics import Estimate


@dataclass(frozen=True, eq=False)
class Candidate:
    """A model that takes part.

    Attributes:
        name: the family, as the verdict and the comparisons name it.
        title: as people name it.
        answers: out-of-fold probabilities, averaged over the repeats.
        evaluation: the numbers about it.
        note: for example which version it became, or why it becomes none.
        parameters: hyperparameters of the final model, for the model card.
    """

    name: str
    title: str
    predictions: OutOfFoldPredictions
    evaluation: Evaluation
    note: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Champion:
    """Production's own model as it is, not its recipe fitted again.

    Attributes:
        version: its number in the registry.
        origin: of the records that it was trained on.
        holdout: its scores on this run's hold-out; empty where it was not scored.
        holdout_rows: records of the hold-out.
        unseen: its scores on the records of this run's snapshot that it was not trained on; empty without any.
        unseen_rows: how many they are.
        note: for example why it was not scored.
    """

    version: str
    origin: str
    holdout: Mapping[str, Estimate] = field(default_factory=dict)
    holdout_rows: int = 0
    unseen: Mapping[str, Estimate] = field(default_factory=dict)
    unseen_rows: int = 0
    note: str = ""
