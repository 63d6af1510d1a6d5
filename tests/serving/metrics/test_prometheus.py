"""GET /metrics: what is counted, over all workers, and what no client can add."""

import fcntl
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.parser import text_string_to_metric_families

from serving.metrics import multiprocess, prometheus
from serving.settings import SettingError, Settings
from tests.serving.fakes import RECORD, FakeRegistry, Service, make_bundle
from tests.serving.gunicorns import ROOT, WORKERS, Gunicorn

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def parsed(text: str) -> Samples:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(samples: Samples, name: str, **labels: str) -> float:
    """Return the value of a sample; 0 if it does not exist."""
    return samples.get((name, frozenset(labels.items())), 0.0)


def counted(service: Service) -> Samples:
    response = service.client.get("/metrics")
    assert response.status_code == 200
    assert response.content_type == "text/plain; version=0.0.4; charset=utf-8"
    return parsed(response.text)


def reason(samples: Samples, name: str) -> list[str]:
    return [dict(labels)["reason"] for (found, labels) in samples if found == name]


def test_requests_are_counted_by_route_method_and_status(service: Service) -> None:
    asked = [
        ("POST", "/predict", "/predict", "POST", "415"),
        ("GET", "/predict", "/predict", "GET", "405"),
        ("GET", "/healthz", "/healthz", "GET", "200"),
        ("HEAD", "/healthz", "/healthz", "HEAD", "200"),
        ("GET", "/predictions/1", "/predictions/<prediction_id>", "GET", "503"),
        ("GET", "/predictions/2", "/predictions/<prediction_id>", "GET", "503"),
        ("DELETE", "/predictions/3", "/predictions/<prediction_id>", "DELETE", "405"),
        ("GET", "/nothing", "other", "GET", "404"),
        ("GET", "//healthz", "/", "GET", "421"),  # for this client, the host of a URL without a path
        ("BREW", "/nothing/else", "other", "other", "404"),
    ]
    before = counted(service)

    for method, path, *_ in asked:
        service.client.open(path, method=method)
    after = counted(service)

    expected = Counter((route, method, status) for _, _, route, method, status in asked)
    for (route, method, status), times in expected.items():
        name, labels = "heartline_requests_total", {"path": route, "method": method, "status": status}
        assert value(after, name, **labels) - value(before, name, **labels) == times, labels
    assert not [labels for (_, labels) in after if any("/nothing" in text or text == "BREW" for _, text in labels)]


def test_the_duration_of_requests_is_measured(service: Service) -> None:
    before = counted(service)
    service.client.post("/predict", json=RECORD)
    after = counted(service)

    for name, least, most in (("count", 1, 1), ("bucket", 1, 1), ("sum", 1e-5, 10)):
        labels = {"path": "/predict"} | ({"le": "+Inf"} if name == "bucket" else {})
        found = f"heartline_request_duration_seconds_{name}"
        assert least <= value(after, found, **labels) - value(before, found, **labels) <= most


def test_a_request_that_fails_inside_is_counted_as_500(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setitem(service.app.view_functions, "heartline.healthz", fail)
    before = counted(service)
    service.client.get("/healthz")
    after = counted(service)

    labels = {"path": "/healthz", "method": "GET", "status": "500"}
    assert value(after, "heartline_requests_total", **labels) - value(before, "heartline_requests_total", **labels) == 1


def test_predictions_and_imputed_values_are_counted(service: Service) -> None:
    before = counted(service)
    service.client.post("/predict", json=[RECORD, {"age": 20, "sex": 0}, {"age": 20, "sex": 0, "chol": 200}])
    service.client.post("/predict", json=RECORD)
    after = counted(service)

    def more(name: str, **labels: str) -> float:
        return value(after, name, **labels) - value(before, name, **labels)

    assert more("heartline_predictions_total", version="1", has_heart_disease="true") == 2
    assert more("heartline_predictions_total", version="1", has_heart_disease="false") == 2
    assert more("heartline_imputed_values_total", feature="ca") == 2
    assert more("heartline_imputed_values_total", feature="chol") == 1


def test_invalid_fields_are_counted_by_names_of_the_contract_only(service: Service) -> None:
    before = counted(service)
    service.client.post("/predict", json=[{**RECORD, "age": 999, "invented": 1}, {**RECORD, "age": -1}, 7])
    service.client.post("/predict", data="age,sex\nx,1\n", content_type="text/csv")
    after = counted(service)

    def more(field: str) -> float:
        name = "heartline_invalid_fields_total"
        return value(after, name, field=field) - value(before, name, field=field)

    assert (more("age"), more("other"), more("invented")) == (3, 2, 0)


def test_the_served_and_the_refused_version_are_reported(registry: FakeRegistry, service: Service) -> None:
    served = counted(service)
    registry.register({**make_bundle(0.5), "model.onnx": b"broken"})
    refusing = counted(service.poll())
    registry.register(make_bundle(1.0))
    healed = counted(service.poll())

    (model,) = [dict(labels) for (name, labels) in served if name == "heartline_model_info"]
    assert (model["version"], model["origin"], model["contract_version"]) == ("1", "sample", "2.1.0")
    assert value(served, "heartline_serving_workers", version="1") == 1
    assert value(served, "heartline_refusing_workers") == 0
    assert reason(served, "heartline_refused_version_info") == []

    assert value(refusing, "heartline_serving_workers", version="1") == 1
    assert value(refusing, "heartline_refusing_workers") == 1
    assert reason(refusing, "heartline_refused_version_info") == ["version 2: size of model.onnx differs"]

    assert value(healed, "heartline_serving_workers", version="1") == 0
    assert value(healed, "heartline_serving_workers", version="3") == 1
    assert value(healed, "heartline_refusing_workers") == 0
    assert reason(healed, "heartline_refused_version_info") == []


def test_the_last_contact_with_the_registry_and_its_error_are_reported(
    registry: FakeRegistry, service: Service
) -> None:
    reachable = counted(service)
    registry.stop()
    time.sleep(0.01)
    unreachable = counted(service.poll())

    at = value(reachable, "heartline_registry_last_contact_timestamp_seconds")
    assert at == pytest.approx(time.time(), abs=30)
    assert value(unreachable, "heartline_registry_last_contact_timestamp_seconds") == at
    assert [value(now, "heartline_registry_unreachable_workers") for now in (reachable, unreachable)] == [0, 1]
    assert reason(reachable, "heartline_registry_problem_info") == []
    (message,) = reason(unreachable, "heartline_registry_problem_info")
    assert registry.url in message


def test_a_worker_that_has_not_polled_is_not_counted_as_unreachable(settings: Settings, service: Service) -> None:
    samples = counted(Service(settings))

    assert value(samples, "heartline_serving_workers", version="1") == 1
    assert value(samples, "heartline_registry_unreachable_workers") == 0
    assert reason(samples, "heartline_registry_problem_info") == []


def test_metrics_are_available_without_a_model(settings: Settings, tmp_path: Path) -> None:
    samples = counted(Service(msgspec.structs.replace(settings, cache=str(tmp_path / "empty"))))

    assert not [name for name, _ in samples if name == "heartline_model_info"]
    assert value(samples, "heartline_not_ready_workers") == 0


@pytest.fixture(params=WORKERS)
def gunicorn(registry: FakeRegistry, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Gunicorn]:
    registry.register(make_bundle())
    variables = {"HEARTLINE_MLFLOW_URL": registry.url, "HEARTLINE_POLL_SECONDS": 0.2}
    service = Gunicorn(tmp_path, HEARTLINE_WORKER=request.param, **variables)
    yield service
    service.stop()


def folder_of(service: Gunicorn) -> Path:
    """Return the folder of the metric files of ``service``."""
    variables = Path(f"/proc/{service.workers()[-1]}/maps").read_text()
    (found,) = {str(Path(line.split()[-1]).parent) for line in variables.splitlines() if ".db" in line}
    return Path(found)


def test_metrics_are_sums_over_all_workers_and_kept_when_a_worker_ends(gunicorn: Gunicorn) -> None:
    gunicorn.wait_until_it_answers()

    def now() -> Samples:
        with urllib.request.urlopen(f"{gunicorn.url}/metrics", timeout=10) as response:
            return parsed(response.read().decode())

    def answered() -> float:
        return value(now(), "heartline_predictions_total", version="1", has_heart_disease="true")

    # when both workers have answered requests, then each returns the same sum
    for _ in range(40):
        assert gunicorn.ask("/predict", RECORD)[0] == 200
    assert {answered() for _ in range(10)} == {40}
    assert value(now(), "heartline_serving_workers", version="1") == 2
    folder = folder_of(gunicorn)
    files = len(list(folder.glob("*.db")))

    # when workers are killed, then their counters are kept and their gauges are not
    for dead in range(3):
        os.kill(gunicorn.workers()[dead], signal.SIGKILL)
        gunicorn.wait_until(lambda started=dead + 3: len(gunicorn.workers()) == started)  # type: ignore[misc]
        gunicorn.wait_until_it_answers()
        assert answered() == 40
    gunicorn.wait_until(lambda: value(now(), "heartline_serving_workers", version="1") == 2)
    assert len(list(folder.glob("*.db"))) <= files + len(multiprocess.SUMS)

    # when it stops, then the folder is deleted
    gunicorn.stop()
    assert not folder.exists()


def test_the_counters_of_an_ended_worker_are_merged_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(multiprocess, "_mine", (tmp_path, 0))
    monkeypatch.setenv(multiprocess.VARIABLE, str(tmp_path))

    def write(pid: int, amount: float) -> None:
        for name in (f"counter_{pid}", f"gauge_livesum_{pid}"):
            file = MmapedDict(str(tmp_path / f"{name}.db"))  # type: ignore[no-untyped-call]
            file.write_value("key", amount, 0.0)  # type: ignore[no-untyped-call]
            file.close()  # type: ignore[no-untyped-call]

    for pid, amount in ((11, 2.0), (12, 3.0), (11, 4.0)):
        write(pid, amount)
        multiprocess.retire(pid)
    multiprocess.retire(11)

    assert {path.name for path in tmp_path.glob("*.db")} == {"counter_retired.db"}
    values = MmapedDict.read_all_values_from_file(str(tmp_path / "counter_retired.db"))  # type: ignore[no-untyped-call]
    assert [(key, amount) for key, amount, *_ in values] == [("key", 9.0)]


def test_a_truncated_file_is_ignored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(multiprocess, "_mine", (tmp_path, 0))
    monkeypatch.setenv(multiprocess.VARIABLE, str(tmp_path))
    (tmp_path / "counter_11.db").write_bytes((999).to_bytes(4, "little") + bytes(4) + (500).to_bytes(4, "little"))

    multiprocess.retire(11)

    assert "the counters in counter_11.db cannot be read" in caplog.text
    assert not (tmp_path / "counter_11.db").exists()


def test_folders_of_killed_services_are_removed_and_no_others(tmp_path: Path) -> None:
    old = time.time() - 2 * multiprocess.SETTLED_SECONDS
    for name in ("dead", "alive", "young", "foreign"):
        folder = tmp_path / (name if name == "foreign" else f"{multiprocess.PREFIX}{name}")
        folder.mkdir()
        (folder / "alive").touch()
        os.utime(folder, None if name == "young" else (old, old))
    script = f"""
import pathlib
from serving.metrics import multiprocess
multiprocess.MEMORY = pathlib.Path({str(tmp_path)!r})
made = multiprocess.make()
assert multiprocess.make() == made
import prometheus_client.values, os
assert prometheus_client.values.ValueClass._multiprocess
print(made.name)
if os.fork() == 0:
    raise SystemExit
os.wait()
assert made.is_dir()
"""
    with (tmp_path / f"{multiprocess.PREFIX}alive" / "alive").open() as held:
        fcntl.flock(held, fcntl.LOCK_SH)
        done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (0, "")
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {f"{multiprocess.PREFIX}alive", f"{multiprocess.PREFIX}young", "foreign"}
    assert done.stdout.startswith(multiprocess.PREFIX)


def test_the_service_does_not_start_without_a_folder_for_metrics(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(multiprocess, "MEMORY", tmp_path / "none")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "file"))

    with pytest.raises(SettingError) as raised:
        multiprocess._made()

    assert str(raised.value).startswith("the folder for the metrics cannot be created: Not a directory\n")


def test_the_route_of_a_known_path_is_cached(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lookup would be done for every request."""
    service.client.get("/healthz")
    monkeypatch.setattr(prometheus._Metered, "_route", lambda *_: pytest.fail("it is looked up again"))

    assert service.client.get("/healthz").status_code == 200


def test_unknown_paths_are_not_cached(service: Service) -> None:
    service.client.get("/healthz")
    kept = dict(service.app.wsgi_app._paths)  # type: ignore[attr-defined]

    for path in ("//healthz", "///healthz", "healthz", "/static/page.js", "/predictions/x", "/nothing"):
        service.client.get("/", environ_overrides={"PATH_INFO": path}).close()

    assert service.app.wsgi_app._paths == kept  # type: ignore[attr-defined]
