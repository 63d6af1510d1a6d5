"""The alarms of a day, in sentences with their false-alarm rates, and the rate of the whole page."""

from collections.abc import Mapping, Sequence

from heartline.monitoring import recent
from heartline.monitoring.inputs import Day, Reference, Settings
from heartline.monitoring.methods import refused, volume
from heartline.monitoring.methods.columns import COUNTED
from heartline.monitoring.methods.volume import Silence
from heartline.monitoring.report import (
    COMPLETENESS,
    DRIFT,
    HARM,
    SILENCE,
    WEEKLY,
    Alarm,
    Completeness,
    Drift,
    Harm,
)
from heartline.monitoring.state import State

_WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_TITLES = {column.name: column.title for column in COUNTED}
_NAMED = 3  # columns in a sentence
_CLEAR = 20.0  # e-value of a column that is named: alone, it would be too large by chance in 5 % of the references


def percent(share: float) -> str:
    """Return a share in per cent, with at most two significant digits."""
    return f"{100 * share:.2g} %"


def life(rate: float) -> str:
    """Return the rate of an alarm that is raised once for a reference, in words."""
    return f"at most {percent(rate)} of the versions ever have a false one, however often one looks"


def year(rate: float) -> str:
    """Return the rate of an alarm of a year, in words."""
    return f"about {percent(rate)} of the years have a false one"


def overall(settings: Settings) -> str:
    """Return the false-alarm rates of the whole page: the sums over the kinds for a version, and for a year.

    The two are not added: a year has as many versions as the team puts into production.
    """
    versions = {"harm": settings.harm_rate, "drift": settings.drift_rate, "refused requests": refused.RATE}
    years = {"weekly tests": settings.weekly_rate, "silent days": volume.RATE}
    return (
        f"without a change, at most {_sum(versions)} of the versions ever have a false alarm ({_rates(versions)}), and "
        f"about {_sum(years)} of the years ({_rates(years)})"
    )


def _sum(rates: Mapping[str, float]) -> str:
    return percent(min(1.0, sum(rates.values())))


def _rates(rates: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {percent(rate)}" for name, rate in rates.items())


def raised(
    state: State,
    reference: Reference,
    day: Day,
    settings: Settings,
    *,
    harm: Harm,
    drift: Drift,
    completeness: Completeness,
    silence: Silence,
    weekly: Mapping[str, float],
) -> list[Alarm]:
    """Return the alarms of a day.

    Args:
        state: with the day; its ``raised`` and ``weekly_raised`` are those of the days before.
        reference: of the version.
        day: the day.
        settings: of the team.
        harm: of the day's report.
        drift: of the day's report.
        completeness: of the day's report.
        silence: what is said of the day's volume.
        weekly: p-values below the limit, if a week ended, of columns that were in no weekly alarm before.
    """
    found = []
    if harm.highest >= harm.threshold and HARM not in state.raised:
        found.append(_alarm(HARM, reference, day, _harm(harm, state), life(settings.harm_rate), e=harm.highest))
    if drift.highest >= drift.threshold and DRIFT not in state.raised:
        found.append(_alarm(DRIFT, reference, day, _drift(drift), life(settings.drift_rate), e=drift.highest))
    if (e := state.refused.wealth.highest[0]) >= 1 / refused.RATE and COMPLETENESS not in state.raised:
        text = (
            "More requests than before are refused: "
            f"{percent(completeness.rejected_share)} of those of the last 28 days."
        )
        found.append(_alarm(COMPLETENESS, reference, day, text, life(refused.RATE), e=e))
    if weekly:
        smallest = sorted(weekly, key=lambda name: (weekly[name], name))
        text = f"The records of the week until {day.date} differ from the training data in: {_listed(smallest)}."
        found.append(_alarm(WEEKLY, reference, day, text, year(settings.weekly_rate), p=weekly[smallest[0]]))
    if silence.alarm:
        text = _silence(day, silence)
        found.append(_alarm(SILENCE, reference, day, text, year(volume.RATE), usual=silence.expected))
    return found


def _alarm(kind: str, reference: Reference, day: Day, sentence: str, rate: str, **figures: float) -> Alarm:
    once = kind in (HARM, DRIFT, COMPLETENESS)
    key = f"{kind}:{reference.digest}" if once else f"{kind}:{reference.digest}:{day.date}"
    return Alarm(kind, key, day.date, reference.version, sentence, rate, figures)


def _harm(harm: Harm, state: State) -> str:
    outcomes, brier = recent.errors(state.recent)
    now = f"is {brier:.3f} over the {outcomes} outcomes of the last 28 days" if brier is not None else "is higher"
    return (
        f"The predictions are worse than at training: the mean squared error (Brier score) {now}, and was "
        f"{harm.reference_brier:.3f} at training."
    )


def _silence(day: Day, silence: Silence) -> str:
    weekday = _WEEKDAYS[day.date.weekday()]
    if silence.days == 1:
        return f"No record was predicted on {weekday}, {day.date}; usual for a {weekday} are {silence.expected:.3g}."
    return (
        f"No record was predicted on the {silence.days} days until {weekday}, {day.date}; usual for these days are "
        f"{silence.expected:.3g}."
    )


def _drift(drift: Drift) -> str:
    columns = sorted(drift.columns, key=lambda column: (-column.e, column.name))
    named = [one.name for one in columns if one.e >= _CLEAR] or [columns[0].name]
    return f"The patients differ from those of the training data, most in: {_listed(named)}."


def _listed(names: Sequence[str]) -> str:
    titles = [_TITLES[name] for name in names]
    more = len(titles) - _NAMED
    return ", ".join(titles[:_NAMED]) + (f" and {more} more" if more > 0 else "")
