"""What the monitoring of one version reads: its reference, and what arrived on one day."""

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Settings:
    """What a team sets.

    Attributes:
        margin: by how much the Brier score may exceed the reference before it is harm.
        harm_rate: probability of a false alarm of harm in the life of a version.
        drift_rate: probability of a false alarm of drift in the life of a version, over all columns.
        weekly_rate: probability of a false alarm of the weekly tests in a year, over all columns and weeks.
    """

    margin: float = 0.02
    harm_rate: float = 0.01
    drift_rate: float = 0.01
    weekly_rate: float = 0.05


@dataclass(frozen=True)
class Reference:
    """What a version is compared with: the records and out-of-fold predictions of its training.

    Attributes:
        version: the registered version.
        digest: sha256 of its bundle's manifest, by which the prediction log names it.
        snapshot: digest of the training data.
        features: (n, features) in the order of the contract, NaN for a missing value; n is 0 where the records are
            gone: drift is then measured against the first records of the version.
        probabilities: (n,), out of fold, averaged over the repeats; all NaN where they are gone.
        labels: (n,), 0 or 1.
        brier: the Brier score out of fold as it was stored at training, where ``probabilities`` are gone; None: theirs.
        missing: what of the reference is gone, one sentence each.
    """

    version: str
    digest: str
    snapshot: str
    features: Floats
    probabilities: Floats
    labels: Integers
    brier: float | None = None
    missing: Sequence[str] = ()


@dataclass(frozen=True)
class Answers:
    """The predictions that were logged on a day, in the order of their arrival (then of their id).

    Attributes:
        ids: of the predictions; they seed the breaking of ties.
        features: (n, features) as the client sent them, NaN for a missing value.
        probabilities: (n,).
        candidate: (n,) what the version under ``staging`` answers to the same records, NaN for those that are not
            compared; None without one, and where it cannot be asked.
    """

    ids: Sequence[str]
    features: Floats
    probabilities: Floats
    candidate: Floats | None = None


@dataclass(frozen=True)
class Outcomes:
    """The outcomes that arrived on a day, in the order of their arrival, with the predictions that they belong to.

    Attributes:
        outcomes: (n,), 0 or 1.
        replaced: (n,), the outcome that a correction replaces, -1 for the first one of its prediction.
        features: (n, features) of the predictions' records.
        probabilities: (n,) of the predictions.
        delays: (n,) days from the arrival of the prediction to that of the outcome.
        candidate: (n,) as in ``Answers``.
    """

    outcomes: Integers
    replaced: Integers
    features: Floats
    probabilities: Floats
    delays: Floats
    candidate: Floats | None = None


@dataclass(frozen=True)
class Day:
    """All that arrived for one version on one day (UTC).

    Attributes:
        date: the day.
        answers: its predictions.
        outcomes: its outcomes, also of predictions of earlier days.
        rejected: number of refused requests by reason, of the whole service.
        candidate_version: the version under ``staging`` where that is another one, else "".
        records: predictions of the whole service; None: those of ``answers``.
        requests: accepted requests of the whole service, of one record or many; None: as many as ``records``.
        in_production: whether the version was in production at the end of the day. The days of the service (its
            volume and its refused requests) are counted for that version only, and only that one raises alarms.
    """

    date: datetime.date
    answers: Answers
    outcomes: Outcomes
    rejected: Mapping[str, int] = field(default_factory=dict)
    candidate_version: str = ""
    records: int | None = None
    requests: int | None = None
    in_production: bool = True

    def volume(self) -> tuple[int, int]:
        """Return the records and the accepted requests of the whole service."""
        records = len(self.answers.probabilities) if self.records is None else self.records
        return records, records if self.requests is None else self.requests
