"""The prediction log: written asynchronously, kept on disk while the database is unreachable, never blocking."""

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
from pathlib import Path
from unittest.mock import ANY

import msgspec
import pytest

from serving.prediction_log import connection, writer
from serving.settings import Settings
from tests.postgres import Postgres
from tests.running import ROOT
from tests.serving.fakes import RECORD, FakeRegistry, make_bundle
from tests.serving.prediction_log.service import NO_DATABASE, Start, logged, spills
from tests.serving.test_gunicorn import Run, ask, free_port, gunicorn, wait_until_ready
from tests.waiting import until

__all__ = ["gunicorn"]


def test_a_prediction_is_written_with_record_and_model(postgres: Postgres, start: Start) -> None:
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
        "counted_since": ANY,
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
    assert rows == [(found, ids[0], row) for row, found in enumerate(ids)]  # an invalid X-Request-ID is ignored


def test_a_thread_writes_while_requests_are_answered(postgres: Postgres, start: Start) -> None:
    service = start(postgres.url)
    service.log.start()
    ids = [service.predict()["prediction_id"] for _ in range(50)]
    service.log.stop()
    assert sorted(logged(postgres)) == sorted(ids)
    assert not any(thread.name == "prediction-log" for thread in threading.enumerate())


def test_several_batches_of_several_models(
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


def test_the_database_is_unreachable_from_the_start_and_reachable_later(postgres: Postgres, start: Start) -> None:
    postgres.stop()
    service = start(postgres.url)
    ids = [service.predict()["prediction_id"] for _ in range(3)]

    unreachable = service.tick()
    assert (unreachable["queued"], unreachable["written"], unreachable["spilled"], unreachable["dropped"]) == (
        0,
        0,
        3,
        0,
    )
    assert "Connection refused" in unreachable["reason"]
    assert unreachable["unavailable_since"]
    (file,) = spills(service)
    assert (file.stat().st_mode & 0o777, file.parent.stat().st_mode & 0o777) == (0o600, 0o700)

    postgres.start()
    ids.append(service.predict()["prediction_id"])
    assert service.tick() == {**unreachable, "written": 4, "spilled": 0, "unavailable_since": None, "reason": None}
    assert logged(postgres) == ids
    assert spills(service) == []


def test_the_database_is_unreachable_for_a_while(postgres: Postgres, start: Start) -> None:
    service = start(postgres.url)
    ids = [service.predict()["prediction_id"]]
    service.tick()
    postgres.stop(signal.SIGQUIT)
    for _ in range(3):  # the first one uses a connection that is closed already
        ids.append(service.predict()["prediction_id"])
        assert service.tick()["queued"] == 0
    assert service.log.describe().spilled == 3
    postgres.start()
    assert service.tick()["written"] == 4
    assert logged(postgres) == ids


def test_a_database_that_hangs_delays_nothing(postgres: Postgres, start: Start) -> None:
    service = start(postgres.url)
    service.log._database.seconds = 0.3
    service.predict()
    service.tick()
    postgres.freeze()
    try:
        start_time = time.monotonic()
        ids = [service.predict()["prediction_id"] for _ in range(2)]
        state = service.tick()
        assert time.monotonic() - start_time < 60, "something waited for the database, which hangs until the end"
        assert (state["spilled"], state["reason"]) == (2, "no response within 0.3 seconds")
        assert service.tick()["reason"] == "no response within 0.3 seconds"  # a new connection
    finally:
        postgres.thaw()
    service.tick()
    assert set(ids) < set(logged(postgres))
    assert service.log.describe().written + 2 >= len(logged(postgres)) == 3


def test_a_truncated_line_is_dropped_and_the_others_are_written(
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


def test_a_changed_line_is_dropped(postgres: Postgres, start: Start) -> None:
    postgres.stop()
    service = start(postgres.url)
    service.predict()
    service.tick()
    (file,) = spills(service)
    file.write_bytes(file.read_bytes().replace(b'"age":61', b'"age":16'))
    postgres.start()
    state = service.tick()
    assert (state["written"], state["dropped"]) == (0, 1)


def test_predictions_beyond_queue_and_disk_are_dropped_and_counted(
    start: Start, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(writer, "QUEUE_RECORDS", 5)
    service = start(NO_DATABASE, prediction_log_spill_bytes=1000)
    counted = writer.prometheus.LOG_DROPPED._value.get()
    service.predict([RECORD] * 8)  # a single request may have more records than the queue
    service.predict()
    assert service.log.describe().dropped == 1
    with caplog.at_level(logging.ERROR):
        assert service.tick()["dropped"] == 9
    assert "8 predictions are not logged" in caplog.text
    assert "holds 0 of 1000 bytes" in caplog.text
    assert service.get("/readyz")["prediction_log"]["dropped"] == 9
    assert service.get("/model")["prediction_log"]["dropped"] == 9
    assert writer.prometheus.LOG_DROPPED._value.get() - counted == 9


KILLED = """
import os, sys, time
import msgspec
from serving.settings import Settings
from tests.serving.prediction_log.service import Logged

service = Logged(msgspec.json.decode(sys.argv[1], type=Settings)).poll()
answer = service.predict([{"age": 61, "sex": 1}] * 3)
service.tick()
print(" ".join(one["prediction_id"] for one in answer["predictions"]), flush=True)
time.sleep(600)
"""


def test_the_spill_file_of_a_killed_worker_is_adopted_once(postgres: Postgres, start: Start) -> None:
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
    # while it runs, it owns its file
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


def test_the_queue_of_a_killed_worker_is_counted_as_dropped(start: Start) -> None:
    service = start(NO_DATABASE)
    service.log._number = 7
    service.predict([RECORD] * 3)
    service.log.worker_ended(7)
    assert service.log.describe().dropped == 3
    assert service.log.describe().queued == 0


def test_a_worker_that_stops_writes_its_queue_to_disk(start: Start) -> None:
    service = start(NO_DATABASE)
    service.log.start()
    service.predict([RECORD] * 3)
    service.log.stop()
    state = service.describe()
    assert (state["queued"], state["spilled"], state["dropped"]) == (0, 3, 0)
    again = start(NO_DATABASE)
    assert again.tick()["spilled"] == 3


def test_a_worker_that_stops_does_not_wait_for_a_database_that_hangs(
    postgres: Postgres, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "STATEMENT_TIMEOUT_SECONDS", 600)
    service = start(postgres.url)
    service.log._database.seconds = 600
    service.predict()
    service.tick()
    postgres.freeze()
    try:
        service.log.start()
        service.predict([RECORD] * 2)
        until(lambda: not service.log._queue)  # it has written and waits for a response
        assert service.log.describe().queued == 2
        service.predict([RECORD] * 3)
        start_time = time.monotonic()
        service.log.stop()
        assert service.log._thread
        service.log._thread.join(300)
        assert time.monotonic() - start_time < 300, "it waited for the database"
    finally:
        postgres.thaw()
    state = service.describe()
    assert (state["queued"], state["spilled"], state["dropped"]) == (0, 5, 0)


def test_a_log_that_is_switched_off_does_nothing(start: Start) -> None:
    assert Settings.from_environment({"HEARTLINE_PREDICTION_LOG_URL": ""}).prediction_log_url == "off"
    service = start("off")
    service.log.start()
    service.predict()
    assert service.get("/readyz")["prediction_log"] == {"enabled": False}
    assert spills(service) == []
    service.log.stop()


def test_the_workers_of_gunicorn_log_all_predictions(
    gunicorn: Run, postgres: Postgres, registry: FakeRegistry, tmp_path: Path
) -> None:
    # given two workers and an unreachable database
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
    # when one of them is killed and the database is reachable again
    os.kill(int(re.findall(r"Booting worker with pid: (\d+)", log.read_text())[0]), signal.SIGKILL)
    postgres.start()
    until(lambda: ask(f"{url}/readyz")["prediction_log"]["written"] == 20, passing=OSError)  # a worker starts
    # then no file is left, and the last predictions are written when the service stops
    assert sorted(logged(postgres)) == sorted(ids)
    assert ask(f"{url}/readyz")["prediction_log"]["dropped"] == 0
    ids.append(ask(f"{url}/predict", RECORD)["prediction_id"])
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 0
    assert sorted(logged(postgres)) == sorted(ids)
    assert list((tmp_path / "cache" / writer.FOLDER).iterdir()) == []
    assert postgres.password not in log.read_text()
    assert "Traceback" not in log.read_text()


def test_an_invalid_url_stops_the_service_with_one_message(gunicorn: Run, tmp_path: Path) -> None:
    process = gunicorn(HEARTLINE_PREDICTION_LOG_URL="postgresql://me:s3cret%zz@host/db")
    assert process.wait(timeout=60) == 1
    lines = (tmp_path / "log").read_text().splitlines()
    assert lines[:2] == ["the value cannot be parsed", "  where:    HEARTLINE_PREDICTION_LOG_URL"]
    assert len(lines) == 4


def test_the_password_is_never_logged_or_returned(
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
