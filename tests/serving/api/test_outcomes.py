"""POST /outcomes: late, repeated, corrected, unknown and invalid outcomes, and what is stored of them."""

import gzip
import json
import threading
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from serving.api.examples import csv_of
from serving.prediction_log import writer
from serving.prediction_log.writer import PredictionLog
from serving.settings import Settings
from tests.postgres import Postgres
from tests.serving.api.test_auth import line
from tests.serving.api.test_openapi import assert_as_documented
from tests.serving.fakes import RECORD, FakeRegistry, Service, make_bundle

NOWHERE = "postgresql://predictions:s3cret@127.0.0.1:1/predictions"
OBSERVED = "2026-03-02T09:30:00+01:00"
Start = Callable[..., Service]


@pytest.fixture
def start(settings: Settings, registry: FakeRegistry) -> Start:
    registry.register(make_bundle())
    return lambda url, **more: Service(msgspec.structs.replace(settings, prediction_log_url=url, **more)).poll()


def log_of(service: Service) -> PredictionLog:
    log: PredictionLog = service.app.extensions["prediction_log"]
    return log


def tick(service: Service) -> None:
    log = log_of(service)
    log._next_try = log._next_adopt = 0
    log.tick()


def predicted(service: Service, count: int = 1) -> list[str]:
    """Return the ids of predictions that are in the database."""
    answer = service.client.post("/predict", json=[RECORD] * count).get_json()
    tick(service)
    return [one["prediction_id"] for one in answer["predictions"]]


def sent(prediction_id: str, outcome: int = 1, **more: Any) -> dict[str, Any]:
    return {"prediction_id": prediction_id, "outcome": outcome, "observed_at": OBSERVED, **more}


def post(service: Service, body: Any, **how: Any) -> tuple[int, Any]:
    response = service.client.post("/outcomes", json=body, **how)
    return response.status_code, json.loads(response.data)


def results(answer: Any) -> list[str]:
    return [one["result"] for one in answer["results"]]


def test_an_outcome_is_stored_and_shown_with_its_prediction(postgres: Postgres, start: Start) -> None:
    service = start(postgres.url)
    (known,) = predicted(service)
    assert service.get(f"/predictions/{known}")["outcomes"] == []
    before = datetime.now(UTC) - timedelta(minutes=1)
    status, answer = post(service, sent(known, num=3, source="angiography"))
    assert (status, answer) == (
        200,
        {"results": [{"row": 0, "result": "accepted", "prediction_id": known, "revision": 1}]},
    )
    (shown,) = service.get(f"/predictions/{known}")["outcomes"]
    assert datetime.fromisoformat(shown.pop("observed_at")) == datetime.fromisoformat(OBSERVED)
    assert datetime.fromisoformat(shown.pop("received")) > before
    assert shown == {"revision": 1, "outcome": 1, "num": 3, "source": "angiography", "last": True}


def test_a_repeated_one_changes_nothing_and_a_corrected_one_is_a_new_revision(postgres: Postgres, start: Start) -> None:
    service = start(postgres.url)
    (known,) = predicted(service)
    assert results(post(service, sent(known))[1]) == ["accepted"]
    again = sent(known, observed_at="2026-03-02T08:30:00Z")  # the same time
    assert post(service, again) == (
        200,
        {"results": [{"row": 0, "result": "repeated", "prediction_id": known, "revision": 1}]},
    )
    assert results(post(service, [sent(known, 0), sent(known, 0), sent(known)])[1]) == [
        "corrected",
        "repeated",
        "corrected",
    ]
    shown = service.get(f"/predictions/{known}")["outcomes"]
    assert [(one["revision"], one["outcome"], one["last"]) for one in shown] == [
        (1, 1, False),
        (2, 0, False),
        (3, 1, True),
    ]


def test_an_unknown_id_is_404_and_the_others_are_stored(postgres: Postgres, start: Start) -> None:
    service = start(postgres.url)
    first, second = predicted(service, 2)
    stranger = str(uuid.uuid4())
    status, answer = post(service, [sent(first), sent(stranger), sent(second, 0)])
    assert status == 404
    assert answer["type"] == "urn:heartline:problem:unknown-prediction"
    assert answer["detail"] == "of 3 outcomes: 2 accepted, 1 unknown"
    assert answer["results"][1] == {"row": 1, "result": "unknown", "prediction_id": stranger}
    assert results(answer) == ["accepted", "unknown", "accepted"]
    assert postgres.run("SELECT count(*) FROM outcome") == [(2,)]
    assert post(service, sent(stranger))[0] == 404


def test_an_invalid_one_is_named_and_the_others_are_stored(postgres: Postgres, start: Start) -> None:
    service = start(postgres.url)
    (known,) = predicted(service)
    future = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    status, answer = post(service, [sent(known), sent(known, 0, num=2), sent(known, observed_at=future), 7])
    assert status == 422
    assert answer["type"] == "urn:heartline:problem:invalid-outcome"
    assert results(answer) == ["accepted", "invalid", "invalid", "invalid"]
    assert [(one.get("field"), one["reason"]) for one in answer["results"][1:]] == [
        ("num", "num 2 means outcome 1, and outcome is 0"),
        ("observed_at", "the time is in the future"),
        ("", "an outcome is an object"),
    ]
    assert [error["pointer"] for error in answer["errors"]] == ["/1/num", "/2/observed_at", "/3"]
    assert postgres.run("SELECT count(*) FROM outcome") == [(1,)]


def test_a_request_with_unknown_and_invalid_ones_is_404_with_both(postgres: Postgres, start: Start) -> None:
    service = start(postgres.url)
    (known,) = predicted(service)
    status, answer = post(service, [sent(str(uuid.uuid4())), sent("7"), sent(known)])
    assert (status, results(answer)) == (404, ["unknown", "invalid", "accepted"])
    assert [error["pointer"] for error in answer["errors"]] == ["/1/prediction_id"]


def test_csv_and_gzip_are_read_as_in_predict(postgres: Postgres, start: Start) -> None:
    service = start(postgres.url)
    first, second = predicted(service, 2)
    table = "observed_at, prediction_id,num,outcome,source\n"
    # pandas writes whole numbers so in a column with a missing one
    table += f"{OBSERVED},{first},2.0,,clinic a\n{OBSERVED},{second},,0,\n{OBSERVED},{second},x,0,\n"
    response = service.client.post(
        "/outcomes",
        data=gzip.compress(table.encode()),
        headers={"Content-Type": "text/csv; charset=utf-8", "Content-Encoding": "gzip"},
    )
    answer = json.loads(response.data)
    assert (response.status_code, results(answer)) == (422, ["accepted", "accepted", "invalid"])
    assert answer["errors"][0]["detail"] == "the value is not allowed (line 4)"
    assert postgres.run("SELECT outcome, num, source FROM outcome ORDER BY outcome DESC") == [
        (True, 2, "clinic a"),
        (False, None, None),
    ]
    compressed = gzip.compress(json.dumps([sent(first, num=2)]).encode())
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    assert results(service.client.post("/outcomes", data=compressed, headers=headers).get_json()) == ["corrected"]


@pytest.mark.parametrize(
    ("body", "media_type", "status", "slug"),
    [
        (b"{", "application/json", 400, "malformed-json"),
        (b'{"num": 1, "num": 2}', "application/json", 400, "malformed-json"),
        (b"[]", "application/json", 422, "invalid-outcome"),
        (b"x", "text/plain", 415, "unsupported-media-type"),
        (b"", "text/csv", 400, "malformed-csv"),
        (b"prediction_id,outcome\n", "text/csv", 422, "invalid-outcome"),
        (b"prediction_id,age\n1,2\n", "text/csv", 400, "malformed-csv"),
        (b"prediction_id,num\n1\n", "text/csv", 400, "malformed-csv"),
        (json.dumps([sent("7")] * 101).encode(), "application/json", 413, "content-too-large"),
        (csv_of([sent("7")] * 101).encode(), "text/csv", 413, "content-too-large"),
        (b" " * 20_001, "application/json", 413, "content-too-large"),
    ],
)
def test_a_body_that_cannot_be_read_is_refused(
    start: Start, body: bytes, media_type: str, status: int, slug: str
) -> None:
    service = start(NOWHERE)
    response = service.client.post("/outcomes", data=body, content_type=media_type)
    assert (response.status_code, json.loads(response.data)["type"]) == (status, f"urn:heartline:problem:{slug}")
    assert_as_documented(service.get("/openapi.json"), "/outcomes", response, "post")


def test_every_status_is_as_documented(postgres: Postgres, start: Start) -> None:
    service = start(postgres.url)
    (known,) = predicted(service)
    api = service.get("/openapi.json")
    for body, status in ((sent(known), 200), ([sent(str(uuid.uuid4()))], 404), (sent(known, 3), 422)):
        response = service.client.post("/outcomes", json=body)
        assert response.status_code == status
        assert_as_documented(api, "/outcomes", response, "post")
    assert_as_documented(api, "/predictions/{prediction_id}", service.client.get(f"/predictions/{known}"))
    refused = start("off").client.post("/outcomes", json=sent(known))
    assert refused.status_code == 503
    assert_as_documented(api, "/outcomes", refused, "post")


def test_without_a_log_or_its_database_nothing_is_accepted(postgres: Postgres, start: Start) -> None:
    for url, reason in (("off", "is switched off"), (NOWHERE, "is unreachable: Connection refused")):
        status, answer = post(start(url), sent(str(uuid.uuid4())))
        assert (status, answer["type"]) == (503, "urn:heartline:problem:log-unavailable")
        assert reason in answer["detail"]
        assert "s3cret" not in json.dumps(answer)
    service = start(postgres.url)
    (known,) = predicted(service)
    postgres.stop()
    assert post(service, sent(known))[0] == 503
    postgres.start()
    tick(service)
    assert results(post(service, sent(known))[1]) == ["accepted"]


def test_an_outcome_needs_no_model(postgres: Postgres, start: Start, settings: Settings, tmp_path: Path) -> None:
    (known,) = predicted(start(postgres.url))
    other = msgspec.structs.replace(settings, prediction_log_url=postgres.url, cache=str(tmp_path / "empty"))
    assert post(Service(other), sent(known))[0] == 200


def test_an_outcome_waits_for_its_prediction(postgres: Postgres, start: Start) -> None:
    """A prediction is in the database half a second after its response."""
    service = start(postgres.url)
    log_of(service).start()
    known = service.client.post("/predict", json=RECORD).get_json()["prediction_id"]
    assert post(service, sent(known))[0] == 200
    log_of(service).stop()


def test_an_outcome_of_a_prediction_that_is_not_written_yet_is_503_and_none_is_stored(
    postgres: Postgres, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "ARRIVAL_SECONDS", 0.2)
    service = start(postgres.url)
    (known,) = predicted(service)
    queued = service.client.post("/predict", json=RECORD).get_json()["prediction_id"]
    status, answer = post(service, [sent(known), sent(queued)])
    assert status == 503
    assert "1 of the predictions are not written to it yet" in answer["detail"]
    postgres.stop()
    tick(service)  # now it is on disk
    assert log_of(service).describe().spilled == 1
    postgres.start()
    log_of(service)._unavailable = None
    assert post(service, [sent(known), sent(queued)])[0] == 503
    assert postgres.run("SELECT count(*) FROM outcome") == [(0,)]
    tick(service)
    assert results(post(service, [sent(known), sent(queued)])[1]) == ["accepted", "accepted"]


def test_the_same_outcome_from_several_clients_is_stored_once(postgres: Postgres, start: Start) -> None:
    service = start(postgres.url)
    known = predicted(service, 5)
    found: list[list[str]] = []

    def send() -> None:
        found.append(results(post(service, [sent(one) for one in known])[1]))

    threads = [threading.Thread(target=send) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(set(map(tuple, found))) == [("accepted",) * 5, ("repeated",) * 5]
    assert postgres.run("SELECT count(*), max(revision) FROM outcome") == [(5, 1)]


def test_corrections_from_several_clients_are_all_kept(postgres: Postgres, start: Start) -> None:
    service = start(postgres.url)
    (known,) = predicted(service)
    threads = [
        threading.Thread(target=post, args=(service, sent(known, source=f"client {number}"))) for number in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert postgres.run("SELECT array_agg(revision ORDER BY revision) FROM outcome") == [(list(range(1, 9)),)]


def test_an_outcome_goes_with_its_expired_prediction(postgres: Postgres, start: Start) -> None:
    service = start(postgres.url, prediction_log_days=30)
    (known,) = predicted(service)
    post(service, sent(known))
    postgres.run("UPDATE prediction SET answered = now() - interval '31 days'")
    log_of(service)._next_expire = 0
    tick(service)
    assert postgres.run("SELECT count(*) FROM outcome") == [(0,)]
    assert results(post(service, sent(known))[1]) == ["unknown"]


def test_outcomes_are_counted_by_result(postgres: Postgres, start: Start) -> None:
    service = start(postgres.url)
    (known,) = predicted(service)

    def counted() -> dict[str, float]:
        families = text_string_to_metric_families(service.client.get("/metrics").text)
        return {
            sample.labels["result"]: sample.value
            for family in families
            for sample in family.samples
            if sample.name == "heartline_outcomes_total"
        }

    before = counted()
    post(service, [sent(known), sent(known), sent(known, 0), sent("7"), sent(str(uuid.uuid4()))])
    after = counted()
    for result in ("accepted", "repeated", "corrected", "unknown", "invalid"):
        assert after[result] - before.get(result, 0) == 1


@pytest.mark.parametrize(
    ("scope", "predict", "read", "outcomes"),
    [("", 200, 200, 403), (" predict", 200, 200, 403), (" outcomes", 403, 403, 404), (" all", 200, 200, 404)],
)
def test_a_key_may_do_what_its_scope_says(
    postgres: Postgres, start: Start, tmp_path: Path, scope: str, predict: int, read: int, outcomes: int
) -> None:
    file = tmp_path / "keys"
    file.write_text(line("ann", "hl_ann").rstrip() + scope + "\n")
    file.chmod(0o600)
    service = start(postgres.url, api_keys=str(file))
    key = {"X-API-Key": "hl_ann"}
    asked = [
        (service.client.post("/predict", json=RECORD, headers=key), predict),
        (service.client.get("/model", headers=key), read),
        (service.client.get("/metrics", headers=key), read),
        (service.client.post("/outcomes", json=sent(str(uuid.uuid4())), headers=key), outcomes),
    ]
    for response, status in asked:
        assert response.status_code == status
        if status == 403:
            problem = json.loads(response.data)
            assert problem["type"] == "urn:heartline:problem:forbidden"
            assert problem["detail"] == f"the scope of the key is {scope.strip() or 'predict'}"
    assert service.client.post("/outcomes", json=sent("7")).status_code == 401
