"""The database of the prediction log: schema, retention, refused data, invalid URLs."""

import threading
import time
import uuid
from typing import Any

import pytest

from serving.model.predict import Prediction
from serving.prediction_log import connection
from serving.prediction_log import database as prediction_database
from serving.settings import SettingError, Settings
from tests.postgres import Postgres
from tests.serving.fakes import RECORD
from tests.serving.prediction_log.service import Start, logged


def test_a_batch_that_was_written_without_a_confirmation_is_not_written_twice(
    postgres: Postgres, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = start(postgres.url)
    answer = service.predict()
    write = prediction_database.LogDatabase._write

    def written_and_lost(self: Any, batch: Any) -> int:
        write(self, batch)
        raise prediction_database.psycopg2.OperationalError("the connection broke")

    with monkeypatch.context() as broken:
        broken.setattr(prediction_database.LogDatabase, "_write", written_and_lost)
        assert service.tick()["spilled"] == 1
    state = service.tick()
    assert (state["spilled"], state["written"], state["dropped"]) == (0, 0, 0)
    assert logged(postgres) == [answer["prediction_id"]]


def test_a_record_that_the_database_refuses_is_the_only_one_dropped(
    postgres: Postgres, start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    service = start(postgres.url)
    served = service.store.status.served
    assert served
    good = [Prediction(str(uuid.uuid4()), True, 0.5, []) for _ in range(6)]
    bad = Prediction("no uuid", True, 0.5, [])
    service.log.add([*good[:2], bad, *good[2:]], [RECORD] * 7, served, None)
    state = service.tick()
    assert (state["written"], state["dropped"], state["queued"], state["spilled"]) == (6, 1, 0, 0)
    assert sorted(logged(postgres)) == sorted(one.prediction_id for one in good)


def test_old_predictions_are_deleted(postgres: Postgres, start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prediction_database, "EXPIRE_BATCH_ROWS", 2)
    service = start(postgres.url, prediction_log_days=30)
    service.predict([RECORD] * 8)
    service.tick()
    postgres.run("UPDATE prediction SET answered = now() - interval '31 days' WHERE request_row < 5")
    postgres.run("UPDATE prediction SET answered = now() - interval '29 days' WHERE request_row = 5")
    service.log._next_expire = 0
    service.tick()
    assert [row for (row,) in postgres.run("SELECT request_row FROM prediction ORDER BY 1")] == [5, 6, 7]
    assert service.log._next_expire > time.monotonic() + 3000


def test_with_0_days_nothing_is_deleted(postgres: Postgres, start: Start) -> None:
    service = start(postgres.url, prediction_log_days=0)
    service.predict()
    service.tick()
    postgres.run("UPDATE prediction SET answered = now() - interval '50 years'")
    service.log._next_expire = 0
    service.tick()
    assert len(logged(postgres)) == 1


def test_one_worker_at_a_time_deletes(postgres: Postgres, start: Start) -> None:
    service = start(postgres.url, prediction_log_days=30)
    service.predict()
    service.tick()
    postgres.run("UPDATE prediction SET answered = now() - interval '31 days'")
    other = prediction_database.LogDatabase(postgres.url)
    other.open()
    lock = prediction_database.LOCK + prediction_database.EXPIRE
    other._execute("SELECT pg_advisory_lock(%s)", lock)
    service.log._next_expire = 0
    service.tick()
    assert len(logged(postgres)) == 1
    other._execute("SELECT pg_advisory_unlock(%s)", lock)
    other.close()
    service.log._next_expire = 0
    service.tick()
    assert logged(postgres) == []


def test_workers_that_start_together_create_one_schema(postgres: Postgres) -> None:
    problems: list[Exception] = []

    def make() -> None:
        database = prediction_database.LogDatabase(postgres.url)
        try:
            database.open()
        except connection.DatabaseError as error:
            problems.append(error)
        database.close()

    threads = [threading.Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    assert postgres.run("SELECT schema_version FROM prediction_log ORDER BY 1") == [(1,), (2,)]


def test_tables_of_a_newer_service_are_not_changed(postgres: Postgres, start: Start) -> None:
    prediction_database.LogDatabase(postgres.url).open()
    postgres.run("INSERT INTO prediction_log VALUES (99)")
    service = start(postgres.url)
    service.predict()
    state = service.tick()
    assert state["spilled"] == 1
    assert state["reason"] == "its tables have schema version 99; this service supports versions up to 2"


@pytest.mark.parametrize(
    "url",
    ["mysql://me:s3cret@host/db", "host=db password=s3cret", "postgresql://me:s3cret%zz@host/db", "postgresql://a b"],
)
def test_an_invalid_url_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(SettingError) as raised:
        url = Settings.from_environment({"HEARTLINE_PREDICTION_LOG_URL": url}).prediction_log_url
        connection.check_url(url, "PREDICTION_LOG_URL", "prediction log")
    assert raised.value.where == "HEARTLINE_PREDICTION_LOG_URL"
    assert "s3cret" not in str(raised.value)
    assert "a b" not in str(raised.value)


def test_after_a_jump_of_the_clock_one_day_is_deleted_at_most_and_the_log_says_so(
    postgres: Postgres, start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    service = start(postgres.url, prediction_log_days=30)
    service.predict([RECORD] * 5)
    service.tick()
    postgres.run("UPDATE prediction SET answered = now() - (100 - request_row) * interval '1 day 1 hour'")

    for left in (4, 3):
        service.log._next_expire = 0
        service.tick()
        assert len(logged(postgres)) == left
        assert "older than 30 days" in caplog.text
        caplog.clear()


def test_nothing_is_deleted_while_the_clocks_differ(
    postgres: Postgres, start: Start, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = start(postgres.url, prediction_log_days=30)
    service.predict()
    service.tick()
    postgres.run("UPDATE prediction SET answered = now() - interval '31 days'")
    monkeypatch.setattr(prediction_database, "CLOCK_SECONDS", -1.0)
    service.log._next_expire = 0
    service.tick()

    assert len(logged(postgres)) == 1
    assert "the clocks of database and service are" in caplog.text
