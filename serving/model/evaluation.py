"""What training measured of a model: its scores with their intervals. It is told to people; no answer depends on it."""

from typing import Annotated

import msgspec
from msgspec import Meta

FILE = "evaluation.json"
FILE_BYTES = 1024 * 1024  # some 20 kB are usual; more is not read


class Score(msgspec.Struct, frozen=True, omit_defaults=True):
    """A score with its 95 % interval.

    Args:
        value: None where it is not defined.
        low: lower end; None where there is no interval.
        high: upper end; None where there is no interval.
        n: the records that it is about: for recall the sick, for precision those that were called sick.
        note: why something is None.
    """

    value: float | None
    low: float | None
    high: float | None
    n: Annotated[int, Meta(ge=0)]
    note: str = ""


class Metrics(msgspec.Struct, frozen=True):
    """All scores of a model by name.

    Args:
        profile: how thoroughly it was evaluated; ``quick`` is for trying things out.
        cross_validation: of the training records, each answered by models that did not see it.
        holdout: of records that nothing was fitted or chosen on, answered by the model itself.
    """

    profile: str
    cross_validation: dict[str, Score]
    holdout: dict[str, Score]


class Evaluation(msgspec.Struct, frozen=True):
    """What is known of how good a model is.

    Args:
        metrics: None where nothing is known.
        reason: why nothing is known.
        awaited: whether the registry may still be asked for it.
    """

    metrics: Metrics | None = None
    reason: str | None = None
    awaited: bool = False


class _About(msgspec.Struct):
    profile: str


class _File(msgspec.Struct):
    about: _About
    out_of_fold: dict[str, Score]
    holdout: dict[str, Score]


def read(data: bytes) -> Evaluation:
    """Return what the evaluation file of a bundle says, or why it is not understood. Raises nothing."""
    try:
        found = msgspec.json.decode(data, type=_File)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return Evaluation(reason=f"{FILE} is not understood: {error}")
    return Evaluation(Metrics(found.about.profile, found.out_of_fold, found.holdout))
