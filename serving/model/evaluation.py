"""The scores of a model with their intervals, as training measured them. No prediction depends on them."""

from typing import Annotated

import msgspec
from msgspec import Meta

FILE = "evaluation.json"
FILE_BYTES = 1024 * 1024  # about 20 kB are usual; a larger file is not read
_COUNT = (
    "Number of records of the score: for recall those with disease, for precision those that are predicted to have it."
)


class Score(msgspec.Struct, frozen=True, omit_defaults=True):
    """A score with its 95 % interval."""

    value: Annotated[float | None, Meta(description="Null where it is not defined.")]
    low: Annotated[float | None, Meta(description="Lower end; null where there is no interval.")]
    high: Annotated[float | None, Meta(description="Upper end; null where there is no interval.")]
    n: Annotated[int, Meta(ge=0, description=_COUNT)]
    note: Annotated[str, Meta(description="Why a value or an interval is null.")] = ""


Scores = dict[str, Score]


class Metrics(msgspec.Struct, frozen=True):
    """The scores that training measured, by name."""

    profile: Annotated[str, Meta(description="How thoroughly the model was evaluated; quick is for experiments.")]
    cross_validation: Annotated[Scores, Meta(description="Out-of-fold predictions of the training records.")]
    holdout: Annotated[Scores, Meta(description="Records that nothing was fitted to or selected on.")]


class Evaluation(msgspec.Struct, frozen=True):
    """The metrics of a served model, if they are known.

    Args:
        metrics: None where they are not known.
        reason: why they are not known.
        pending: whether they can still be fetched from the registry.
    """

    metrics: Metrics | None = None
    reason: str | None = None
    pending: bool = False


class _About(msgspec.Struct):
    profile: str


class _File(msgspec.Struct):
    about: _About
    out_of_fold: dict[str, Score]
    holdout: dict[str, Score]


def read(data: bytes) -> Evaluation:
    """Return the content of a bundle's evaluation file, or why it cannot be read. Raises nothing."""
    try:
        found = msgspec.json.decode(data, type=_File)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return Evaluation(reason=f"{FILE} cannot be read: {error}")
    return Evaluation(Metrics(found.about.profile, found.out_of_fold, found.holdout))
