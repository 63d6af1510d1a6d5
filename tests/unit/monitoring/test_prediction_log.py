"""What arrived on a day is read in its order, with corrections and missing values, and in chunks."""

import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

import numpy as np
import psycopg2
import pytest

from heartline import contract
from heartline.errors import MonitoringError, MonitoringRefusedError
from heartline.monitoring import prediction_log
from heartline.monitoring.prediction_log import LoggedVersion, NewOutcome, PredictionLog, ServiceDay
from serving.problems import PROBLEMS
from tests.unit.monitoring.fakes import DIGEST, RECORD, Log, date, moment
from tests.waiting import until

OTHER = "e" * 64


def test_the_answers_of_a_day_in_the_order_of_their_arrival(log):
    late = log.predict(2, 0.25, hour=23)
    log.predict(1)
    log.predict(3, hour=0)
    early = log.predict(2, 0.75, hour=0, record={**RECORD, "ca": None, "age": 61})
    found = log.read.answers(DIGEST, date(2))
    assert list(found.ids) == [early, late]
    assert found.probabilities.tolist() == [0.75, 0.25]
    row = dict(zip(contract.FEATURE_NAMES, found.features[0], strict=True))
    assert row["age"] == 61
    assert np.isnan(row["ca"])
    assert found.features.shape == (2, 13)


def test_a_day_without_an_answer_has_arrays_of_their_widths(log):
    assert log.read.answers(DIGEST, date(1)).features.shape == (0, 13)
    found = log.read.outcomes(DIGEST, date(1))
    assert (found.outcomes.shape, found.features.shape) == ((0,), (0, 13))


def test_an_outcome_belongs_to_the_day_of_its_arrival_and_a_correction_names_what_it_replaces(log):
    one, two = log.predict(1, 0.1), log.predict(1, 0.9)
    log.observe(one, 3, True)
    log.observe(two, 3, True)
    log.observe(one, 5, False, revision=2)
    first, corrected = log.read.outcomes(DIGEST, date(3)), log.read.outcomes(DIGEST, date(5))
    assert (first.outcomes.tolist(), first.replaced.tolist()) == ([1, 1], [-1, -1])
    assert first.probabilities.tolist() == [0.1, 0.9]
    assert first.delays.tolist() == [2.0, 2.0]
    assert (corrected.outcomes.tolist(), corrected.replaced.tolist()) == ([0], [1])


def test_an_outcome_has_taken_the_time_until_it_arrived_whenever_it_was_observed(log):
    log.observe(log.predict(1), 5, True)
    log.postgres.run("UPDATE outcome SET observed_at = observed_at - interval '3 days'")
    assert log.read.outcomes(DIGEST, date(5)).delays.tolist() == [4.0]


@contextmanager
def meanwhile(log: Log, statement: str, *values: Any) -> Iterator[None]:
    """Hold a statement of another writer in an open transaction, and commit it when the block waits for it."""
    waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"
    with closing(psycopg2.connect(log.postgres.url)) as other, other.cursor() as cursor:
        cursor.execute(statement, values)

        def commit() -> None:
            try:
                until(lambda: log.postgres.run(waiting) == [(1,)])
            finally:
                other.commit()

        thread = threading.Thread(target=commit)
        thread.start()
        try:
            yield
        finally:
            thread.join()


def outcome(prediction_id: str, value: bool = True) -> NewOutcome:
    """Return an outcome of day 3."""
    return NewOutcome(prediction_id, value, None, moment(3), None)


@pytest.mark.parametrize(("posted", "added"), [(False, 2), (True, 1)])
def test_an_outcome_that_is_posted_at_the_same_time_stays_and_the_others_are_added(
    log: Log, posted: bool, added: int
) -> None:
    one, two = log.predict(1), log.predict(1)
    with meanwhile(log, "INSERT INTO outcome VALUES (%s, 1, %s, NULL, %s)", one, posted, moment(3)):
        assert log.read.add([outcome(one), outcome(two)]) == added
    later = [] if posted else [("01", 2, True, None, None)]
    assert log.outcomes() == [("01", 1, posted, None, None), *later, ("02", 1, True, None, None)]


def test_who_is_overtaken_can_try_again(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(overtaken: Callable[[], Any]) -> str:
        with pytest.raises(MonitoringError) as error:
            overtaken()
        assert not isinstance(error.value, MonitoringRefusedError), "a retry can succeed"
        return error.value.what

    one, two = log.predict(1), log.predict(1)
    with meanwhile(log, "DELETE FROM prediction WHERE prediction_id = %s", one):
        assert "another writer changed the same rows" in refused(lambda: log.read.add([outcome(one), outcome(two)]))
    assert log.outcomes() == []
    assert log.read.add([outcome(one), outcome(two)]) == 1
    monkeypatch.setattr(prediction_log, "_ADD_ATTEMPTS", 1)
    with meanwhile(log, "INSERT INTO outcome VALUES (%s, 2, false, NULL, %s)", two, moment(4)):
        assert "others add outcomes" in refused(lambda: log.read.add([outcome(two, False)]))


def test_the_versions_of_a_day_are_those_with_answers_or_outcomes(log):
    log.model("2", OTHER)
    log.observe(log.predict(1), 3, True)
    log.predict(3, digest=OTHER)
    assert log.read.versions(date(1)) == [LoggedVersion(DIGEST, "1")]
    assert log.read.versions(date(2)) == []
    assert log.read.versions(date(3)) == [LoggedVersion(DIGEST, "1"), LoggedVersion(OTHER, "2")]
    assert log.read.answers(OTHER, date(1)).ids == []
    assert log.read.first_day() == date(1)


def test_refused_requests_of_a_day_by_reason(log):
    log.postgres.run("INSERT INTO rejected VALUES ('2026-03-02', 'invalid-record', 7), ('2026-03-03', 'other', 1)")
    assert log.read.rejected(date(2)) == {"invalid-record": 7}


def test_a_day_of_the_whole_service_in_records_and_requests(log):
    log.model("2", OTHER)
    log.predict(2)
    log.postgres.run("UPDATE prediction SET request_row = 1 WHERE prediction_id = %s", log.predict(2))
    log.predict(2, digest=OTHER)
    log.predict(3)
    log.postgres.run("INSERT INTO rejected VALUES ('2026-03-02', 'invalid-record', 7), ('2026-03-02', 'not-ready', 1)")
    assert log.read.service(date(2)) == ServiceDay(records=3, requests=2, rejected={"invalid-record": 7})
    assert log.read.service(date(4)) == ServiceDay(0, 0, {})


def test_refusals_that_say_nothing_of_the_input_are_the_ones_of_access_and_of_the_service():
    expected = {slug for slug, one in PROBLEMS.items() if one.status in (401, 403) or one.status >= 500}
    assert set(prediction_log._NO_INPUT) == expected


def test_nothing_is_lost_between_two_chunks(log, monkeypatch):
    for number in range(50):
        log.predict(1, number / 100)
    whole = log.read.answers(DIGEST, date(1))
    monkeypatch.setattr(prediction_log, "_CHUNK_BYTES", 200)
    chunked = log.read.answers(DIGEST, date(1))
    assert list(chunked.ids) == list(whole.ids)
    assert (chunked.features == whole.features).all()
    assert chunked.probabilities.tolist() == whole.probabilities.tolist()


def test_a_database_that_is_away_and_a_log_without_tables_are_told_apart(log):
    with pytest.raises(MonitoringError) as away:
        PredictionLog("postgresql://predictions:s3cret@127.0.0.1:1/predictions").first_day()
    assert not isinstance(away.value, MonitoringRefusedError)
    assert "s3cret" not in str(away.value)
    log.postgres.run("DROP TABLE outcome CASCADE")
    with pytest.raises(MonitoringRefusedError, match="outcome"):
        log.read.outcomes(DIGEST, date(1))
    with pytest.raises(MonitoringRefusedError, match="HEARTLINE_PREDICTIONS_URL"):
        PredictionLog("").first_day()
