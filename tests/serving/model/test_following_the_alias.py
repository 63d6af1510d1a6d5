"""The served model follows the alias: readiness, swaps, restarts, with a reachable and an unreachable registry."""

import json
import os
import threading
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from serving.model import model_store
from serving.model.bundle import Model
from serving.model.worker_states import GONE, STARTED
from serving.settings import Settings
from tests.serving.fakes import RECORD, FakeRegistry, Service, expected_probability, make_bundle
from tests.serving.gunicorns import Gunicorn
from tests.waiting import until

Start = Callable[[], Service]


def served_version(service: Service) -> str:
    return str(service.get("/model")["model"]["version"])


def cached(settings: Settings, name: str) -> Path:
    (found,) = Path(settings.cache).glob(f"bundles/*/{name}")
    return found


@pytest.mark.parametrize(("method", "path"), [("GET", "/readyz"), ("GET", "/model"), ("POST", "/predict")])
def test_without_a_model_the_response_is_503_with_the_reason(start: Start, method: str, path: str) -> None:
    service = start().poll()

    response = service.client.open(path, method=method, json=RECORD)

    assert response.status_code == 503
    assert response.content_type == "application/problem+json"
    assert response.headers["Retry-After"] == "5"
    assert json.loads(response.data) == {
        "type": "urn:heartline:problem:not-ready",
        "title": "No model is ready",
        "status": 503,
        "detail": "the registry has no version to serve: Registered model alias production not found.",
        "expected": "a registered version under the alias, whose files match their manifest",
        "hint": "retry after the seconds in Retry-After; GET /readyz says when a model is ready",
        "instance": path,
    }


def test_before_the_first_poll_it_is_healthy_but_not_ready(start: Start) -> None:
    service = start()

    assert service.get("/readyz")["detail"] == "the registry is not polled yet"
    assert service.get("/healthz") == {"status": "ok"}


def test_it_becomes_ready_when_the_alias_is_set(start: Start, registry: FakeRegistry) -> None:
    service = start().poll()
    registry.register(make_bundle())

    service.poll()

    ready = service.get("/readyz")
    assert ready["status"] == "ready"
    assert ready["model"]["version"] == "1"
    assert ready["registry"]["reachable"] is True
    assert ready["registry"]["reason"] is None
    assert ready["refused"] is None


def test_it_is_ready_only_when_all_workers_are(service: Service) -> None:
    workers = service.app.extensions["workers"]
    workers.mark(7, STARTED)

    response = service.client.get("/readyz")
    assert response.status_code == 503
    assert json.loads(response.data)["detail"] == "1 of the workers have not loaded the model yet"
    assert service.client.post("/predict", json=RECORD).status_code == 200

    workers.mark(7, GONE)
    assert service.client.get("/readyz").status_code == 200


# gunicorn draws a random pause between two workers; here it waits for a file instead
HESITANT = """
import pathlib, random, time
def hesitate():
    while not pathlib.Path("go on").exists():
        time.sleep(0.02)
    return 0.0
random.random = hesitate
"""


def test_it_is_not_ready_while_workers_are_yet_to_be_forked(registry: FakeRegistry, tmp_path: Path) -> None:
    registry.register(make_bundle())
    service = Gunicorn(tmp_path, HESITANT, HEARTLINE_MLFLOW_URL=registry.url)
    try:
        service.wait_until(lambda: "serving heart-disease version 1" in service.log())
        service.wait_until_it_answers("/predict", 405)
        status, page = service.ask("/readyz")
        assert len(service.workers()) == 1
        assert (status, page["detail"]) == (503, "1 of the workers have not loaded the model yet")

        (tmp_path / "go on").touch()
        service.wait_until_it_answers()
        assert len(service.workers()) == 2
    finally:
        service.stop()


def test_the_model_endpoint_describes_the_served_model(service: Service) -> None:
    page = service.get("/model")

    assert page["contract"]["x-features"] == ["sex", "age", "chol", "ca"]
    assert page["threshold"] == 0.5
    assert len(page["bundle"]) == 64
    assert datetime.fromisoformat(page["served_since"]).tzinfo is not None


def test_the_service_follows_the_alias_forward_and_back(service: Service, registry: FakeRegistry) -> None:
    registry.register(make_bundle(0.5, family="random_forest"))
    answer = service.poll().client.post("/predict", json=RECORD).get_json()
    assert (answer["model"]["version"], answer["model"]["family"]) == ("2", "random_forest")
    assert answer["probability"] == pytest.approx(expected_probability(RECORD, 0.5), abs=1e-6)

    registry.production = "1"
    assert served_version(service.poll()) == "1"


def test_an_unchanged_alias_costs_one_request_a_poll(service: Service, registry: FakeRegistry) -> None:
    registry.requests.clear()

    service.poll().poll().poll()

    assert registry.requests == {"alias": 3}


def test_only_files_that_serving_needs_are_fetched(
    service: Service, registry: FakeRegistry, settings: Settings
) -> None:
    assert registry.requests["model.skops"] == 0
    assert not list(Path(settings.cache).rglob("*.skops"))


def test_a_version_of_a_recreated_registry_with_the_same_number_is_a_new_version(
    service: Service, registry: FakeRegistry
) -> None:
    registry.register(make_bundle(1.0), version="1", source="models:/m-of-the-new-registry")

    service.poll()

    answer = service.client.post("/predict", json=RECORD).get_json()
    assert answer["probability"] == pytest.approx(expected_probability(RECORD, 1.0), abs=1e-6)


def test_while_versions_change_each_request_is_answered_by_one_of_them(
    service: Service, registry: FakeRegistry
) -> None:
    biases = {"1": -2.0, "2": 0.0, "3": 2.0}
    registry.register(make_bundle(biases["2"]))
    registry.register(make_bundle(biases["3"]))
    done = threading.Event()
    wrong: list[Any] = []
    seen: Counter[str] = Counter()

    def ask() -> None:
        client = service.client
        while not done.is_set():
            response = client.post("/predict", json=[RECORD, RECORD])
            answer = response.get_json()
            if response.status_code != 200:
                wrong.append(answer)
                continue
            expected = expected_probability(RECORD, biases[answer["model"]["version"]])
            seen[answer["model"]["version"]] += 1
            wrong.extend(p for p in answer["predictions"] if abs(p["probability"] - expected) > 1e-5)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        for flip in range(18):
            version = str(flip % 3 + 1)
            before = seen[version]
            registry.production = version
            service.poll()
            until(lambda version=version, before=before: seen[version] > before)  # type: ignore[misc]
    finally:
        done.set()
        for thread in threads:
            thread.join()

    assert not wrong
    assert set(seen) == {"1", "2", "3"}


def test_two_workers_fetch_a_version_once(start: Start, registry: FakeRegistry) -> None:
    registry.register(make_bundle())
    workers = [start(), start(), start()]
    threads = [threading.Thread(target=worker.poll) for worker in workers]

    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [served_version(worker) for worker in workers] == ["1", "1", "1"]
    assert registry.requests["model.onnx"] == 1


def test_the_poller_polls_until_it_is_stopped(settings: Settings, registry: FakeRegistry) -> None:
    service = Service(Settings(mlflow_url=settings.mlflow_url, cache=settings.cache, poll_seconds=0.05))
    service.store.start()
    registry.register(make_bundle())

    until(lambda: service.client.get("/readyz").status_code == 200)
    service.store.stop()

    assert served_version(service) == "1"
    assert "registry-poller" not in {thread.name for thread in threading.enumerate()}


def test_polls_of_many_workers_are_not_synchronous(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Service(settings).store
    waits: list[float] = []

    def wait(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 50:
            store._stopping.set()

    monkeypatch.setattr(store, "poll", lambda: None)
    monkeypatch.setattr(store._stopping, "wait", wait)
    store._run()

    assert settings.poll_seconds == 5.0
    assert all(4.0 <= seconds <= 6.0 for seconds in waits)
    assert max(waits) - min(waits) > 0.5


def test_the_poller_survives_internal_errors(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    service = Service(Settings(mlflow_url=settings.mlflow_url, cache=settings.cache, poll_seconds=0.05))
    polls: list[None] = []

    def fail() -> None:
        polls.append(None)
        raise ZeroDivisionError("a fault")

    monkeypatch.setattr(service.store, "poll", fail)
    service.store.start()
    until(lambda: len(polls) >= 3)
    service.store.stop()

    assert service.get("/readyz")["detail"] == "the registry is unreachable: polling failed: a fault"


def test_while_the_registry_is_unreachable_the_model_is_served_and_the_state_is_visible(
    service: Service, registry: FakeRegistry, caplog: pytest.LogCaptureFixture
) -> None:
    contact = service.get("/readyz")["registry"]["last_contact"]
    registry.stop()

    service.poll().poll()

    assert service.client.post("/predict", json=RECORD).status_code == 200
    reason = f"{registry.url} does not answer: Connection refused"
    for path in ("/readyz", "/model"):
        assert service.get(path)["registry"] == {"reachable": False, "last_contact": contact, "reason": reason}
    assert caplog.text.count("the registry is unreachable, last contact") == 1


def test_a_worker_that_starts_without_the_registry_serves_the_last_good_version(
    service: Service, start: Start, registry: FakeRegistry, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    contact = datetime.fromisoformat(service.get("/readyz")["registry"]["last_contact"])
    registry.stop()
    stopped = datetime.now(UTC)

    restarted = start()

    assert restarted.client.post("/predict", json=RECORD).get_json()["model"]["version"] == "1"
    before = restarted.client.get("/readyz")
    assert before.status_code == 200
    registry_state = before.get_json()["registry"]
    assert (registry_state["reachable"], registry_state["reason"]) == (None, "not polled yet")
    assert "unreachable" not in caplog.text
    ready = restarted.poll().get("/readyz")["registry"]
    assert ready["reachable"] is False
    # the time that was saved in the cache: neither the time of the start nor an old one
    assert contact - timedelta(seconds=60) < datetime.fromisoformat(ready["last_contact"]) <= stopped
    assert "serving heart-disease version 1 from the cache; last contact with the registry:" in caplog.text
    assert f"the registry is unreachable, last contact {ready['last_contact'][:19]}" in caplog.text


def test_the_last_contact_is_saved_for_the_next_start(
    service: Service, start: Start, registry: FakeRegistry, settings: Settings
) -> None:
    os.utime(Path(settings.cache) / "last_good.json", (0, 0))
    assert start().store.status.last_contact == datetime.fromtimestamp(0, UTC)

    service.poll()

    contact = start().store.status.last_contact
    assert contact is not None
    assert abs((datetime.now(UTC) - contact).total_seconds()) < 60


def test_a_worker_that_starts_after_an_outage_moves_on_to_the_current_version(
    service: Service, start: Start, registry: FakeRegistry
) -> None:
    registry.register(make_bundle(1.0))

    restarted = start()

    assert served_version(restarted) == "1"
    assert served_version(restarted.poll()) == "2"


def test_a_registry_that_is_reachable_again_is_noticed(
    service: Service, registry: FakeRegistry, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    registry.answer = lambda path: (503, b"starting")
    service.poll()
    assert service.get("/readyz")["registry"]["reason"] == "the registry answered with status 503: starting"

    registry.answer = lambda path: None
    service.poll()

    assert service.get("/readyz")["registry"]["reachable"] is True
    assert "the registry is reachable again" in caplog.text


def test_if_the_alias_is_deleted_the_model_is_served_and_the_state_is_visible(
    service: Service, registry: FakeRegistry
) -> None:
    registry.production = None

    service.poll()

    assert served_version(service) == "1"
    assert "Registered model alias production not found" in service.get("/readyz")["registry"]["reason"]


@pytest.mark.parametrize("damage", ["changed", "truncated", "gone"])
def test_a_changed_cache_is_not_served_but_fetched_again(
    service: Service, start: Start, registry: FakeRegistry, settings: Settings, damage: str
) -> None:
    file = cached(settings, "model.onnx")
    data = file.read_bytes()
    if damage == "gone":
        file.unlink()
    else:
        file.write_bytes(data[:-1] + (b"" if damage == "truncated" else bytes([data[-1] ^ 1])))

    restarted = start()
    reasons = {"changed": "digest of model.onnx differs", "truncated": "size of model.onnx differs"}
    reason = reasons.get(damage, "model.onnx is missing")
    assert restarted.get("/readyz")["detail"] == f"refused: version 1: {reason} (in the cache)"

    assert served_version(restarted.poll()) == "1"
    assert restarted.get("/readyz")["refused"] is None
    assert registry.requests["model.onnx"] == 2


def test_a_changed_cache_is_not_served_even_if_its_manifest_was_changed_too(
    service: Service, start: Start, registry: FakeRegistry, settings: Settings
) -> None:
    registry.stop()
    folder = cached(settings, "model.onnx").parent
    for name, data in make_bundle(5.0).items():
        (folder / name).write_bytes(data)

    restarted = start().poll()

    assert restarted.client.post("/predict", json=RECORD).status_code == 503
    assert restarted.get("/readyz")["detail"] == "refused: version 1: digest of manifest.json differs (in the cache)"


@pytest.mark.parametrize("note", [b"", b"garbage", b"{}", b'{"alias": 1}', b"\xff"])
def test_an_unreadable_last_good_file_is_ignored(
    service: Service, start: Start, settings: Settings, note: bytes
) -> None:
    (Path(settings.cache) / "last_good.json").write_bytes(note)

    restarted = start()

    assert restarted.client.get("/readyz").status_code == 503
    assert served_version(restarted.poll()) == "1"


def test_a_cached_version_of_another_alias_is_not_served(service: Service, settings: Settings) -> None:
    other = Service(Settings(mlflow_url=settings.mlflow_url, cache=settings.cache, model_alias="staging"))

    assert other.client.get("/readyz").status_code == 503


def test_the_cache_keeps_three_bundles_and_no_temporary_files(
    service: Service, registry: FakeRegistry, settings: Settings
) -> None:
    left_over = Path(settings.cache) / ".fetch-of-a-killed-process"
    left_over.mkdir()
    for bias in range(5):
        registry.register(make_bundle(float(bias)))
        service.poll()

    assert served_version(service) == "6"
    assert len(list(Path(settings.cache).glob("bundles/*"))) == 3
    assert sorted(path.name for path in Path(settings.cache).iterdir()) == ["bundles", "last_good.json", "lock"]


def test_a_version_is_loaded_while_the_old_one_is_served(
    service: Service, registry: FakeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    while_loading: list[str] = []

    def load(files: dict[str, bytes]) -> Model:
        while_loading.append(service.client.post("/predict", json=RECORD).get_json()["model"]["version"])
        return Model(files)

    monkeypatch.setattr(model_store, "Model", load)
    registry.register(make_bundle(1.0))

    service.poll()

    assert while_loading == ["1"]
    assert served_version(service) == "2"
