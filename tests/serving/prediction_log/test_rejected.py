"""Refused requests are counted by day and reason, in the background."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.postgres import Postgres
from tests.serving.fakes import RECORD
from tests.serving.gunicorns import WORKERS, Gunicorn
from tests.serving.prediction_log.service import Start
from tests.serving.trained import bundle

COUNTS = "SELECT reason, count FROM rejected ORDER BY reason"


def test_refused_predictions_are_counted_by_reason_and_no_other_requests(postgres: Postgres, start: Start) -> None:
    service = start(postgres.url)
    for body in ({"age": 999, "sex": 1}, {**RECORD, "x": 1}, [RECORD] * 101):
        service.client.post("/predict", json=body)
    service.client.post("/predict", data=b"{", content_type="application/json")
    service.client.post("/predict", json=RECORD)
    service.client.get("/predict")
    service.client.get("/nothing")
    service.client.post("/outcomes", json={})
    service.tick()
    assert postgres.run(COUNTS) == [("content-too-large", 1), ("invalid-record", 2), ("malformed-json", 1)]
    assert postgres.run("SELECT DISTINCT day FROM rejected")[0][0] in {datetime.now(UTC).date()}
    service.client.post("/predict", json={})
    service.tick()
    service.tick()
    assert dict(postgres.run(COUNTS))["invalid-record"] == 3


def test_they_are_kept_in_memory_while_the_database_is_away(postgres: Postgres, start: Start) -> None:
    service = start(postgres.url)
    postgres.stop()
    service.client.post("/predict", json={})
    service.tick()
    postgres.start()
    service.client.post("/predict", json={})
    service.tick()
    assert postgres.run(COUNTS) == [("invalid-record", 2)]


def test_they_are_written_when_the_worker_stops(
    postgres: Postgres, start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    service = start(postgres.url)
    service.log.start()
    service.client.post("/predict", json={})
    service.log.stop()
    assert postgres.run(COUNTS) == [("invalid-record", 1)]
    postgres.stop()
    again = start(postgres.url)
    again.log.start()
    again.client.post("/predict", json={})
    again.log.stop()
    assert "1 refused requests are not counted" in caplog.text


def test_a_log_that_is_switched_off_counts_nothing(start: Start) -> None:
    service = start("off")
    assert service.client.post("/predict", json={}).status_code == 422
    assert not service.log._rejected


@pytest.mark.parametrize("worker", WORKERS)
def test_both_workers_count(postgres: Postgres, tmp_path: Path, worker: str) -> None:
    folder = tmp_path / "bundle"
    folder.mkdir()
    for name, data in bundle("logistic_regression").items():
        (folder / name).write_bytes(data)
    service = Gunicorn(
        tmp_path,
        HEARTLINE_WORKER=worker,
        HEARTLINE_BUNDLE=folder,
        HEARTLINE_MAX_BODY_BYTES=2000,
        HEARTLINE_PREDICTION_LOG_URL=postgres.url,
    )
    service.wait_until_it_answers()
    try:
        for body, status in (({"age": 999}, 422), ([7], 422), ("x" * 3000, 413)):
            assert service.ask("/predict", body)[0] == status
    finally:
        service.stop()
    assert postgres.run(COUNTS) == [("content-too-large", 1), ("invalid-record", 2)]
