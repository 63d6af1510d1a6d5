"""What the monitoring says of one version on one day: what is stored, shown on the page and sent."""

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

HARM, DRIFT, WEEKLY, SILENCE, COMPLETENESS = "harm", "drift", "weekly", "silence", "completeness"
ALARMS = (HARM, DRIFT, WEEKLY, SILENCE, COMPLETENESS)
"""The kinds of alarms."""


@dataclass(frozen=True)
class Interval:
    """An estimate with its 95 % interval.

    Attributes:
        value: the estimate.
        low: lower bound.
        high: upper bound.
    """

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Alarm:
    """An alarm.

    Attributes:
        kind: one of ``ALARMS``.
        key: the same for the same alarm, however often a day is run.
        date: the day that raised it.
        version: of the model.
        sentence: what was found, for a person who knows no statistics.
        rate: the false-alarm rate of this kind of alarm, in words.
        figures: the numbers behind it; no values of patients.
    """

    kind: str
    key: str
    date: datetime.date
    version: str
    sentence: str
    rate: str
    figures: Mapping[str, float | str] = field(default_factory=dict)


@dataclass(frozen=True)
class CalibrationBin:
    """Predictions of similar risk with an outcome.

    Attributes:
        predicted: their mean probability.
        observed: the share with disease, with a Wilson interval.
        count: their number.
    """

    predicted: float
    observed: Interval
    count: int


@dataclass(frozen=True)
class Figures:
    """How good predictions with an outcome are; None where there are too few.

    Attributes:
        group: of the records, such as ``sex: female``; ``all`` for all.
        count: predictions with an outcome.
        positive: those with disease.
        brier: mean squared error of the probabilities.
        auc: area under the ROC curve.
        slope: calibration slope, 1 where calibration is right.
        intercept: calibration intercept: the shift of the log odds with which the mean is right, 0 where it is.
    """

    group: str
    count: int
    positive: int
    brier: Interval | None = None
    auc: Interval | None = None
    slope: Interval | None = None
    intercept: Interval | None = None


@dataclass(frozen=True)
class Harm:
    """Is the model right?

    Attributes:
        e: the present e-value of "worse than the reference plus the margin".
        highest: the highest one so far; it raises the alarm.
        threshold: at which there is an alarm.
        reference_brier: Brier score of the reference.
        margin: that may be added to it.
        counted: outcomes that the e-value has counted.
        groups: live figures, the first one of all records.
        calibration: for the picture.
        reference_error: standard error of ``reference_brier``, which is an estimate; None where its records are gone.
        estimated: Brier score and AUC that are expected without outcomes, if the model is calibrated.
        recent_brier: mean squared error of the outcomes of the last 28 days; None without one.
        recent_outcomes: their number.
    """

    e: float
    highest: float
    threshold: float
    reference_brier: float
    margin: float
    counted: int
    groups: Sequence[Figures]
    calibration: Sequence[CalibrationBin]
    reference_error: float | None = field(default=None, kw_only=True)
    estimated: Mapping[str, float] = field(default_factory=dict)
    recent_brier: float | None = None
    recent_outcomes: int = 0


@dataclass(frozen=True)
class ColumnDrift:
    """One column beside its reference.

    Attributes:
        name: of the contract; ``probability`` for the score, ``missing fields`` for the number of missing values.
        title: for display.
        e: the present e-value of this column alone.
        labels: of the picture's bars.
        reference: share of the reference in each bar.
        recent: share of the last 28 days in each bar; empty where there are too few records to show shares of them.
        missing_reference: share of missing values in the reference.
        missing_recent: the same in the last 28 days; 0 where there are too few records.
        weekly_p: p-value of the last weekly test; None without one.
    """

    name: str
    title: str
    e: float
    labels: Sequence[str]
    reference: Sequence[float]
    recent: Sequence[float]
    missing_reference: float
    missing_recent: float
    weekly_p: float | None = None


@dataclass(frozen=True)
class Drift:
    """Are the patients others?

    Attributes:
        e: the present e-value over all columns: the largest one divided by their number.
        highest: the highest one so far; it raises the alarm.
        threshold: at which there is an alarm.
        weekly_limit: below which a weekly p-value is an alarm.
        counted: records so far.
        columns: each of them.
    """

    e: float
    highest: float
    threshold: float
    weekly_limit: float
    counted: int
    columns: Sequence[ColumnDrift]


@dataclass(frozen=True)
class Completeness:
    """Is the input complete?

    Attributes:
        records: predictions of the day, of the whole service where the version was in production.
        usual: predictions of a usual day of this weekday; None before there were enough days.
        silence: probability of a day without a record, if the volume is as usual; on a silent day, of all silent days
            until then; None where it is not known, and where the version was not in production.
        imputed: share of predictions of the last 28 days with an imputed field.
        imputed_reference: the same in the reference.
        rejected: refused requests of the day by reason; none where the version was not in production.
        rejected_share: of the last 28 days' requests.
    """

    records: int
    usual: float | None
    silence: float | None
    imputed: float
    imputed_reference: float
    rejected: Mapping[str, int]
    rejected_share: float


@dataclass(frozen=True)
class RiskBand:
    """Predictions of similar risk.

    Attributes:
        low: probability from which.
        high: probability to which.
        predictions: their number.
        outcomes: how many of them have an outcome.
    """

    low: float
    high: float
    predictions: int
    outcomes: int


@dataclass(frozen=True)
class Awaited:
    """Which outcomes are missing?

    Attributes:
        predictions: so far.
        outcomes: predictions with an outcome.
        corrected: corrections that changed the outcome.
        median_delay: days from prediction to outcome; None without an outcome.
        bands: by predicted risk: unequal shares mean that the outcomes are no fair sample.
    """

    predictions: int
    outcomes: int
    corrected: int
    median_delay: float | None
    bands: Sequence[RiskBand]


@dataclass(frozen=True)
class Shadow:
    """Would the candidate have done better?

    Attributes:
        version: of the candidate.
        answered: records that both answered.
        to_disease: records that would change from healthy to disease.
        to_healthy: records that would change from disease to healthy.
        largest: the largest difference of two probabilities.
        outcomes: records with an outcome that both answered.
        difference: mean Brier score of production minus that of the candidate: positive where the candidate is better.
        better: the highest e-value so far of "the candidate is better".
        worse: the highest e-value so far of "the candidate is worse".
        threshold: at which one of them decides.
    """

    version: str
    answered: int
    to_disease: int
    to_healthy: int
    largest: float
    outcomes: int
    difference: Interval | None
    better: float
    worse: float
    threshold: float


@dataclass(frozen=True)
class Report:
    """All of one version on one day.

    Attributes:
        date: the day, UTC.
        version: of the model.
        digest: of its bundle's manifest.
        reference_records: number of the reference's records.
        first: the first day of this reference.
        harm, drift, completeness, awaited, shadow: the answers; no shadow without a candidate.
        alarms: that this day raised.
        rate: the false-alarm rate of the whole page, in words.
        notes: what a reader has to know beside the figures, one sentence each, such as what of the reference is gone.
    """

    date: datetime.date
    version: str
    digest: str
    reference_records: int
    first: datetime.date
    harm: Harm
    drift: Drift
    completeness: Completeness
    awaited: Awaited
    shadow: Shadow | None
    alarms: Sequence[Alarm]
    rate: str
    notes: Sequence[str] = ()

    def to_json(self) -> bytes:
        """Return it as JSON, the same bytes for the same report."""
        return msgspec.json.encode(self, order="deterministic")

    @classmethod
    def from_json(cls, data: bytes | str) -> "Report":
        """Return the report that ``to_json`` wrote.

        Raises:
            msgspec.ValidationError: it is another document.
        """
        return msgspec.json.decode(data, type=cls)
