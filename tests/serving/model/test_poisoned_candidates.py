"""Malicious bundles: each is refused with its reason and has no other effect."""

import json
import os
import pickle
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from serving.model import bundle as bundles
from serving.model.bundle import FILE_BYTES, BundleError, digest_of, parse_manifest
from serving.settings import Settings
from tests.serving.fakes import (
    CONTRACT,
    RECORD,
    REFERENCE,
    FakeRegistry,
    Files,
    Service,
    expected_probability,
    make_bundle,
    make_onnx,
    seal,
)
from tests.serving.gunicorns import Gunicorn
from tests.serving.unreachable import OK, UnreachableRegistry

GOOD = make_bundle(1.0)
NESTED = b"[" * 200_000


class Canary:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self._path,)


def altered(change: Callable[[onnx.ModelProto], object], bias: float = 1.0) -> bytes:
    model = onnx.load_from_string(make_onnx(bias))
    change(model)
    return bytes(model.SerializeToString())


def answering(value: float) -> bytes:
    """A model that returns ``value`` for the first record and correct predictions for the others."""

    def change(model: onnx.ModelProto) -> None:
        model.graph.output[0].name = "probabilities"
        model.graph.node[-1].output[0] = "sound"
        rows = np.array([[0]], dtype="int64")
        model.graph.initializer.extend(
            [numpy_helper.from_array(rows, "rows"), numpy_helper.from_array(np.float32([[value, value]]), "wrong")]
        )
        model.graph.node.append(helper.make_node("ScatterND", ["sound", "rows", "wrong"], ["probabilities"]))

    return altered(change)


def answering_once() -> bytes:
    """A model that returns one prediction for any number of records."""

    def change(model: onnx.ModelProto) -> None:
        model.graph.node[-1].output[0] = "all"
        model.graph.node.append(helper.make_node("ReduceMean", ["all"], ["mean"], keepdims=1))
        model.graph.initializer.append(numpy_helper.from_array(np.array([1, 2]), "shape"))
        model.graph.node.append(helper.make_node("Expand", ["mean", "shape"], ["probabilities"]))

    return altered(change)


def for_one_record() -> bytes:
    return altered(lambda model: model.graph.input[0].type.tensor_type.shape.dim[0].CopyFrom(_dimension(1)))


def _dimension(size: int) -> Any:
    return helper.make_tensor_type_proto(TensorProto.FLOAT, [size]).tensor_type.shape.dim[0]


def without_end_inside() -> bytes:
    """A model with an endless loop."""

    def change(model: onnx.ModelProto) -> None:
        values = [helper.make_tensor_value_info(name, kind, shape) for name, kind, shape in (
            ("turn", TensorProto.INT64, []), ("go", TensorProto.BOOL, []), ("carried", TensorProto.FLOAT, None)
        )]  # fmt: skip
        ends = [
            helper.make_tensor_value_info("on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("next", TensorProto.FLOAT, None),
        ]
        body = helper.make_graph(
            [helper.make_node("Identity", ["go"], ["on"]), helper.make_node("Identity", ["carried"], ["next"])],
            "body",
            values,
            ends,
        )
        model.graph.initializer.append(numpy_helper.from_array(np.array(True), "true"))
        model.graph.node[-1].output[0] = "before"
        model.graph.node.append(helper.make_node("Loop", ["", "true", "before"], ["probabilities"], body=body))

    return altered(change)


def with_weights_at(location: str) -> bytes:
    def change(model: onnx.ModelProto) -> None:
        weights = next(tensor for tensor in model.graph.initializer if tensor.name == "fill")
        weights.ClearField("raw_data")
        weights.data_location = TensorProto.EXTERNAL
        weights.external_data.add(key="location", value=location)

    return altered(change)


def with_foreign_operator() -> bytes:
    def change(model: onnx.ModelProto) -> None:
        model.opset_import.append(helper.make_opsetid("evil.example", 1))
        model.graph.node[0].domain = "evil.example"

    return altered(change)


ONE = {"records": REFERENCE[:1], "probabilities": [expected_probability(REFERENCE[0], 1.0)]}


def with_file(name: str, data: bytes) -> Files:
    return seal({**{key: value for key, value in GOOD.items() if key != "manifest.json"}, name: data})


CANDIDATES: dict[str, tuple[Callable[[], Files], str]] = {
    "answers NaN": (
        lambda: make_bundle(1.0, model=answering(float("nan"))),
        "model.onnx returns a value that is not a probability",
    ),
    "answers infinity": (
        lambda: make_bundle(1.0, model=answering(float("inf"))),
        "model.onnx returns a value that is not a probability",
    ),
    "answers more than one": (
        lambda: make_bundle(1.0, model=answering(1 + 2e-5)),
        "model.onnx returns a value that is not a probability",
    ),
    "answers less than nothing": (
        lambda: make_bundle(1.0, model=answering(-2e-5)),
        "model.onnx returns a value that is not a probability",
    ),
    "answers NaN by its weights": (
        lambda: make_bundle(
            model=make_onnx(float("nan")), reference={"records": REFERENCE, "probabilities": [0.5, 0.5, 0.5]}
        ),
        "model.onnx returns a value that is not a probability",
    ),
    "answers once": (
        lambda: make_bundle(model=answering_once(), reference={"records": REFERENCE, "probabilities": [0.5, 0.5, 0.5]}),
        "model.onnx returns 1 predictions for 3 records",
    ),
    "takes one record": (
        lambda: make_bundle(model=for_one_record(), reference=ONE),
        "model.onnx takes 1 records at a time, not any number",
    ),
    "never ends": (
        lambda: make_bundle(model=without_end_inside(), reference=ONE),
        "model.onnx does not finish within 0.5 seconds",
    ),
    "weights at an absolute path": (
        lambda: make_bundle(1.0, model=with_weights_at("/etc/passwd")),
        "model.onnx cannot be loaded",
    ),
    "weights above": (lambda: make_bundle(1.0, model=with_weights_at("../weights")), "model.onnx cannot be loaded"),
    "foreign operator": (lambda: make_bundle(1.0, model=with_foreign_operator()), "model.onnx cannot be loaded"),
    "model is empty": (lambda: with_file("model.onnx", b""), "model.onnx cannot be loaded"),
    "model is an archive": (lambda: with_file("model.onnx", b"PK\x03\x04" + b"\0" * 60), "model.onnx cannot be loaded"),
    "manifest is nested": (
        lambda: {**GOOD, "manifest.json": b'{"more":' + NESTED},
        "manifest.json is not a manifest of format 1",
    ),
    "contract is nested": (
        lambda: with_file("contract.json", b'{"more":' + NESTED),
        "contract.json is not a contract",
    ),
    "reference is nested": (
        lambda: with_file("reference.json", b'{"records": [{"age":' + NESTED),
        "reference.json is not a list of records and probabilities",
    ),
    "contract of another feature": (
        lambda: make_bundle(
            1.0,
            contract=json.loads(json.dumps(CONTRACT).replace('"chol"', '"cholesterol"')),
        ),
        "reference.json has a record that violates the contract: /records/0/chol",
    ),
    "contract of fewer features": (
        lambda: make_bundle(
            1.0,
            contract={
                **CONTRACT,
                "properties": {k: v for k, v in CONTRACT["properties"].items() if k != "ca"},
                "x-features": ["sex", "age", "chol"],
            },
        ),
        "model.onnx does not take one float matrix 'record' of 3 columns",
    ),
}


def refused(service: Service, reason: str, caplog: pytest.LogCaptureFixture) -> None:
    """Check that version 2 is refused with ``reason`` in all responses and in the log, and that version 1 is served."""
    for path in ("/readyz", "/model"):
        page = service.get(path)
        assert page["refused"].startswith(f"version 2: {reason}")
        assert page["model"]["version"] == "1"
        assert page["registry"]["reachable"] is True
    answer = service.client.post("/predict", json=RECORD).get_json()
    assert answer["model"]["version"] == "1"
    assert answer["probability"] == pytest.approx(expected_probability(RECORD, -2.0), abs=1e-6)
    assert f"refused: version 2: {reason}" in caplog.text
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize("candidate", CANDIDATES)
def test_it_is_refused_with_a_reason_and_the_old_model_is_served(
    service: Service,
    registry: FakeRegistry,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    candidate: str,
) -> None:
    if candidate == "never ends":
        monkeypatch.setattr(bundles, "PROBE_TIMEOUT_SECONDS", 0.5)
    make, reason = CANDIDATES[candidate]
    registry.register(make())

    service.poll()

    refused(service, reason, caplog)


def test_the_unchanged_bundle_is_served(service: Service, registry: FakeRegistry) -> None:
    registry.register(make_bundle(1.0, model=altered(lambda model: None), reference=ONE))
    assert service.poll().get("/readyz")["model"]["version"] == "2"

    registry.register(make_bundle(1.0, model=answering(expected_probability(RECORD, 1.0))))
    assert service.poll().get("/readyz")["model"]["version"] == "3"


@pytest.mark.parametrize(("rounded", "probability"), [(1.0000001, 1), (1.0000036, 1), (-3.6e-6, 0), (-0.0, 0)])
def test_rounding_errors_outside_of_0_and_1_are_clipped(
    service: Service, registry: FakeRegistry, rounded: float, probability: int
) -> None:
    others = [expected_probability(record, 1.0) for record in REFERENCE[1:]]
    reference = {"records": REFERENCE, "probabilities": [probability, *others]}
    registry.register(make_bundle(model=answering(rounded), reference=reference))

    answer = service.poll().client.post("/predict", json=REFERENCE).get_json()

    assert answer["model"]["version"] == "2"
    found = [one["probability"] for one in answer["predictions"]]
    assert found == [probability, *(pytest.approx(other, abs=1e-6) for other in others)]


@pytest.mark.parametrize("name", ["model.onnx", "contract.json", "reference.json"])
def test_a_pickle_is_never_unpickled(
    service: Service, registry: FakeRegistry, caplog: pytest.LogCaptureFixture, tmp_path: Path, name: str
) -> None:
    canary = tmp_path / "canary"
    payload = pickle.dumps(Canary(canary))
    registry.register(with_file(name, payload))

    service.poll()

    refused(service, name, caplog)
    assert not canary.exists()
    pickle.loads(payload)
    assert canary.exists()  # the check would have noticed it


def test_files_that_serving_does_not_need_are_not_fetched(
    service: Service, registry: FakeRegistry, settings: Settings
) -> None:
    registry.register(with_file("model.pkl", pickle.dumps(Canary(Path("canary")))))

    assert service.poll().get("/readyz")["model"]["version"] == "2"
    assert registry.requests["model.pkl"] == 0
    assert not list(Path(settings.cache).rglob("*.pkl"))


@pytest.mark.parametrize("name", FILE_BYTES)
def test_a_file_that_is_too_large_in_the_manifest_is_not_fetched(
    service: Service, registry: FakeRegistry, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    manifest = json.loads(GOOD["manifest.json"])
    manifest["files"][name]["bytes"] = 10 * 1024**3
    registry.register({**GOOD, "manifest.json": json.dumps(manifest).encode()})
    registry.requests.clear()

    service.poll()

    at_most = f"at most {FILE_BYTES[name]} are fetched"
    refused(service, f"manifest.json says that {name} has 10737418240 bytes; {at_most}", caplog)
    assert registry.requests[name] == 0


@pytest.fixture
def unreachable(registry: FakeRegistry) -> Iterator[UnreachableRegistry]:
    """A proxy in front of ``registry`` that can become unreachable."""
    proxy = UnreachableRegistry(registry)
    yield proxy
    proxy.close()


@pytest.mark.parametrize("name", ["manifest.json", "model.onnx", "evaluation.json"])
def test_an_endless_file_is_read_up_to_its_declared_size(
    unreachable: UnreachableRegistry,
    registry: FakeRegistry,
    settings: Settings,
    caplog: pytest.LogCaptureFixture,
    name: str,
) -> None:
    registry.register(make_bundle())
    service = Service(Settings(mlflow_url=unreachable.url, cache=settings.cache)).poll()
    registry.register(GOOD)
    sent = 0

    def endless(connection: socket.socket) -> None:
        nonlocal sent
        connection.sendall(OK + b"\r\n")
        while True:
            sent += connection.send(b" " * 65536)

    unreachable.disturb(endless, matching=name.encode())
    service.poll()

    reason = "manifest.json is not a manifest of format 1" if name == "manifest.json" else f"size of {name} differs"
    refused(service, reason, caplog)
    assert sent < 32 * 1024**2  # most of it in the buffers of the two sockets
    assert not list(Path(settings.cache).glob(".fetch-*"))


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "../model.onnx",
        "a/../b",
        "a//b",
        "/a",
        "a/",
        "~/a",
        "a\\b",
        "..\\a",
        "C:\\a",
        "a\0b",
        "a\n",
        "-rf",
        ".hidden",
        "a/.hidden",
        "%2e%2e/a",
        "…",
    ],
)
def test_a_path_outside_of_the_bundle_is_refused(name: str) -> None:
    manifest = json.loads(GOOD["manifest.json"])
    manifest["files"][name] = manifest["files"]["model.onnx"]

    with pytest.raises(BundleError, match="which is not a path inside the bundle"):
        parse_manifest(json.dumps(manifest).encode())


def test_a_refused_version_under_the_alias_again_is_logged_again(service: Service, registry: FakeRegistry) -> None:
    registry.register({**GOOD, "model.onnx": b"other"})
    reason = service.poll().get("/readyz")["refused"]
    registry.production = "1"
    assert service.poll().get("/readyz")["refused"] is None

    registry.production = "2"

    assert service.poll().get("/readyz")["refused"] == reason == "version 2: size of model.onnx differs"


def test_if_the_alias_is_deleted_no_version_is_refused_any_more(service: Service, registry: FakeRegistry) -> None:
    registry.register({**GOOD, "model.onnx": b"other"})
    service.poll()

    registry.production = None
    page = service.poll().get("/readyz")

    assert page["refused"] is None
    assert "Registered model alias production not found" in page["registry"]["reason"]


def test_a_version_with_an_unexpected_error_is_refused(
    service: Service, registry: FakeRegistry, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: Any) -> None:
        raise ZeroDivisionError("a fault of ours")

    registry.register(GOOD)
    monkeypatch.setattr("serving.model.model_store.Model", fail)

    page = service.poll().get("/readyz")

    assert page["refused"] == "version 2: ZeroDivisionError: a fault of ours"
    assert (page["model"]["version"], page["registry"]["reachable"]) == ("1", True)
    assert "a fault of ours" in caplog.text


def test_a_cached_version_with_an_unexpected_error_does_not_stop_the_worker(
    service: Service, start: Callable[[], Service], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise ZeroDivisionError("a fault of ours")

    monkeypatch.setattr("serving.model.model_store.Model", fail)

    restarted = start()

    assert restarted.get("/readyz")["detail"] == "refused: version 1: ZeroDivisionError: a fault of ours (in the cache)"


DEADLY = """
import os, signal
from serving.model import bundle
class Deadly(bundle.Model):
    def __init__(self, files):
        super().__init__(files)
        if self.about.family == "deadly":
            os.kill(os.getpid(), signal.SIGKILL)
bundle.Model = Deadly
"""


def test_a_version_that_crashes_its_process_is_loaded_once_and_the_other_workers_continue(
    registry: FakeRegistry, tmp_path: Path
) -> None:
    registry.register(make_bundle())
    service = Gunicorn(tmp_path, DEADLY, HEARTLINE_MLFLOW_URL=registry.url, HEARTLINE_POLL_SECONDS=0.1)
    try:
        service.wait_until_it_answers()

        # when a version crashes its process, then one worker ends, and its successor refuses the version too
        registry.register(make_bundle(1.0, family="deadly"))
        reason = "refused: version 2: the process that loaded it has crashed; heart-disease version 1 is still served"
        service.wait_until(lambda: service.log().count(reason) == 2)
        answers = [service.ask("/predict", RECORD) for _ in range(20)]
        assert {(status, answer["model"]["version"]) for status, answer in answers} == {(200, "1")}
        assert service.ask("/readyz")[1]["refused"] == "version 2: the process that loaded it has crashed"
        assert len(service.workers()) == 3

        # when the next version is valid, then it is served
        registry.register(make_bundle(2.0))
        service.wait_until(lambda: service.log().count("serving heart-disease version 3") == 2)
    finally:
        service.stop()


def test_a_version_that_crashed_a_process_long_ago_is_loaded_again(
    service: Service, registry: FakeRegistry, settings: Settings
) -> None:
    mark = Path(settings.cache) / "trial"
    mark.write_text(digest_of(GOOD["manifest.json"]))
    registry.register(GOOD)
    assert service.poll().get("/readyz")["refused"] == "version 2: the process that loaded it has crashed"

    os.utime(mark, (0, 0))
    service.store._forget_refused()
    service.poll()

    assert service.get("/readyz")["model"]["version"] == "2"
    assert not mark.exists()
