"""One day of the monitoring of a version: from the state of the day before, the new state and the report."""

import datetime
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from heartline.arrays import Flags, Floats, Ints
from heartline.errors import HandoverError
from heartline.monitoring import alarms, recent
from heartline.monitoring import state as states
from heartline.monitoring.inputs import Answers, Day, Outcomes, Reference, Settings
from heartline.monitoring.methods import columns, conformal, harm, live, paired, refused, unlabelled, volume, weekly
from heartline.monitoring.methods.betting import Wealth
from heartline.monitoring.methods.columns import COUNTED, FEATURES, NAMES, Bars
from heartline.monitoring.methods.paired import Compared
from heartline.monitoring.report import (
    SILENCE,
    WEEKLY,
    Alarm,
    Awaited,
    ColumnDrift,
    Completeness,
    Drift,
    Harm,
    Report,
    RiskBand,
)
from heartline.monitoring.state import State
from heartline.scores import brier, squared_errors

_PART = 1 << 15  # records at a time: they fit into the processor's cache
_BANDS = 5  # of the predicted risk, in which outcomes are awaited


@dataclass(frozen=True)
class _Base:
    """What is counted of the reference.

    Attributes:
        counts: of each column, records by cell.
        missing: (features,) missing values.
        records: their number.
        imputed: share of the records with a missing value.
        pictures: the bars of each column.
        brier: its Brier score.
        error: the standard error of that; None where the records are gone.
    """

    counts: Sequence[Ints]
    missing: Ints
    records: int
    imputed: float
    pictures: Sequence[Bars]
    brier: float
    error: float | None


def advance(
    state: State | None, reference: Reference, day: Day, settings: Settings, predecessor: State | None = None
) -> tuple[State, Report]:
    """Return the state and the report of a day.

    Nothing but the arguments is read: the same arguments give the same bytes.

    Args:
        state: of the day before; None for the first day of a version.
        reference: of the version, always the same.
        day: all that arrived on the day.
        settings: of the team; those of the version's first day are used for its whole life.
        predecessor: the last state of the version that was in production before, where that was another one: its
            volume and its refused requests are those of the same service, and are continued.

    Raises:
        HandoverError: the state is of another version, or not of the day before.
    """
    before = states.start(reference.digest, day.date, settings) if state is None else state
    settings = before.settings
    _expect_next(before, reference, day)
    if predecessor is not None:
        before = replace(before, volume=predecessor.volume, refused=refused.continued(predecessor.refused))
    base = _base(reference)
    after, silence = _counted(before, base, day)
    after = _with_outcomes(after, base, day)
    after, below = _with_week(after, base, day)
    parts = _Parts(_harm(after, base), _drift(after, base), _completeness(after, base, day, silence))
    found = alarms.raised(
        after,
        reference,
        day,
        settings,
        harm=parts.harm,
        drift=parts.drift,
        completeness=parts.completeness,
        silence=silence,
        weekly=below,
    )
    if not day.in_production:  # nobody gets its answers; if it comes back, what it would have raised is raised then
        found, below = [], {}
    after = replace(
        after,
        raised=[*after.raised, *(one.kind for one in found if one.kind not in (WEEKLY, SILENCE))],
        weekly_raised=[*after.weekly_raised, *below],
    )
    return after, _report(after, reference, day, settings, parts, found)


@dataclass(frozen=True)
class _Parts:
    harm: Harm
    drift: Drift
    completeness: Completeness


def _expect_next(before: State, reference: Reference, day: Day) -> None:
    expected = before.date + datetime.timedelta(days=1)
    if before.digest != reference.digest or day.date != expected:
        raise HandoverError(
            f"the state of the monitoring is that of the day {before.date} of the version {before.digest[:12]}",
            where=f"the monitoring of the day {day.date} of the version {reference.digest[:12]}",
            expected="the state of the day before, of the same version",
            hint="compute the days in order; a day without records is a day too",
        )


def _base(reference: Reference) -> _Base:
    counts = columns.counts(columns.all_cells(reference.features, reference.probabilities))
    records = len(reference.labels)
    losses = squared_errors(reference.labels, reference.probabilities)
    return _Base(
        counts=counts,
        missing=np.isnan(reference.features).sum(axis=0),
        records=records,
        imputed=float(counts[-1][1:].sum() / max(records, 1)),
        pictures=[columns.bars(column, count) for column, count in zip(COUNTED, counts, strict=True)],
        brier=brier(reference.labels, reference.probabilities) if reference.brier is None else reference.brier,
        error=float(losses.std(ddof=1) / records**0.5) if records > 1 and np.isfinite(losses).all() else None,
    )


def _counted(before: State, base: _Base, day: Day) -> tuple[State, volume.Silence]:
    """Return the state with the day's predictions, and what is said of their number."""
    counts, missing, drift = _bets(before, base, day.answers)
    records = len(day.answers.probabilities)
    before, requests, silence = _service(before, day)
    last = recent.day(counts, missing, records, requests, base.pictures)
    return replace(
        before,
        date=day.date,
        predictions=before.predictions + records,
        counts=[(np.array(one) + new).tolist() for one, new in zip(before.counts, counts, strict=True)],
        drift=drift,
        recent=[*before.recent, last][-recent.DAYS :],
        week=recent.added(before.week, counts, missing, records),
        shadow=_answered(before.shadow, day),
    ), silence


def _service(before: State, day: Day) -> tuple[State, tuple[int, int], volume.Silence]:
    """Return the state with the day of the whole service, its refused and accepted requests, and what is said of it.

    A day of the service is counted once: for the version in production.
    """
    if not day.in_production:
        return before, (0, 0), volume.Silence()
    records, accepted = day.volume()
    rejected = sum(day.rejected.values())
    kept, silence = volume.look(before.volume, day.date, records)
    after = replace(before, volume=kept, refused=refused.add(before.refused, str(day.date), rejected, accepted))
    return after, (rejected, accepted), silence


def _bets(before: State, base: _Base, answers: Answers) -> tuple[list[Ints], Ints, Wealth]:
    """Return the day's predictions by cell, (features,) missing values, and the e-processes of the columns after it."""
    seen = [first + np.array(second) for first, second in zip(base.counts, before.counts, strict=True)]
    counts = [np.zeros(column.size, dtype=np.int64) for column in COUNTED]
    missing = np.zeros(len(FEATURES), dtype=np.int64)
    drift = before.drift
    for begin in range(0, len(answers.ids), _PART):
        part = slice(begin, begin + _PART)
        cells = columns.all_cells(answers.features[part], answers.probabilities[part])
        seeds = conformal.seeds(answers.ids[part])
        p = np.empty(cells.shape)
        for at, (name, new) in enumerate(zip(NAMES, columns.counts(cells), strict=True)):
            p[:, at] = conformal.p_values(cells[:, at], seen[at] + counts[at], conformal.uniforms(seeds, name))
            counts[at] += new
        missing += (cells[:, : len(FEATURES)] < 0).sum(axis=0)
        drift = conformal.bet(drift, p)
    return counts, missing, drift


def _answered(shadow: Compared | None, day: Day) -> Compared | None:
    if not day.candidate_version:
        return None
    same = shadow is not None and shadow.version == day.candidate_version
    if day.answers.candidate is None:  # it cannot be asked today: what is known of it stays
        return shadow if same else None
    if shadow is None or not same:
        shadow = paired.start(day.candidate_version)
    return paired.with_answers(shadow, day.answers.probabilities, day.answers.candidate)


def _with_outcomes(before: State, base: _Base, day: Day) -> State:
    """Return the state with the day's outcomes: the first ones are bet on, corrections change the live figures only."""
    given = day.outcomes
    first = given.replaced < 0
    delays = np.clip(np.floor(given.delays[first]), 0, states.LONGEST).astype(np.int64)
    losses = squared_errors(given.outcomes[first], given.probabilities[first])
    today = replace(before.recent[-1], outcomes=len(losses), losses=float(losses.sum()))
    return replace(
        before,
        recent=[*before.recent[:-1], today],
        harm=harm.bet(before.harm, losses, base.brier + before.settings.margin),
        live=live.add(before.live, given.features, given.probabilities, given.outcomes, given.replaced),
        corrected=before.corrected + int((~first & (given.replaced != given.outcomes)).sum()),
        delays=(np.array(before.delays) + np.bincount(delays, minlength=states.LONGEST + 1)).tolist(),
        shadow=_compared(before.shadow, given, first),
    )


def _compared(shadow: Compared | None, given: Outcomes, first: Flags) -> Compared | None:
    if shadow is None or given.candidate is None:
        return shadow
    return paired.with_outcomes(shadow, given.outcomes[first], given.probabilities[first], given.candidate[first])


def _with_week(before: State, base: _Base, day: Day) -> tuple[State, dict[str, float]]:
    """Return the state after the day, and, if it ends a week, the p-values below the limit of columns without alarm."""
    if day.date.weekday() != 6 or before.week is None:
        return before, {}
    p = recent.test(before.week, base.counts, base.missing, base.records)
    limit = weekly.limit(before.settings.weekly_rate, recent.TESTS)
    below = {name: one for name, one in p.items() if one < limit and name not in before.weekly_raised}
    return replace(before, week=None, weekly=p), below


def _harm(state: State, base: _Base) -> Harm:
    outcomes, losses = recent.errors(state.recent)
    return Harm(
        e=state.harm.present[0],
        highest=state.harm.highest[0],
        threshold=1.0 / state.settings.harm_rate,
        reference_brier=base.brier,
        margin=state.settings.margin,
        counted=state.harm.seen,
        groups=live.figures(state.live),
        calibration=live.calibration(state.live),
        reference_error=base.error,
        estimated=unlabelled.estimate(recent.scores(state.recent)),
        recent_brier=losses,
        recent_outcomes=outcomes,
    )


def _drift(state: State, base: _Base) -> Drift:
    records = recent.shown(state.recent)
    found = []
    for at, (column, picture) in enumerate(zip(COUNTED, base.pictures, strict=True)):
        bars = np.array([one.bars[at] for one in state.recent]).sum(axis=0)
        missing = sum(one.missing[at] for one in state.recent) if at < len(FEATURES) else 0
        found.append(
            ColumnDrift(
                name=column.name,
                title=column.title,
                e=state.drift.present[at],
                labels=picture.labels,
                reference=_shares(picture.heights(base.counts[at])),
                recent=_shares(bars) if records or not bars.any() else [],
                missing_reference=float(base.missing[at] / max(base.records, 1)) if at < len(FEATURES) else 0.0,
                missing_recent=missing / records if records else 0.0,
                weekly_p=state.weekly.get(column.name),
            )
        )
    return Drift(
        e=conformal.combined(state.drift.present),
        highest=conformal.combined(state.drift.highest),
        threshold=1.0 / state.settings.drift_rate,
        weekly_limit=weekly.limit(state.settings.weekly_rate, recent.TESTS),
        counted=state.predictions,
        columns=found,
    )


def _shares(counts: Ints) -> list[float]:
    total = counts.sum()
    shares: Floats = counts / total if total else np.zeros(len(counts))
    return [float(one) for one in shares]


def _completeness(state: State, base: _Base, day: Day, silence: volume.Silence) -> Completeness:
    shown = recent.shown(state.recent)
    rejected, accepted = sum(one.refused for one in state.recent), sum(one.accepted for one in state.recent)
    return Completeness(
        records=day.volume()[0] if day.in_production else len(day.answers.probabilities),
        usual=silence.usual,
        silence=silence.probability,
        imputed=sum(one.imputed for one in state.recent) / shown if shown else 0.0,
        imputed_reference=base.imputed,
        rejected=dict(day.rejected) if day.in_production else {},
        rejected_share=rejected / (accepted + rejected) if accepted + rejected else 0.0,
    )


def _awaited(state: State) -> Awaited:
    predicted = np.array(state.counts[-2])
    known = np.array(state.live.counts[0]).sum(axis=0)
    edges = np.minimum(np.arange(len(predicted)) * _BANDS // (len(predicted) - 1), _BANDS - 1)
    bands = [
        RiskBand(
            band / _BANDS,
            (band + 1) / _BANDS,
            int(predicted[edges == band].sum()),
            int(known[edges == band].sum()),
        )
        for band in range(_BANDS)
    ]
    return Awaited(state.predictions, int(known.sum()), state.corrected, _median(np.array(state.delays)), bands)


def _median(counts: Ints) -> float | None:
    """Return the lower median of whole numbers given as counts from 0 on."""
    total = counts.sum()
    return float(np.searchsorted(np.cumsum(counts), (total + 1) // 2)) if total else None


def _report(
    state: State, reference: Reference, day: Day, settings: Settings, parts: _Parts, found: list[Alarm]
) -> Report:
    return Report(
        date=day.date,
        version=reference.version,
        digest=reference.digest,
        reference_records=len(reference.labels),
        first=state.first,
        harm=parts.harm,
        drift=parts.drift,
        completeness=parts.completeness,
        awaited=_awaited(state),
        shadow=paired.report(state.shadow) if state.shadow else None,
        alarms=found,
        rate=alarms.overall(settings),
    )
