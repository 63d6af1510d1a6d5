"""Days of a version, one after the other: what is counted, what raises an alarm and how often, and what is kept."""

import datetime
from dataclasses import replace

import numpy as np
import pytest

from heartline import contract
from heartline.errors import HandoverError
from heartline.monitoring import recent
from heartline.monitoring.advance import advance
from heartline.monitoring.inputs import Settings
from heartline.monitoring.report import Report
from heartline.monitoring.state import State
from tests import monitoring_example as example

SETTINGS = Settings()
REFERENCE = example.reference()


def live(days, state=None, reference=REFERENCE, settings=SETTINGS):
    """Return the states and reports after each of these days."""
    found = []
    for day in days:
        state, report = advance(state, reference, day, settings)
        found.append((state, report))
    return found


def alarms(found, kind=None):
    return [one for _, report in found for one in report.alarms if kind in (None, one.kind)]


def older(records, years=25):
    features = example.drawn(records, 77)[0]
    features[:, example.AGE] += years
    return features


@pytest.fixture(scope="module")
def quiet():
    return live(example.day(number) for number in range(35))


def test_quiet_days_raise_no_alarm(quiet):
    assert alarms(quiet) == []
    state, report = quiet[-1]
    assert (report.date, report.first) == (example.FIRST + datetime.timedelta(days=34), example.FIRST)
    assert (state.predictions, report.drift.counted, report.awaited.predictions) == (350, 350, 350)
    assert (report.version, report.digest, report.reference_records) == ("7", "d" * 64, 303)
    assert report.drift.threshold == report.harm.threshold == 100
    assert 0 < report.drift.e <= report.drift.highest < 10
    assert report.completeness.usual == 10
    assert report.shadow is None


def test_bars_are_shares_of_reference_and_last_days(quiet):
    for column in quiet[-1][1].drift.columns:
        assert len(column.labels) == len(column.reference) == len(column.recent)
        assert sum(column.reference) == pytest.approx(1)
        assert sum(column.recent) == pytest.approx(1)


def test_the_same_day_gives_the_same_bytes():
    state, report = live([example.day(0)])[0]
    again = advance(State.from_json(state.to_json()), REFERENCE, example.day(1), SETTINGS)
    direct = advance(state, REFERENCE, example.day(1), SETTINGS)
    for one, other in zip(again, direct, strict=True):
        assert one.to_json() == other.to_json()
    assert Report.from_json(report.to_json()).to_json() == report.to_json()


def test_the_order_of_arrival_is_all_that_counts():
    """Two days of five records have the e-values of one day of ten."""
    whole = example.day(0)
    half = [
        replace(
            whole,
            date=whole.date + datetime.timedelta(days=at),
            answers=replace(
                whole.answers,
                ids=whole.answers.ids[part],
                features=whole.answers.features[part],
                probabilities=whole.answers.probabilities[part],
            ),
        )
        for at, part in enumerate((slice(0, 5), slice(5, 10)))
    ]
    one, two = live([whole])[-1][0], live(half)[-1][0]
    assert one.drift.present == pytest.approx(two.drift.present)
    assert one.counts == two.counts


def test_a_state_keeps_no_record_and_does_not_grow(quiet):
    sizes = [len(state.to_json()) for state, _ in quiet[recent.DAYS - 1 :]]
    many = live([example.day(35, records=2000)], quiet[-1][0])[-1][0]
    assert max(sizes) < 1.2 * min(sizes)  # on a Sunday the week is empty
    assert len(many.to_json()) < 1.2 * max(sizes)
    assert b"35-1999" not in many.to_json()


def test_other_patients_are_found_once():
    found = live(example.day(number, features=older(10) if number >= 30 else None) for number in range(60))
    (alarm,) = alarms(found, "drift")
    assert datetime.timedelta(days=30) <= alarm.date - example.FIRST <= datetime.timedelta(days=44)
    assert alarm.key == f"drift:{'d' * 64}"
    assert alarm.sentence == "The patients differ from those of the training data, most in: Age."
    assert "1 %" in alarm.rate
    assert found[-1][1].drift.highest >= 100
    assert alarms(found, "harm") == []


def test_the_weekly_test_is_on_sundays_and_names_a_column_once():
    found = live(example.day(number, features=older(10)) for number in range(28))
    with_p = [report.date for _, report in found if report.date.weekday() == 6]
    assert [report.drift.columns[example.AGE].weekly_p is not None for _, report in found[:7]] == [False] * 6 + [True]
    ages = [one for one in alarms(found, "weekly") if "Age" in one.sentence]
    assert [one.date for one in ages] == with_p[:1]
    assert ages[0].key == f"weekly:{'d' * 64}:{with_p[0]}"


def test_a_field_that_is_missing_is_found():
    def without(number):
        features = example.drawn(10, 500 + number)[0]
        features[:, example.CA] = np.nan
        return features

    found = live(example.day(number, features=without(number)) for number in range(14))
    assert alarms(found, "drift")
    column = found[-1][1].drift.columns[example.CA]
    assert (column.missing_recent, column.e) == (1.0, 1.0)  # nothing is bet on what is missing
    assert found[-1][1].completeness.imputed == 1.0
    assert found[-1][1].completeness.imputed_reference < 0.1


def _outcomes(number, n=20, flipped=0.0, **others):
    _, probabilities, labels = example.drawn(n, 9000 + number)
    wrong = np.random.default_rng(number).random(n) < flipped
    return example.outcomes(np.where(wrong, 1 - labels, labels), probabilities, **others)


def day_outcomes(date: datetime.date):
    number = (date - example.FIRST).days
    return _outcomes(number, flipped=0.3 * (number >= 10))


def test_harm_is_found_once_and_not_without_it():
    right = live(example.day(number, outcomes=_outcomes(number)) for number in range(30))
    assert alarms(right) == []
    found = live(example.day(number, outcomes=_outcomes(number, flipped=0.3 * (number >= 10))) for number in range(60))
    (alarm,) = alarms(found, "harm")
    assert datetime.timedelta(days=10) < alarm.date - example.FIRST < datetime.timedelta(days=40)
    report = found[-1][1]
    assert report.harm.counted == 60 * 20
    assert report.harm.reference_brier == pytest.approx(
        ((REFERENCE.probabilities - REFERENCE.labels) ** 2).mean(), abs=1e-12
    )
    assert report.harm.groups[0].count == 1200
    assert f"{report.harm.reference_brier:.3f} at training" in alarm.sentence
    # the sentence has the errors of the last days: those of all days are small where the change is recent
    last = [one for one in found if one[1].date <= alarm.date][-recent.DAYS :]
    recently = [day_outcomes(one[1].date) for one in last]
    errors = np.concatenate([(one.probabilities - one.outcomes) ** 2 for one in recently])
    assert f"{errors.mean():.3f} over the {len(errors)} outcomes" in alarm.sentence


def test_a_correction_changes_the_figures_and_no_bet():
    first = _outcomes(0)
    wrong = replace(first, outcomes=1 - first.outcomes)
    corrected = replace(first, replaced=1 - first.outcomes)
    state, _ = live([example.day(0, outcomes=wrong)])[0]
    after, report = live([example.day(1, outcomes=corrected)], state)[0]
    assert after.harm == state.harm
    assert (report.awaited.outcomes, report.awaited.corrected, report.harm.counted) == (20, 20, 20)
    assert report.harm.groups[0].brier.value == pytest.approx(
        ((first.probabilities - first.outcomes) ** 2).mean(), abs=1e-12
    )
    assert report.awaited.median_delay == 3


def test_a_revision_that_says_the_same_is_no_correction():
    first = _outcomes(0)
    again = replace(first, replaced=first.outcomes.copy())
    again.replaced[:3] = 1 - again.replaced[:3]
    report = live([example.day(0, outcomes=first), example.day(1, outcomes=again)])[-1][1]
    assert report.awaited.corrected == 3


def test_the_score_of_the_last_days_is_beside_that_of_the_whole_life():
    days = [_outcomes(number, flipped=0.5 * (number >= 10)) for number in range(10 + recent.DAYS)]
    found = live(example.day(number, records=0, outcomes=one) for number, one in enumerate(days))
    harm = found[-1][1].harm
    last = days[-recent.DAYS :]
    errors = np.concatenate([(one.probabilities - one.outcomes) ** 2 for one in last])
    assert (harm.recent_outcomes, harm.groups[0].count) == (20 * recent.DAYS, 20 * len(days))
    assert harm.recent_brier == pytest.approx(errors.mean())
    assert harm.recent_brier > harm.groups[0].brier.value
    none = live([example.day(0)])[0][1].harm
    assert (none.recent_brier, none.recent_outcomes) == (None, 0)


def test_the_error_of_the_references_score():
    losses = (REFERENCE.probabilities - REFERENCE.labels) ** 2
    wanted = losses.std(ddof=1) / np.sqrt(len(losses))
    assert live([example.day(0)])[0][1].harm.reference_error == pytest.approx(wanted)
    gone = replace(REFERENCE, probabilities=np.full(len(losses), np.nan), brier=0.2)
    assert live([example.day(0)], reference=gone)[0][1].harm.reference_error is None


def test_the_settings_of_the_first_day_are_those_of_the_versions_life():
    state, first = live([example.day(0)])[0]
    other = Settings(margin=0.5, harm_rate=0.5, drift_rate=0.5, weekly_rate=0.5)
    report = live([example.day(1)], state, settings=other)[0][1]
    assert (report.harm.margin, report.harm.threshold) == (first.harm.margin, first.harm.threshold) == (0.02, 100)
    assert (report.drift.threshold, report.drift.weekly_limit) == (100, first.drift.weekly_limit)
    assert report.rate == first.rate


def test_awaited_outcomes_are_counted_by_risk():
    day = example.day(0, records=4)
    day = replace(day, answers=replace(day.answers, probabilities=np.array([0.1, 0.15, 0.5, 1.0])))
    given = example.outcomes(np.array([1]), np.array([1.0]), delays=np.array([0.9]))
    report = live([replace(day, outcomes=given)])[0][1]
    assert [(one.predictions, one.outcomes) for one in report.awaited.bands] == [(2, 0), (0, 0), (1, 0), (0, 0), (1, 1)]
    assert (report.awaited.bands[0].low, report.awaited.bands[-1].high) == (0, 1)
    assert report.awaited.median_delay == 0


def test_shares_of_less_than_five_records_are_not_shown():
    def shown(records):
        report = live([example.day(0, records=records, features=np.full((records, 13), np.nan))])[0][1]
        figures = [share for one in report.drift.columns for share in (*one.recent, one.missing_recent)]
        return any(figures), report.completeness.imputed

    assert shown(4) == (False, 0)
    assert shown(5) == (True, 1)
    hidden, none = (live([example.day(0, records=count)])[0][1].drift.columns for count in (4, 0))
    assert {len(one.recent) for one in hidden} == {0}
    assert [len(one.recent) for one in none] == [len(one.labels) for one in none]  # nothing is hidden


def test_the_estimate_without_outcomes_is_of_the_last_days():
    sure = example.day(40)
    days = [example.day(number) for number in range(2)]
    found = live(days)
    assert found[-1][1].harm.estimated["predictions"] == 20
    state = found[-1][0]
    for number in range(2, 2 + recent.DAYS):
        day = replace(sure, date=example.FIRST + datetime.timedelta(days=number))
        day = replace(day, answers=replace(day.answers, probabilities=np.full(10, 0.9)))
        state, report = advance(state, REFERENCE, day, SETTINGS)
    assert report.harm.estimated["brier"] == pytest.approx(0.09)


def test_the_shadow_starts_again_with_another_candidate():
    def one(number, candidate, **others):
        given = _outcomes(number, candidate=np.full(20, 0.5)) if candidate else _outcomes(number)
        return example.day(number, candidate=candidate, outcomes=given, **others)

    found = live([one(0, ""), one(1, "8"), one(2, "8"), one(3, "9"), one(4, "")])
    shadows = [report.shadow for _, report in found]
    assert [one and (one.version, one.answered, one.outcomes) for one in shadows] == [
        None, ("8", 10, 20), ("8", 20, 40), ("9", 10, 20), None,
    ]  # fmt: skip
    assert shadows[1].threshold == 20


def test_a_day_on_which_the_candidate_cannot_be_asked_keeps_the_comparison():
    given = _outcomes(0, candidate=np.full(20, 0.5))
    away = replace(example.day(1, outcomes=_outcomes(1)), candidate_version="8")
    found = live([example.day(0, candidate="8", outcomes=given), away, example.day(2, candidate="8")])
    assert [(one.shadow.answered, one.shadow.outcomes) for _, one in found] == [(10, 20), (10, 20), (20, 20)]
    other = live([replace(away, candidate_version="9")], found[0][0])[0][1]
    assert other.shadow is None


def test_a_correction_is_no_second_outcome_of_the_shadow():
    given = _outcomes(0, candidate=np.full(20, 0.5))
    twice = replace(given, replaced=given.outcomes)
    found = live([example.day(0, candidate="8", outcomes=given), example.day(1, candidate="8", outcomes=twice)])
    assert found[1][1].shadow.outcomes == 20


def test_days_without_anything_are_days():
    found = live(example.day(number, records=0) for number in range(15))
    assert alarms(found) == []
    report = found[-1][1]
    assert (report.completeness.records, report.completeness.imputed, report.completeness.rejected_share) == (0, 0, 0)
    assert report.harm.estimated == {}
    assert report.harm.groups[0].count == 0
    assert report.awaited.median_delay is None
    assert Report.from_json(report.to_json()).to_json() == report.to_json()


def test_a_silent_day_is_an_alarm(quiet):
    (alarm,) = alarms(live([example.day(35, records=0)], live([example.day(n) for n in range(35)])[-1][0]), "silence")
    assert alarm.key == f"silence:{'d' * 64}:2026-04-06"
    assert "Monday" in alarm.sentence


def test_refused_requests_are_an_alarm():
    found = live(example.day(number, rejected={"invalid-record": 30} if number >= 28 else {}) for number in range(45))
    (alarm,) = alarms(found, "completeness")
    assert alarm.key == f"completeness:{'d' * 64}"
    assert found[-1][1].completeness.rejected == {"invalid-record": 30}
    assert found[-1][1].completeness.rejected_share == pytest.approx(17 * 30 / (17 * 30 + 280))


def test_refused_requests_are_compared_with_requests_and_not_with_records():
    day = example.day(0, records=2, rejected={"invalid-record": 2}, requests=2)
    report = live([replace(day, records=300)])[0][1]
    assert report.completeness.rejected_share == pytest.approx(0.5)
    assert report.completeness.records == 300


def test_a_version_that_is_replaced_raises_no_alarm_and_its_page_has_the_figures():
    """Refused requests of the whole service, late outcomes that are wrong, other patients, no record of its own."""
    found = live([example.day(number) for number in range(28)])
    worse = [
        example.day(
            number,
            features=older(10),
            outcomes=_outcomes(number, flipped=0.5),
            rejected={"invalid-record": 500},
            in_production=False,
        )
        for number in range(28, 90)
    ]
    replaced = live(worse, found[-1][0])
    assert alarms(replaced) == []
    state, report = replaced[-1]
    assert report.harm.highest >= report.harm.threshold
    assert report.drift.highest >= report.drift.threshold
    assert (report.completeness.rejected, report.completeness.rejected_share) == ({}, 0)
    assert (state.volume, state.refused) == (found[-1][0].volume, found[-1][0].refused)
    # it comes back: what is true of it is said then
    (back,) = live([example.day(90)], state)
    assert {"harm", "drift"} <= {one.kind for one in back[1].alarms}


def test_a_new_version_continues_the_volume_and_the_refused_requests_of_the_service():
    first = live([example.day(number) for number in range(56)])[-1][0]
    other = replace(REFERENCE, digest="e" * 64, version="8")
    silent = example.day(56, records=0)
    state, report = advance(None, other, silent, SETTINGS, first)
    assert [one.kind for one in report.alarms] == ["silence"]
    assert report.completeness.usual == 10
    assert state.refused.days == first.refused.days
    assert (state.predictions, state.first) == (0, silent.date)
    assert alarms(live([silent], reference=other)) == []


def test_an_outage_of_several_days_names_them():
    found = live(example.day(number, records=2 if number < 84 else 0) for number in range(95))
    (alarm,) = alarms(found, "silence")
    assert alarm.date - example.FIRST == datetime.timedelta(days=88)
    assert alarm.sentence.startswith("No record was predicted on the 5 days until Friday, 2026-05-29; usual")
    assert alarm.figures == {"usual": 10}


def test_the_volume_is_that_of_the_whole_service():
    """A version that answers to nothing on the day of its promotion is not silent: the one before it answered."""
    found = live([example.day(number) for number in range(56)])
    day = example.day(56, records=0)
    assert alarms(live([replace(day, records=10, requests=10)], found[-1][0])) == []
    assert alarms(live([replace(day, records=0, requests=0)], found[-1][0]), "silence")


def test_the_rates_of_versions_and_of_years_are_not_added():
    report = live([example.day(0)])[0][1]
    assert report.rate == (
        "without a change, at most 3 % of the versions ever have a false alarm (harm 1 %, drift 1 %, refused requests "
        "1 %), and about 10 % of the years (weekly tests 5 %, silent days 5 %)"
    )
    stricter = live([example.day(0)], settings=Settings(harm_rate=0.001, weekly_rate=0.01))[0][1]
    assert (stricter.harm.threshold, stricter.drift.weekly_limit) == (1000, pytest.approx(0.01 / 27 / 53))


@pytest.mark.parametrize("number", [0, 2])
def test_days_are_in_order(number):
    state, _ = live([example.day(0)])[0]
    with pytest.raises(HandoverError) as caught:
        advance(state, REFERENCE, example.day(number), SETTINGS)
    assert caught.value.where == f"the monitoring of the day {example.day(number).date} of the version {'d' * 12}"


def test_a_state_of_another_version_is_refused():
    state, _ = live([example.day(0)])[0]
    with pytest.raises(HandoverError):
        advance(state, replace(REFERENCE, digest="e" * 64), example.day(1), SETTINGS)


def test_a_column_without_any_value_is_no_obstacle():
    features = REFERENCE.features.copy()
    features[:, example.CA] = np.nan
    reference = replace(REFERENCE, features=features)
    day = example.day(0)
    assert not np.isnan(day.answers.features[:, example.CA]).all()
    report = live([day], reference=reference)[0][1]
    assert report.drift.columns[example.CA].reference == [0.0] * 4
    assert {column.name for column in report.drift.columns} >= set(contract.FEATURE_NAMES)


@pytest.mark.slow
def test_a_million_records_in_a_day_take_time_in_proportion():
    """CPU seconds of 1,000,000 records, in those of 100,000 of the same run: growth exponent at most 1.1."""
    import time

    features, probabilities, _ = example.drawn(10_000, 3)
    spent = {}
    for n in (100_000, 1_000_000):
        rows = np.resize(np.arange(10_000), n)
        day = example.day(0)
        answers = replace(
            day.answers,
            ids=[str(one) for one in range(n)],
            features=features[rows],
            probabilities=probabilities[rows],
        )
        start = time.process_time()
        advance(None, REFERENCE, replace(day, answers=answers), SETTINGS)
        spent[n] = time.process_time() - start
    assert np.log10(spent[1_000_000] / spent[100_000]) <= 1.1
