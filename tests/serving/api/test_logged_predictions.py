"""GET /predictions/{id}: a logged prediction with its lineage, also while the registry is unreachable."""

import json
import uuid
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from serving.model.bundle_cache import LastGood
from serving.prediction_log import writer
from serving.prediction_log.writer import PredictionLog
from serving.settings import Settings
from tests.postgres import Postgres
from tests.serving.fakes import RECORD, FakeRegistry, Service, make_bundle

NOWHERE = "postgresql://predictions:s3cret@127.0.0.1:1/predictions"
RUN = {
    "info": {"run_id": "r1", "end_time": 1_800_000_000_123, "status": "FINISHED"},
    "data": {"tags": [{"key": "family", "value": "x"}, {"key": "source", "value": "the UCI archive"}]},
}

Start = Callable[..., Service]


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    made = Postgres(tmp_path_factory.mktemp("postgres") / "home")
    yield made
    made.remove()


@pytest.fixture
def start(settings: Settings, registry: FakeRegistry) -> Start:
    registry.register(make_bundle())
    registry.runs["r1"] = RUN
    return lambda url: Service(msgspec.structs.replace(settings, prediction_log_url=url)).poll()


def log_of(service: Service) -> PredictionLog:
    log: PredictionLog = service.app.extensions["prediction_log"]
    return log


def predict(service: Service, body: Any = RECORD) -> Any:
    return service.client.post("/predict", json=body, headers={"X-Request-ID": "visit-7"}).get_json()


def expect_lineage(service: Service, answer: Any) -> None:
    found = service.get(f"/predictions/{answer['prediction_id']}")
    served = service.store.status.served
    assert served
    assert datetime.fromisoformat(found.pop("predicted_at")).tzinfo
    assert found == {
        "prediction_id": answer["prediction_id"],
        "request_id": "visit-7",
        "row": 0,
        "record": RECORD,
        "has_heart_disease": answer["has_heart_disease"],
        "probability": answer["probability"],
        "imputed": [],
        "lineage": {
            "model": {
                "name": "heart-disease",
                "version": "1",
                "alias": "production",
                "family": "logistic_regression",
                "contract_version": "2.1.0",
                "bundle": served.model.digest,
            },
            "run": {"id": "r1", "trained_at": found["lineage"]["run"]["trained_at"]},
            "snapshot": {"sha256": "5" * 64, "origin": "sample"},
            "source": "the UCI archive",
        },
        "outcomes": [],
    }
    trained_at = datetime.fromisoformat(found["lineage"]["run"]["trained_at"])
    assert trained_at.timestamp() == 1_800_000_000.123


def test_a_prediction_is_found_in_the_queue_and_in_the_database(postgres: Postgres, start: Start) -> None:
    service = start(postgres.url)
    answer = predict(service)
    expect_lineage(service, answer)  # in the queue
    log_of(service).tick()
    expect_lineage(service, answer)  # in the database
    assert service.client.get(f"/predictions/{answer['prediction_id'].upper()}").status_code == 200
    assert service.client.get(f"/predictions/{answer['prediction_id']}").content_type == "application/json"


def test_a_prediction_on_disk_is_found_while_the_database_is_unreachable(start: Start) -> None:
    service = start(NOWHERE)
    answers = [predict(service) for _ in range(3)]
    log_of(service).tick()
    assert log_of(service).describe().spilled == 3
    for answer in answers:
        expect_lineage(service, answer)
    expect_lineage(start(NOWHERE), answers[1])  # by another worker too


def test_a_prediction_of_an_older_version_keeps_its_lineage_without_the_registry(
    postgres: Postgres, start: Start, registry: FakeRegistry
) -> None:
    service = start(postgres.url)
    first, other = predict(service), predict(service, [RECORD, {"age": 30, "sex": 0}])["predictions"][1]
    registry.register(make_bundle(1.0))
    service.poll()
    log_of(service).tick()
    registry.stop()
    again = Service(service.app.extensions["settings"])
    served = again.store.status.served
    assert served
    assert served.version.version == "2"
    found = again.get(f"/predictions/{first['prediction_id']}")
    assert found["lineage"]["model"]["version"] == "1"
    assert found["lineage"]["source"] == "the UCI archive"
    assert again.get(f"/predictions/{other['prediction_id']}")["row"] == 1


@pytest.mark.parametrize("found", [str(uuid.UUID(int=7)), "7", "no-uuid", "%00", "é", "a" * 5000])
def test_an_unknown_id_is_404_with_possible_reasons(postgres: Postgres, start: Start, found: str) -> None:
    response = start(postgres.url).client.get(f"/predictions/{found}")
    assert response.status_code == 404
    assert response.content_type == "application/problem+json"
    problem = json.loads(response.data)
    assert problem["type"] == "urn:heartline:problem:prediction-not-found"
    assert "expired" in problem["hint"]


def test_the_number_of_dropped_predictions_is_reported(
    postgres: Postgres, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "QUEUE_RECORDS", 1)
    service = start(postgres.url)
    predict(service)
    dropped = predict(service)
    problem = service.get(f"/predictions/{dropped['prediction_id']}")
    assert problem["detail"].endswith("; 1 predictions were dropped since the service started")


@pytest.mark.parametrize("url", ["off", NOWHERE])
def test_without_a_log_or_its_database_it_is_503_with_retry_after(start: Start, url: str) -> None:
    service = start(url)
    response = service.client.get(f"/predictions/{uuid.uuid4()}")
    assert response.status_code == 503
    assert response.headers["Retry-After"] == "5"
    problem = json.loads(response.data)
    assert problem["type"] == "urn:heartline:problem:log-unavailable"
    reason = "is switched off" if url == "off" else "is unreachable: Connection refused"
    assert reason in problem["detail"]
    assert "s3cret" not in json.dumps(problem)


def test_every_prediction_names_the_run_of_its_model(start: Start) -> None:
    model = predict(start("off"))["model"]
    assert model["run_id"] == "r1"
    assert datetime.fromisoformat(model["trained_at"]).timestamp() == 1_800_000_000.123


def test_the_run_is_cached_and_used_while_the_registry_is_unreachable(start: Start, registry: FakeRegistry) -> None:
    before = predict(start("off"))["model"]
    settings = start("off").app.extensions["settings"]
    registry.stop()
    assert predict(Service(settings))["model"] == before


def test_a_run_that_could_not_be_fetched_is_fetched_at_the_next_poll(
    settings: Settings, registry: FakeRegistry
) -> None:
    registry.register(make_bundle())
    registry.runs["r1"] = RUN
    registry.answer = lambda path: (500, b"") if path.endswith("runs/get") else None
    service = Service(settings).poll()
    assert predict(service)["model"]["run_id"] is None
    registry.answer = lambda path: None
    assert predict(service.poll())["model"]["run_id"] == "r1"
    asked = registry.requests["get"]
    service.poll()
    assert registry.requests["get"] == asked
    assert json.loads((Path(settings.cache) / "last_good.json").read_bytes())["training"]["run_id"] == "r1"


def test_a_cache_without_a_run_gets_it_from_the_registry(start: Start) -> None:
    service = start("off")
    file = Path(service.app.extensions["settings"].cache) / "last_good.json"
    good = msgspec.json.decode(file.read_bytes(), type=LastGood)
    old = {"alias": good.alias, "version": {"name": "heart-disease", "version": "1"}, "digest": good.digest}
    file.write_text(json.dumps(old))
    again = Service(service.app.extensions["settings"])
    assert predict(again)["model"]["run_id"] is None
    assert predict(again.poll())["model"]["run_id"] == "r1"


@pytest.mark.parametrize(
    "run",
    [
        {"info": {}},
        {"info": {"end_time": None}, "data": {"tags": [{"key": "source", "value": ""}]}},
    ],
)
def test_a_run_without_an_end_or_a_source_is_accepted(settings: Settings, registry: FakeRegistry, run: Any) -> None:
    registry.register(make_bundle())
    registry.runs["r1"] = run
    model = predict(Service(settings).poll())["model"]
    assert (model["run_id"], model["trained_at"]) == ("r1", None)
