"""The log of predictions: written beside the requests, kept while the database is away, and never in anybody's way."""

import json
import logging
import os
import re
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from serving.model.predict import Prediction
from serving.prediction_log import database as prediction_database
from serving.prediction_log import writer
from serving.prediction_log.writer import PredictionLog
from serving.settings import SettingError, Settings
from tests.running import ROOT
from tests.serving.fakes import RECORD, FakeRegistry, Service, make_bundle
from tests.serving.prediction_log.postgres import Postgres
from tests.serving.test_gunicorn import Run, ask, free_port, gunicorn, wait_until_ready
from tests.waiting import until

__all__ = ["gunicorn"]

NOWHERE = "postgresql://predictions:s3cret@127.0.0.1:1/predictions"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    made = Postgres(tmp_path_factory.mktemp("postgres") / "home")
    yield made
    made.remove()


@pytest.fixture
def postgres(server: Postgres) -> Postgres:
    server.start()
    server.clear()
    return server


class Logged(Service):
    """A service whose log is written when the test says so."""

    @property
    def log(self) -> PredictionLog:
        log: PredictionLog = self.app.extensions["prediction_log"]
        return log

    def predict(self, body: Any = RECORD, **headers: str) -> Any:
        response = self.client.post("/predict", json=body, headers=headers)
        assert response.status_code == 200
        return response.get_json()

    def tick(self) -> dict[str, Any]:
        self.log._next_try = self.log._next_adopt = 0
        self.log.tick()
        return self.describe()

    def describe(self) -> dict[str, Any]:
        state: dict[str, Any] = msgspec.to_builtins(self.log.describe())
        return state


Start = Callable[..., Logged]


@pytest.fixture
def start(settings: Settings, registry: FakeRegistry) -> Start:
    registry.register(make_bundle())

    def make(url: str, **changes: Any) -> Logged:
        service = Logged(msgspec.structs.replace(settings, prediction_log_url=url, **changes))
        service.poll()
        return service

    return make


def logged(postgres: Postgres) -> list[str]:
    return [found for (found,) in postgres.run("SELECT prediction_id::text FROM prediction ORDER BY answered")]


def spills(service: Logged) -> list[Path]:
    return list((Path(service.app.extensions["settings"].cache) / writer.FOLDER).glob("*"))


def test_an_answer_is_written_with_all_that_belongs_to_it(postgres: Postgres, start: Start) -> None:
    service = start(postgres.url)
    before = time.time()
    answer = service.predict({**RECORD, "ca": None}, **{"X-Request-ID": "visit-7"})
    assert service.log.describe().queued == 1

    state = service.tick()

    assert state == {
        "enabled": True,
        "queued": 0,
        "written": 1,
        "spilled": 0,
        "dropped": 0,
        "unavailable_since": None,
        "reason": None,
    }
    (row,) = postgres.run(
        "SELECT prediction_id::text, request_id, request_row, extract(epoch FROM answered), has_heart_disease,"
        " probability, imputed, features, name, version, alias, family, origin, snapshot, contract_version, run_id,"
        " source, trained_at FROM prediction JOIN model ON model.key = prediction.model_key"
    )
    assert row[:3] == (answer["prediction_id"], "visit-7", 0)
    assert before <= float(row[3]) <= time.time()
    assert row[4:8] == (answer["has_heart_disease"], answer["probability"], ["ca"], {**RECORD, "ca": None})
    assert row[8:15] == ("heart-disease", "1", "production", "logistic_regression", "sample", "5" * 64, "2.1.0")
    assert row[15:] == ("r1", None, None)


def test_a_list_keeps_its_order_under_one_request(postgres: Postgres, start: Start) -> None:
    service = start(postgres.url)
    answers = service.predict([RECORD, {"age": 30, "sex": 0}, RECORD], **{"X-Request-ID": "two words"})["predictions"]
    service.tick()
    rows = postgres.run("SELECT prediction_id::text, request_id, request_row FROM prediction ORDER BY request_row")
    ids = [answer["prediction_id"] for answer in answers]
    assert rows == [(found, ids[0], row) for row, found in enumerate(ids)]  # what is no plain id is not taken as one


def test_a_thread_writes_while_requests_go_on(postgres: Postgres, start: Start) -> None:
    service = start(postgres.url)
    service.log.start()
    ids = [service.predict()["prediction_id"] for _ in range(50)]
    service.log.stop()
    assert sorted(logged(postgres)) == sorted(ids)
    assert not any(thread.name == "prediction-log" for thread in threading.enumerate())


def test_more_than_one_batch_of_more_than_one_model(
    postgres: Postgres, start: Start, registry: FakeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "BATCH_RECORDS", 4)
    service = start(postgres.url)
    service.predict([RECORD] * 10)
    registry.register(make_bundle(1.0))
    service.poll()
    service.predict([RECORD] * 3)
    assert service.tick()["written"] == 13
    assert postgres.run(
        "SELECT version, count(*) FROM prediction JOIN model ON model.key = model_key GROUP BY 1 ORDER BY 1"
    ) == [("1", 10), ("2", 3)]


def test_away_from_the_start_and_back_later(postgres: Postgres, start: Start) -> None:
    postgres.stop()
    service = start(postgres.url)
    ids = [service.predict()["prediction_id"] for _ in range(3)]

    away = service.tick()
    assert (away["queued"], away["written"], away["spilled"], away["dropped"]) == (0, 0, 3, 0)
    assert "Connection refused" in away["reason"]
    assert away["unavailable_since"]
    (file,) = spills(service)
    assert (file.stat().st_mode & 0o777, file.parent.stat().st_mode & 0o777) == (0o600, 0o700)

    postgres.start()
    ids.append(service.predict()["prediction_id"])
    assert service.tick() == {**away, "written": 4, "spilled": 0, "unavailable_since": None, "reason": None}
    assert logged(postgres) == ids
    assert spills(service) == []


def test_away_in_the_middle(postgres: Postgres, start: Start) -> None:
    service = start(postgres.url)
    ids = [service.predict()["prediction_id"]]
    service.tick()
    postgres.stop(signal.SIGQUIT)
    for _ in range(3):  # the first of them meets a connection that looked good
        ids.append(service.predict()["prediction_id"])
        assert service.tick()["queued"] == 0
    assert service.log.describe().spilled == 3
    postgres.start()
    assert service.tick()["written"] == 4
    assert logged(postgres) == ids


def test_a_database_that_stands_still_holds_nothing_up(postgres: Postgres, start: Start) -> None:
    service = start(postgres.url)
    service.log._database.seconds = 0.3
    service.predict()
    service.tick()
    postgres.freeze()
    try:
        begun = time.monotonic()
        ids = [service.predict()["prediction_id"] for _ in range(2)]
        state = service.tick()
        assert time.monotonic() - begun < 60, "something waited for the database, which stands still until the end"
        assert (state["spilled"], state["reason"]) == (2, "no response within 0.3 seconds")
        assert service.tick()["reason"] == "no response within 0.3 seconds"  # a new connection
    finally:
        postgres.thaw()
    service.tick()
    assert set(ids) < set(logged(postgres))
    assert service.log.describe().written + 2 >= len(logged(postgres)) == 3


def test_what_was_written_before_the_answer_got_lost_is_not_written_twice(
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


def test_a_torn_line_is_noticed_and_the_others_arrive(
    postgres: Postgres, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    postgres.stop()
    service = start(postgres.url)
    first = service.predict()
    service.tick()
    service.predict([RECORD] * 5)
    service.tick()
    (file,) = spills(service)
    os.truncate(file, file.stat().st_size - 20)
    postgres.start()
    state = service.tick()
    assert (state["written"], state["dropped"], state["spilled"]) == (1, 5, 0)
    assert logged(postgres) == [first["prediction_id"]]


def test_a_changed_byte_is_noticed(postgres: Postgres, start: Start) -> None:
    postgres.stop()
    service = start(postgres.url)
    service.predict()
    service.tick()
    (file,) = spills(service)
    file.write_bytes(file.read_bytes().replace(b'"age":61', b'"age":16'))
    postgres.start()
    state = service.tick()
    assert (state["written"], state["dropped"]) == (0, 1)


def test_what_fits_nowhere_is_dropped_and_counted(
    start: Start, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(writer, "QUEUE_RECORDS", 5)
    service = start(NOWHERE, prediction_log_spill_bytes=1000)
    counted = writer.prometheus.LOG_DROPPED._value.get()
    service.predict([RECORD] * 8)  # alone, one request may have more than the queue
    service.predict()
    assert service.log.describe().dropped == 1
    with caplog.at_level(logging.ERROR):
        assert service.tick()["dropped"] == 9
    assert "8 predictions are not logged" in caplog.text
    assert "holds 0 of 1000 bytes" in caplog.text
    assert service.get("/readyz")["prediction_log"]["dropped"] == 9
    assert service.get("/model")["prediction_log"]["dropped"] == 9
    assert writer.prometheus.LOG_DROPPED._value.get() - counted == 9


def test_a_record_that_the_database_refuses_costs_no_other(
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


def test_workers_that_start_together_make_one_schema(postgres: Postgres) -> None:
    problems: list[Exception] = []

    def make() -> None:
        database = prediction_database.LogDatabase(postgres.url)
        try:
            database.open()
        except prediction_database.LogDatabaseError as error:
            problems.append(error)
        database.close()

    threads = [threading.Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    assert postgres.run("SELECT schema_version FROM prediction_log") == [(1,)]


def test_tables_of_a_newer_service_are_left_alone(postgres: Postgres, start: Start) -> None:
    prediction_database.LogDatabase(postgres.url).open()
    postgres.run("INSERT INTO prediction_log VALUES (99)")
    service = start(postgres.url)
    service.predict()
    state = service.tick()
    assert state["spilled"] == 1
    assert state["reason"] == "its tables have schema version 99; this service supports versions up to 1"


KILLED = """
import os, sys, time
import msgspec
from serving.settings import Settings
from tests.serving.prediction_log.test_writer import Logged

service = Logged(msgspec.json.decode(sys.argv[1], type=Settings)).poll()
answer = service.predict([{"age": 61, "sex": 1}] * 3)
service.tick()
print(" ".join(one["prediction_id"] for one in answer["predictions"]), flush=True)
time.sleep(600)
"""


def test_a_killed_worker_s_predictions_are_taken_over_once(postgres: Postgres, start: Start) -> None:
    # given
    services = [start(postgres.url), start(postgres.url)]
    postgres.stop()
    settings = msgspec.json.encode(services[0].app.extensions["settings"])
    path = os.pathsep.join([str(ROOT), str(ROOT / "include")])
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, settings],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": path},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    ids = process.stdout.readline().split()
    assert len(ids) == 3
    # when it lives, its file is its own
    assert [service.tick()["spilled"] for service in services] == [0, 0]
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    # then
    assert [service.tick()["spilled"] for service in services] == [3, 0]
    postgres.start()
    assert [service.tick()["written"] for service in reversed(services)] == [0, 3]
    assert sorted(logged(postgres)) == sorted(ids)
    assert spills(services[0]) == []


def test_what_waited_in_a_killed_worker_is_counted_as_dropped(start: Start) -> None:
    service = start(NOWHERE)
    service.log._number = 7
    service.predict([RECORD] * 3)
    service.log.worker_ended(7)
    assert service.log.describe().dropped == 3
    assert service.log.describe().queued == 0


def test_a_worker_that_ends_puts_aside_what_waits(start: Start) -> None:
    service = start(NOWHERE)
    service.log.start()
    service.predict([RECORD] * 3)
    service.log.stop()
    state = service.describe()
    assert (state["queued"], state["spilled"], state["dropped"]) == (0, 3, 0)
    again = start(NOWHERE)
    assert again.tick()["spilled"] == 3


def test_a_worker_that_ends_does_not_wait_for_a_database_that_stands_still(
    postgres: Postgres, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prediction_database, "STATEMENT_TIMEOUT_SECONDS", 600)
    service = start(postgres.url)
    service.log._database.seconds = 600
    service.predict()
    service.tick()
    postgres.freeze()
    try:
        service.log.start()
        service.predict([RECORD] * 2)
        until(lambda: not service.log._queue)  # it writes, and gets no answer
        assert service.log.describe().queued == 2
        service.predict([RECORD] * 3)
        begun = time.monotonic()
        service.log.stop()
        assert service.log._thread
        service.log._thread.join(300)
        assert time.monotonic() - begun < 300, "it waited for the database"
    finally:
        postgres.thaw()
    state = service.describe()
    assert (state["queued"], state["spilled"], state["dropped"]) == (0, 5, 0)


def test_switched_off_it_costs_and_says_nothing(start: Start) -> None:
    assert Settings.from_environment({"HEARTLINE_PREDICTION_LOG_URL": ""}).prediction_log_url == "off"
    service = start("off")
    service.log.start()
    service.predict()
    assert service.get("/readyz")["prediction_log"] == {"enabled": False}
    assert spills(service) == []
    service.log.stop()


def test_gunicorn_s_workers_write_down_what_they_answered(
    gunicorn: Run, postgres: Postgres, registry: FakeRegistry, tmp_path: Path
) -> None:
    # given two workers, and a database that is away
    registry.register(make_bundle())
    postgres.stop()
    port, log = free_port(), tmp_path / "log"
    url = f"http://127.0.0.1:{port}"
    settings = {
        "HEARTLINE_SERVICE_PORT": port,
        "HEARTLINE_SERVICE_WORKERS": 2,
        "HEARTLINE_MLFLOW_URL": registry.url,
        "HEARTLINE_PREDICTION_LOG_URL": postgres.url,
    }
    process = gunicorn(**settings)
    wait_until_ready(url, log)
    ids = [ask(f"{url}/predict", RECORD)["prediction_id"] for _ in range(20)]
    until(lambda: ask(f"{url}/readyz")["prediction_log"]["spilled"] == 20, passing=OSError)
    # when one of them is killed, and the database comes back
    os.kill(int(re.findall(r"Booting worker with pid: (\d+)", log.read_text())[0]), signal.SIGKILL)
    postgres.start()
    until(lambda: ask(f"{url}/readyz")["prediction_log"]["written"] == 20, passing=OSError)  # a worker starts
    # then nothing is left over, and what was answered last is written at the end
    assert sorted(logged(postgres)) == sorted(ids)
    assert ask(f"{url}/readyz")["prediction_log"]["dropped"] == 0
    ids.append(ask(f"{url}/predict", RECORD)["prediction_id"])
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 0
    assert sorted(logged(postgres)) == sorted(ids)
    assert list((tmp_path / "cache" / writer.FOLDER).iterdir()) == []
    assert postgres.password not in log.read_text()
    assert "Traceback" not in log.read_text()


def test_a_url_that_cannot_be_read_ends_the_service_with_one_message(gunicorn: Run, tmp_path: Path) -> None:
    process = gunicorn(HEARTLINE_PREDICTION_LOG_URL="postgresql://me:s3cret%zz@host/db")
    assert process.wait(timeout=60) == 1
    lines = (tmp_path / "log").read_text().splitlines()
    assert lines[:2] == ["the value cannot be parsed", "  where:    HEARTLINE_PREDICTION_LOG_URL"]
    assert len(lines) == 4


def test_the_password_is_nowhere(
    postgres: Postgres, start: Start, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = postgres.url.replace(postgres.password, "s3cret-but-wrong")
    with caplog.at_level(logging.DEBUG):
        service = start(wrong)
        answer = service.predict()
        state = service.tick()
        problem = service.client.get(f"/predictions/{uuid.uuid4()}")
    assert "password authentication failed" in state["reason"]
    said = caplog.text + json.dumps([state, answer, problem.get_json(force=True)]) + spills(service)[0].read_text()
    assert "s3cret" not in said


@pytest.mark.parametrize(
    "url",
    ["mysql://me:s3cret@host/db", "host=db password=s3cret", "postgresql://me:s3cret%zz@host/db", "postgresql://a b"],
)
def test_a_url_that_cannot_be_read_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(SettingError) as raised:
        prediction_database.check_url(
            Settings.from_environment({"HEARTLINE_PREDICTION_LOG_URL": url}).prediction_log_url
        )
    assert raised.value.where == "HEARTLINE_PREDICTION_LOG_URL"
    assert "s3cret" not in str(raised.value)
    assert "a b" not in str(raised.value)
