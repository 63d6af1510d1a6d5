"""Schema version 2: made from version 1 while a worker of version 1 still runs, and from nothing."""

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import psycopg2
import pytest

from serving.prediction_log import database as prediction_database
from serving.prediction_log.connection import DatabaseError
from serving.prediction_log.database import LogDatabase
from serving.prediction_log.entries import Batch, LoggedModel, Part
from tests.postgres import Postgres
from tests.serving.prediction_log.service import Start

MODEL = LoggedModel(
    name="heart-disease",
    version="1",
    alias="production",
    family="logistic_regression",
    origin="sample",
    snapshot="5" * 64,
    contract_version="2.1.0",
    bundle="b" * 64,
    run_id=None,
    source=None,
    trained_at=None,
).keyed()
ANSWERED = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)
FIRST, SECOND, THIRD = (f"00000000-0000-4000-8000-00000000000{digit}" for digit in "123")


def batch(prediction_id: str, answered: datetime = ANSWERED) -> Batch:
    return Batch.of(MODEL, [Part("r", answered, 0, [prediction_id], [True], [0.5], [[]], [{"age": 61}])])


@pytest.fixture
def old(postgres: Postgres, monkeypatch: pytest.MonkeyPatch) -> Iterator[LogDatabase]:
    """The connection of a worker of version 1, which has made its tables and written a prediction."""
    with monkeypatch.context() as before:
        before.setattr(prediction_database, "SCHEMA", prediction_database.SCHEMA[:1])
        before.setattr(prediction_database, "_GRANT", "SELECT 1")
        database = LogDatabase(postgres.url)
        assert database.write(batch(FIRST)) == 1
    yield database
    database.close()


@pytest.fixture
def new(postgres: Postgres) -> Iterator[LogDatabase]:
    database = LogDatabase(postgres.url)
    yield database
    database.close()


def test_a_prediction_of_before_has_the_time_of_its_answer(
    postgres: Postgres, old: LogDatabase, new: LogDatabase
) -> None:
    new.open()
    assert postgres.run("SELECT max(schema_version) FROM prediction_log") == [(2,)]
    assert postgres.run("SELECT prediction_id::text, logged FROM prediction") == [(FIRST, ANSWERED)]


def test_a_worker_of_version_1_still_writes_after_the_change(
    postgres: Postgres, old: LogDatabase, new: LogDatabase
) -> None:
    before = datetime.now(UTC) - timedelta(minutes=1)
    new.open()
    assert old.write(batch(SECOND)) == 1
    assert new.write(batch(THIRD)) == 1
    rows = postgres.run("SELECT prediction_id::text, logged > %s FROM prediction ORDER BY 1", before)
    assert rows == [(FIRST, False), (SECOND, True), (THIRD, True)]
    assert new.find(SECOND) is not None


def test_a_worker_of_version_1_that_reconnects_keeps_its_predictions_on_disk(
    postgres: Postgres, start: Start, new: LogDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    new.open()
    with monkeypatch.context() as before:
        before.setattr(prediction_database, "SCHEMA", prediction_database.SCHEMA[:1])
        service = start(postgres.url)
        answer = service.predict()
        state = service.tick()
        assert (state["spilled"], state["dropped"]) == (1, 0)
    assert service.tick()["written"] == 1
    assert postgres.run("SELECT prediction_id::text FROM prediction") == [(answer["prediction_id"],)]


def test_a_worker_that_writes_meanwhile_waits_and_loses_nothing(
    postgres: Postgres, old: LogDatabase, new: LogDatabase
) -> None:
    """The change waits for a transaction in progress, and a worker of version 1 for the change."""
    reader = psycopg2.connect(postgres.url)
    with reader.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM prediction")  # holds its lock until the end of the transaction
    written: list[int] = []
    changing = threading.Thread(target=new.open)
    changing.start()
    writing = threading.Thread(target=lambda: written.append(old.write(batch(SECOND))))
    writing.start()
    reader.close()
    changing.join(60)
    writing.join(60)
    assert written == [1]
    assert postgres.run("SELECT count(*) FROM prediction WHERE logged IS NOT NULL") == [(2,)]


def test_a_change_that_fails_leaves_version_1(
    postgres: Postgres, old: LogDatabase, new: LogDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(prediction_database, "_GRANT", "SELECT 1/0")
        with pytest.raises((DatabaseError, ValueError)):
            new.open()
    assert postgres.run("SELECT schema_version FROM prediction_log") == [(1,)]
    new.open()
    assert postgres.run("SELECT max(schema_version) FROM prediction_log") == [(2,)]


@pytest.mark.parametrize(
    "values",
    [
        "0, true, NULL",  # a revision counts from 1
        "1, true, 0",
        "1, false, 1",
        "1, true, 5",
        "1, false, -1",
    ],
)
def test_an_outcome_that_contradicts_itself_is_refused_by_the_table(
    postgres: Postgres, new: LogDatabase, values: str
) -> None:
    new.write(batch(FIRST))
    with pytest.raises(psycopg2.errors.CheckViolation):
        postgres.run(
            "INSERT INTO outcome (prediction_id, revision, outcome, num, observed_at)"
            f" SELECT prediction_id, {values}, now() FROM prediction"
        )


def test_the_outcomes_of_a_prediction_go_with_it(postgres: Postgres, new: LogDatabase) -> None:
    new.write(batch(FIRST, datetime(2020, 1, 1, tzinfo=UTC)))
    postgres.run(
        "INSERT INTO outcome (prediction_id, revision, outcome, observed_at)"
        " SELECT prediction_id, 1, true, now() FROM prediction"
    )
    assert new.expire(30) == 1
    assert postgres.run("SELECT count(*) FROM outcome") == [(0,)]


def test_a_time_that_python_does_not_have_is_refused_by_the_table(postgres: Postgres) -> None:
    LogDatabase(postgres.url).open()
    with pytest.raises(psycopg2.errors.CheckViolation):
        postgres.run("INSERT INTO outcome VALUES (gen_random_uuid(), 1, true, NULL, '0001-12-31 BC')")
