"""The metrics in GET /model, from the evaluation in the bundle. The model is served with or without it."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from serving.model import evaluation
from serving.model.evaluation import Evaluation, Metrics, Score
from serving.pages import form
from serving.settings import Settings
from tests.serving.api.test_openapi import assert_as_documented
from tests.serving.fakes import EVALUATION, RECORD, FakeRegistry, Files, Service, make_bundle, seal

Start = Callable[[], Service]
NAME = "evaluation.json"


def unsealed(**changes: bytes) -> Files:
    files = {name: data for name, data in make_bundle(1.0).items() if name not in ("manifest.json", NAME)}
    return {**files, **changes}


def with_evaluation(data: bytes) -> Files:
    return seal(unsealed(**{NAME: data}))


def scores(service: Service) -> tuple[Any, str | None]:
    """Return metrics and metrics_reason of /model, which must be as documented."""
    response = service.client.get("/model")
    assert_as_documented(service.get("/openapi.json"), "/model", response)
    assert service.client.post("/predict", json=RECORD).status_code == 200
    found = response.get_json()
    return found["metrics"], found["metrics_reason"]


def forget(settings: Settings) -> Path:
    """Make the cache look like that of an old service, which did not fetch evaluations."""
    (cached,) = Path(settings.cache).glob(f"bundles/*/{NAME}")
    cached.unlink()
    return cached


def test_the_scores_have_intervals_and_numbers_of_records(service: Service) -> None:
    metrics, reason = scores(service)

    assert reason is None
    assert metrics == {
        "profile": "quick",
        "cross_validation": {
            "roc_auc": {"value": 0.90812, "low": 0.87, "high": 0.94, "n": 242},
            "recall": {"value": None, "low": None, "high": None, "n": 0, "note": "no record has the disease"},
        },
        "holdout": {"roc_auc": {"value": 0.88, "low": 0.78, "high": 0.96, "n": 61}},
    }


def test_the_scores_are_those_of_the_served_version(service: Service, registry: FakeRegistry) -> None:
    registry.register(make_bundle(1.0, evaluation={**EVALUATION, "about": {"profile": "full"}}))

    metrics, _ = scores(service.poll())

    assert metrics["profile"] == "full"


def test_a_bundle_without_an_evaluation_is_served(registry: FakeRegistry, start: Start) -> None:
    registry.register(seal(unsealed()))

    assert scores(start().poll()) == (None, "manifest.json does not list evaluation.json")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{}",
        b"\xff",
        b'{"about":' + b"[" * 200_000,
        pickle.dumps(EVALUATION),
        json.dumps({**EVALUATION, "about": {}}).encode(),
        json.dumps({**EVALUATION, "holdout": {"roc_auc": 0.9}}).encode(),
        json.dumps(EVALUATION).replace("0.87", "NaN").encode(),
        json.dumps(EVALUATION).replace("0.87", "1e400").encode(),
        json.dumps(EVALUATION).replace("242", "-1").encode(),
    ],
    ids=["empty", "list", "object", "no text", "nested", "pickle", "no profile", "no interval", "NaN", "huge", "n < 0"],
)
def test_a_model_with_an_unreadable_evaluation_is_served(registry: FakeRegistry, start: Start, data: bytes) -> None:
    registry.register(with_evaluation(data))

    metrics, reason = scores(start().poll())

    assert metrics is None
    assert str(reason).startswith("evaluation.json cannot be read: ")


def test_a_model_with_a_too_large_evaluation_is_served_without_it(registry: FakeRegistry, start: Start) -> None:
    registry.register(with_evaluation(b" " * (evaluation.FILE_BYTES + 1)))

    metrics, reason = scores(start().poll())

    assert (metrics, reason) == (
        None,
        "manifest.json says that evaluation.json has 1048577 bytes; at most 1048576 are read",
    )
    assert registry.requests[NAME] == 0


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda files: {**files, NAME: files[NAME].replace(b"0.9", b"1.0")}, "digest of evaluation.json differs"),
        (lambda files: {**files, NAME: files[NAME][:-1]}, "size of evaluation.json differs"),
        (lambda files: {name: files[name] for name in files if name != NAME}, "evaluation.json is missing"),
    ],
    ids=["digest", "size", "missing"],
)
def test_an_evaluation_that_differs_from_the_manifest_is_refused(
    service: Service, registry: FakeRegistry, damage: Callable[[Files], Files], reason: str
) -> None:
    registry.register(damage(make_bundle(1.0)))

    found = service.poll().get("/model")

    assert (found["model"]["version"], found["refused"]) == ("1", f"version 2: {reason}")
    assert found["metrics"]["profile"] == "quick"


def test_an_old_cache_is_served_and_gets_the_evaluation_from_the_registry(
    service: Service, registry: FakeRegistry, settings: Settings, start: Start
) -> None:
    cached = forget(settings)

    restarted = start()
    assert scores(restarted) == (None, "evaluation.json is missing")
    since = restarted.get("/model")["served_since"]

    metrics, reason = scores(restarted.poll())
    assert (metrics["profile"], reason) == ("quick", None)
    assert restarted.get("/model")["served_since"] == since
    assert cached.exists()
    assert not list(Path(settings.cache).glob(".fetch-*"))
    assert scores(restarted.poll())[0] == scores(start())[0] == metrics
    assert registry.requests[NAME] == 2  # by the first service and by this one


def test_the_evaluation_is_fetched_once_for_all_workers(
    service: Service, registry: FakeRegistry, settings: Settings, start: Start
) -> None:
    forget(settings)
    workers = [start(), start()]
    registry.requests.clear()

    assert [scores(worker.poll())[1] for worker in workers] == [None, None]
    assert registry.requests[NAME] == 1


def test_an_evaluation_that_could_not_be_fetched_is_fetched_at_the_next_poll(
    service: Service, registry: FakeRegistry, settings: Settings, start: Start
) -> None:
    forget(settings)
    restarted = start()
    registry.answer = lambda path: (502, b"bad gateway") if path.endswith(NAME) else None
    assert scores(restarted.poll()) == (None, "evaluation.json is missing")

    registry.answer = lambda path: None

    assert scores(restarted.poll())[1] is None


@pytest.mark.parametrize(
    ("data", "reason"), [(b"other", "size of evaluation.json differs"), (None, "evaluation.json is missing")]
)
def test_an_invalid_evaluation_in_the_registry_is_reported_once(
    service: Service,
    registry: FakeRegistry,
    settings: Settings,
    start: Start,
    caplog: pytest.LogCaptureFixture,
    data: bytes | None,
    reason: str,
) -> None:
    forget(settings)
    restarted = start()
    files = registry.versions["1"]
    registry.versions["1"] = {name: files[name] for name in files if name != NAME} | ({NAME: data} if data else {})
    registry.requests.clear()

    restarted.poll().poll()

    assert scores(restarted) == (None, f"evaluation.json is not fetched: {reason}")
    assert registry.requests[NAME] == 1
    assert caplog.text.count(f"the evaluation of heart-disease version 1 is not available: {reason}") == 1


def test_a_changed_evaluation_in_the_cache_is_refused_and_fetched_again(
    service: Service, settings: Settings, start: Start
) -> None:
    cached = forget(settings)
    cached.write_text("{}")

    restarted = start()

    assert restarted.get("/readyz")["detail"] == "refused: version 1: size of evaluation.json differs (in the cache)"
    assert scores(restarted.poll())[1] is None


def test_a_bundle_folder_may_have_no_evaluation(settings: Settings, tmp_path: Path) -> None:
    for name, data in make_bundle().items():
        if name != NAME:
            (tmp_path / name).write_bytes(data)
    service = Service(msgspec.structs.replace(settings, bundle=str(tmp_path)))
    service.store.load(tmp_path)

    assert scores(service) == (None, "evaluation.json is missing")


AREA = Score(0.9, 0.85, 0.94, 242)


@pytest.mark.parametrize(
    ("score", "said"),
    [
        (AREA, "0.900 (95 % interval 0.850 to 0.940) in cross-validation on 242 records, profile quick"),
        (Score(0.9, None, None, 9, "too few"), "0.900 (too few) in cross-validation on 9 records, profile quick"),
        (Score(None, None, None, 9, "no record has the disease"), "not known: no record has the disease"),
        (None, "not known: it was not measured"),
    ],
)
def test_the_roc_auc_as_text(score: Score | None, said: str) -> None:
    assert form.roc_auc(Evaluation(Metrics("quick", {"roc_auc": score} if score else {}, {}))) == said


def test_the_form_shows_the_roc_auc_or_why_there_is_none(registry: FakeRegistry, start: Start) -> None:
    registry.register(make_bundle())
    service = start().poll()
    assert "0.908 (95 % interval 0.870 to 0.940) in cross-validation on 242 records" in service.client.get("/").text

    registry.register(seal(unsealed()))
    assert "not known: manifest.json does not list evaluation.json" in service.poll().client.get("/").text
