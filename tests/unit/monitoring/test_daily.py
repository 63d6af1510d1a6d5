"""Days: missing ones first and in order, twice, late, killed anywhere: the same state and the same alarms."""

import datetime
from collections.abc import Callable

import numpy as np
import pytest

from heartline.errors import MonitoringError, ParameterError
from heartline.ledger import store as ledger
from heartline.ledger.entry import Entry
from heartline.monitoring import alarm_entries, daily, references
from heartline.monitoring.daily import History, Monitor
from heartline.monitoring.inputs import Reference, Settings
from heartline.monitoring.references import NoReferenceError
from heartline.monitoring.store import Store
from heartline.pipeline import monitor as tasks
from heartline.registry import mlflow_registry
from tests.unit.monitoring.fakes import DIGEST, RECORD, Counted, Log, advance, date, moment, stored

OTHER = "e" * 64


class Killed(BaseException):
    """The task's process ends."""


@pytest.fixture(autouse=True)
def registry(monkeypatch, reference):
    """References and a registry without an alias ``staging``."""

    def of(version: str, digest: str) -> Reference:
        if version == "9":
            raise NoReferenceError("version 9 was deleted", where="w", expected="e", hint="h")
        return Reference(version, digest, "s", reference.features, reference.probabilities, reference.labels)

    monkeypatch.setattr(references, "of", of)
    monkeypatch.setattr(mlflow_registry, "aliased", lambda alias: None)


@pytest.fixture
def run(monitoring: Store, log: Log) -> Callable[..., list[datetime.date]]:
    """Return a function that computes the days until one."""

    def run(until: int | None = None, now: int = 30, compute=advance) -> list[datetime.date]:
        monitor = Monitor(monitoring, log.read, Settings(), compute, Counted.from_json)
        return monitor.run(None if until is None else date(until), moment(now))

    return run


def filled(log: Log) -> None:
    """Fill ten days: two records a day, one outcome three days later; harm on day 6."""
    for day in range(1, 11):
        first = log.predict(day, 0.95 if day == 6 else 0.3)
        log.predict(day, 0.95 if day == 6 else 0.4)
        log.observe(first, day + 3, True)


def alarms(
    store: Store, run: str = "r", runs: int = 0, told: list[int] | None = None, problems: tuple = ()
) -> tasks.Alarmed:
    heard = [] if told is None else told
    return tasks.alarms(
        {"day": str(date(10))},
        run=run,
        tell=lambda alarm, entry: heard.append(entry) or problems,
        started=lambda: runs,
        store=store,
    )


def test_missing_days_come_first_and_a_day_twice_changes_nothing(run, monitoring, log):
    filled(log)
    assert run(4) == [date(1), date(2), date(3), date(4)]
    once = stored(monitoring)
    assert run(4) == []
    assert run(2) == []
    assert stored(monitoring) == once
    assert run(6) == [date(5), date(6)]
    assert Counted.from_json(stored(monitoring)[-1][2].encode()).seen == [
        "01: 2 0", "02: 2 0", "03: 2 0", "04: 2 1", "05: 2 1", "06: 2 1 harm",
    ]  # fmt: skip


def test_without_a_day_it_is_the_last_that_has_ended(run, log):
    log.predict(1)
    assert daily.last_ended(moment(3, 0)) == date(1)  # what began before midnight may not have ended
    assert daily.last_ended(moment(3, 1)) == date(2)
    assert run(now=3) == [date(1), date(2)]
    with pytest.raises(ParameterError, match="has not ended"):
        run(3, now=3)


def test_killed_anywhere_late_or_day_by_day_the_states_and_alarms_are_the_same(run, monitoring, log, ledger_database):
    filled(log)
    run(12)
    alarms(monitoring)
    expected = stored(monitoring)
    raised = [(one.alarm.kind, one.alarm.date) for one in alarm_entries.open_alarms()]
    assert raised == [("harm", date(6))]

    def dying(at: int, where: str):
        count = 0

        def compute(*arguments):
            nonlocal count
            count += 1
            if count == at and where == "before":
                raise Killed
            found = advance(*arguments)
            if count == at:
                raise Killed
            return found

        return compute

    for where in ("before", "after"):
        for at in (1, 3, 6, 12):
            ledger_database.administer(
                "DROP SCHEMA monitoring CASCADE", "CREATE SCHEMA monitoring AUTHORIZATION monitoring"
            )
            ledger_database.empty_ledger()
            with pytest.raises(Killed):
                run(12, compute=dying(at, where))
            run(7) if at < 7 else None
            run(12)
            alarms(monitoring)
            alarms(monitoring)
            assert stored(monitoring) == expected
            assert [(one.alarm.kind, one.alarm.date) for one in alarm_entries.open_alarms()] == raised


@pytest.mark.parametrize("step", ["raised", "done", "complete", "save"])
def test_killed_between_two_writes(run, monitoring, log, monkeypatch, step):
    filled(log)
    told: list[int] = []
    with monkeypatch.context() as patch:
        patch.setattr(Store, step, lambda *given, **more: (_ for _ in ()).throw(Killed))
        with pytest.raises(Killed):
            run(12)
            alarms(monitoring, told=told)
    run(12)
    found = alarms(monitoring, told=told)
    assert found["assets"]["harm"]["day"] == "2026-03-06"
    assert len(alarm_entries.open_alarms()) == 1
    assert set(told) == {alarm_entries.open_alarms()[0].number}
    again = alarms(monitoring, told=told)
    assert again["raised"] == []
    assert again["assets"] == {}
    assert Counted.from_json(stored(monitoring)[-1][2].encode()).seen[5] == "06: 2 1 harm"


def test_an_alarm_that_could_not_be_sent_is_told_by_the_next_run(run, monitoring, log):
    filled(log)
    run(10)
    told: list[int] = []
    found = alarms(monitoring, told=told, problems=("the mail server is away",))
    assert found["note"] == "Since 6 March 2026 version 1 is worse than at its training"
    alarms(monitoring, told=told)
    alarms(monitoring, told=told)
    assert told == [alarm_entries.open_alarms()[0].number] * 2


def promoted(version: str, digest: str) -> datetime.datetime:
    """Put a version into production, and return when the ledger says it was: its clock is the present one."""
    ledger.append("registered", by="r", version=version, facts={"digest": digest, "winner": True}, key=f"r {version}")
    return ledger.append("moved", by="ada", version=version, facts={"alias": "production", "to": version}).at


def test_only_the_version_in_production_raises_alarms_and_counts_the_service(run, monitoring, log):
    log.model("2", OTHER)
    first, bad = log.predict(1, 0.3), log.predict(1, 0.95)
    at = promoted("2", OTHER)
    today = at.date()
    log.postgres.run("UPDATE prediction SET logged = %s", at - datetime.timedelta(days=1))
    log.postgres.run("UPDATE prediction SET logged = %s WHERE prediction_id = %s", at, bad)  # by the replaced version
    log.postgres.run(
        "INSERT INTO outcome VALUES (%s, 1, true, NULL, %s, %s)", first, at, at + datetime.timedelta(days=1)
    )
    monitor = Monitor(monitoring, log.read, Settings(), advance, Counted.from_json)
    monitor.run(today + datetime.timedelta(days=1), at + datetime.timedelta(days=4))
    found = {(one.version, (one.date - today).days): [a.kind for a in one.alarms] for one in monitoring.reports()}
    assert found == {("1", -1): [], ("1", 0): [], ("2", 0): [], ("1", 1): [], ("2", 1): ["silence"]}
    states = {digest: Counted.from_json(state).seen for digest, _, state, _ in stored(monitoring) if state}
    assert [one[4:] for one in states[DIGEST]] == ["1 0", "1 0 harm replaced", "0 1 replaced"]
    assert [one[:5] for one in states[OTHER]] == [
        "after",
        f"{today:%d}: 0"[:5],
        f"{today + datetime.timedelta(1):%d}: 0"[:5],
    ]


def test_the_service_is_counted_once_and_in_requests(run, monitoring, log):
    """One request of three records and one of another version; refused ones of that day."""
    log.model("2", OTHER)
    log.predict(1)
    for row in (1, 2):
        log.postgres.run("UPDATE prediction SET request_row = %s WHERE prediction_id = %s", row, log.predict(1))
    log.predict(1, digest=OTHER)
    log.postgres.run("INSERT INTO rejected VALUES ('2026-03-01', 'invalid-record', 7), ('2026-03-01', 'forbidden', 9)")
    given = []

    def compute(state, reference, day, *others):
        given.append((reference.version, day.records, day.requests, dict(day.rejected), day.in_production))
        return advance(state, reference, day, *others)

    run(1, compute=compute)
    service = (4, 2, {"invalid-record": 7})
    assert given == [("1", *service, False), ("2", *service, True)]  # the ledger names none: it is the last version


def test_a_version_without_a_reference_is_left_out_and_the_day_says_so(run, monitoring, log):
    log.model("9", OTHER)
    log.predict(1)
    log.predict(1, digest=OTHER)
    run(1)
    assert [one.version for one in monitoring.reports()] == ["1"]
    assert monitoring.notes(date(1)) == ["version 9 is not monitored: version 9 was deleted"]


def test_days_on_which_a_version_neither_answered_nor_was_in_production_are_counted_without_a_report(
    run, monitoring, log
):
    first = log.predict(1)
    log.observe(first, 5, True)
    run(5)
    assert [(one.date, [a.kind for a in one.alarms]) for one in monitoring.reports()] == [(date(1), []), (date(5), [])]
    days = ["01: 1 0", "02: 0 0 replaced", "03: 0 0 replaced", "04: 0 0 replaced", "05: 0 1 replaced"]
    assert Counted.from_json(stored(monitoring)[-1][2].encode()).seen == days


def test_before_the_service_has_tables_no_day_is_computed(run, monitoring, log):
    log.postgres.run("DROP TABLE outcome CASCADE")
    assert run(3) == []
    assert monitoring.completed() is None


def test_the_candidate_answers_to_the_records_of_production(run, monitoring, log, monkeypatch):
    class Shadow:
        version = "2"

        def answers(self, features):
            return np.full(len(features), 0.5)

    monkeypatch.setattr(daily.Candidate, "fetch", lambda version: Shadow())
    registered(monkeypatch, date(1) - datetime.timedelta(days=1))
    log.predict(1)
    run(1)
    assert Counted.from_json(stored(monitoring)[0][2].encode()).seen == ["01: 1 0 2"]


def registered(monkeypatch: pytest.MonkeyPatch, day: datetime.date) -> None:
    """Let the ledger say that version 2 was registered at the noon of a day."""
    at = datetime.datetime.combine(day, datetime.time(12), datetime.UTC)
    facts = {"winner": True, "digest": OTHER}
    entry = Entry(1, at, "registered", "2", "r", facts, "w", None, "", "", "")
    monkeypatch.setattr(History, "read", classmethod(lambda cls: History([entry])))


def test_only_predictions_after_the_candidates_registration_are_compared(run, monitoring, log, monkeypatch):
    class Shadow:
        version = "2"

        def answers(self, features):
            return features[:, 0] / 100

    def predict(day, age, hour=12):
        return log.predict(day, hour=hour, record={**RECORD, "age": age})

    monkeypatch.setattr(daily.Candidate, "fetch", lambda version: Shadow())
    registered(monkeypatch, date(2))
    for one in (predict(1, 31), predict(2, 32, hour=10), predict(2, 33, hour=14), predict(3, 34)):
        log.observe(one, 5, True)
    given = {}

    def compute(state, reference, day, *others):
        given[day.date] = day
        return advance(state, reference, day, *others)

    run(5, compute=compute)
    assert given[date(1)].answers.candidate is None
    np.testing.assert_array_equal(given[date(2)].answers.candidate, [np.nan, np.nan])
    np.testing.assert_array_equal(given[date(3)].answers.candidate, [0.34])
    compared = given[date(5)].outcomes.candidate
    np.testing.assert_array_equal(compared[:2], [np.nan, np.nan])  # of before it was registered
    assert compared[3] == 0.34
    assert given[date(5)].candidate_version == "2"


def test_a_candidate_that_cannot_be_asked_is_named_and_so_is_one_of_unknown_age(run, monitoring, log, monkeypatch):
    def gone(version):
        raise ParameterError("there is none", where="w", expected="e", hint="h")

    monkeypatch.setattr(daily.Candidate, "fetch", gone)
    given = []

    def compute(state, reference, day, *others):
        given.append((day.candidate_version, day.answers.candidate))
        return advance(state, reference, day, *others)

    log.predict(1)
    log.predict(2)
    with monkeypatch.context() as patch:
        patch.setattr(mlflow_registry, "aliased", lambda alias: mlflow_registry.Version("2", {}))
        run(1, compute=compute)
    registered(monkeypatch, date(1))
    run(2, compute=compute)
    assert given == [("2", None)] * 2
    first, second = (" ".join(one.notes) for one in monitoring.reports())
    assert "version 2, is not compared" in first
    assert "version 2, cannot be asked" in second


def test_the_net_starts_one_run_for_an_alarm_that_has_started_none(run, monitoring, log):
    filled(log)
    run(7)
    found = alarms(monitoring, runs=5)
    (number,) = found["raised"]
    assert tasks.net(found, started=lambda: 5, store=monitoring) == []  # its event has just been emitted
    next_day = alarms(monitoring, runs=5)
    assert tasks.net(next_day, started=lambda: 6, store=monitoring) == []
    for _ in range(2):  # the id is the same, so that Airflow starts one
        assert tasks.net(next_day, started=lambda: 5, store=monitoring) == [f"harm__{number}"]
    alarm_entries.acknowledge(number, "the outcomes were wrong", by="ada")
    assert tasks.net(next_day, started=lambda: 5, store=monitoring) == []


def test_a_team_that_cannot_be_told_does_not_stop_the_net(run, monitoring, log):
    filled(log)
    run(7)
    away = ("the mail server is away",)
    (number,) = alarms(monitoring, runs=5, problems=away)["emitted"]
    for _ in range(2):
        again = alarms(monitoring, runs=5, problems=away)
        assert (again["raised"], again["emitted"]) == ([number], [])
        assert tasks.net(again, started=lambda: 5, store=monitoring) == [f"harm__{number}"]


def test_the_note_is_about_the_version_in_production(run, monitoring, log):
    log.model("2", OTHER)
    log.predict(1)
    log.predict(1)
    log.predict(1, digest=OTHER)
    run(1)
    monitored = {"day": str(date(1))}

    def note() -> str:
        return tasks.alarms(monitored, run="r", tell=lambda *_: (), started=lambda: 0, store=monitoring)["note"]

    assert "version 1" in note()  # it has more predictions
    ledger.append("moved", by="ada", version="2", facts={"alias": "production", "to": "2"})
    assert "version 2" in note()


def test_the_days_before_a_database_went_away_are_stored(run, monitoring, log, monkeypatch):
    filled(log)
    read = log.read.rejected

    def rejected(day):
        if day == date(4):
            raise MonitoringError("away", where="w", expected="e", hint="h")
        return read(day)

    monkeypatch.setattr(log.read, "rejected", rejected)
    with pytest.raises(MonitoringError):
        run(6)
    assert monitoring.completed() == date(3)


def test_the_digest_in_the_log_is_what_is_monitored(run, monitoring, log):
    log.predict(1)
    run(1)
    assert [one.digest for one in monitoring.reports()] == [DIGEST]
