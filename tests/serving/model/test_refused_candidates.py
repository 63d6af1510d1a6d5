"""A version that is incomplete, or whose predictions are wrong, is not served; the old model is."""

import copy
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from serving.model import model_store
from serving.settings import Settings
from tests.serving.fakes import (
    CONTRACT,
    RECORD,
    REFERENCE,
    WEIGHTS,
    FakeRegistry,
    Files,
    Service,
    expected_probability,
    make_bundle,
    make_onnx,
    seal,
)


def without(files: Files, name: str) -> Files:
    return {key: data for key, data in files.items() if key != name}


def with_manifest(change: Callable[[dict[str, Any]], object]) -> Files:
    files = make_bundle(1.0)
    manifest = json.loads(files["manifest.json"])
    change(manifest)
    return {**files, "manifest.json": json.dumps(manifest).encode()}


def with_contract(**changes: Any) -> Files:
    return make_bundle(1.0, contract={**copy.deepcopy(CONTRACT), **changes})


def with_reference(records: list[Any], probabilities: list[Any]) -> Files:
    return make_bundle(1.0, reference={"records": records, "probabilities": probabilities})


def flip_last_byte(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


def with_external_weights() -> bytes:
    """Return a model with weights in an external file, which is not verified.

    They are more than eight numbers: with fewer, onnxruntime's own optimizer trips over them.
    """
    model = onnx.load_from_string(make_onnx(1.0))
    wide = np.repeat(WEIGHTS / 16, 16, axis=1)
    wide.tofile("weights.bin")
    tensor = TensorProto(name="wide", data_type=TensorProto.FLOAT, dims=wide.shape, data_location=TensorProto.EXTERNAL)
    for key, value in (("location", "weights.bin"), ("offset", "0"), ("length", str(wide.nbytes))):
        tensor.external_data.add(key=key, value=value)
    model.graph.initializer.append(tensor)
    product = next(node for node in model.graph.node if node.op_type == "MatMul")
    position = list(model.graph.node).index(product)
    product.input[1], product.output[0] = "wide", "spread"
    model.graph.initializer.append(numpy_helper.from_array(np.array([1]), "axis"))
    model.graph.node.insert(position + 1, helper.make_node("ReduceSum", ["spread", "axis"], ["product"], keepdims=1))
    return bytes(model.SerializeToString())


GOOD = make_bundle(1.0)
ANSWERS = [expected_probability(record, 1.0) for record in REFERENCE]
UNBOUNDED = {**CONTRACT["properties"], "age": {"type": "integer", "minimum": 0}}
TEXT = {**CONTRACT["properties"], "age": {"enum": ["young", "old"]}}

CANDIDATES: dict[str, tuple[Callable[[], Files], str]] = {
    "changed byte": (
        lambda: {**GOOD, "model.onnx": flip_last_byte(GOOD["model.onnx"])},
        "digest of model.onnx differs",
    ),
    "changed contract": (
        lambda: {**GOOD, "contract.json": GOOD["contract.json"].replace(b"120", b"999")},
        "digest of contract.json differs",
    ),
    "truncated": (lambda: {**GOOD, "model.onnx": GOOD["model.onnx"][:-9]}, "size of model.onnx differs"),
    "too long": (lambda: {**GOOD, "model.onnx": GOOD["model.onnx"] + b" " * 600_000}, "size of model.onnx differs"),
    "no model": (lambda: without(GOOD, "model.onnx"), "model.onnx is missing"),
    "no contract": (lambda: without(GOOD, "contract.json"), "contract.json is missing"),
    "no manifest": (lambda: without(GOOD, "manifest.json"), "manifest.json is missing"),
    "manifest without reference": (
        lambda: with_manifest(lambda manifest: manifest["files"].pop("reference.json")),
        "manifest.json does not list reference.json",
    ),
    "manifest of another format": (
        lambda: with_manifest(lambda manifest: manifest.update(format=2)),
        "manifest.json is not a manifest of format 1",
    ),
    "manifest without snapshot": (
        lambda: with_manifest(lambda manifest: manifest["model"].pop("snapshot")),
        "manifest.json is not a manifest of format 1: Object missing required field `snapshot`",
    ),
    "manifest is garbage": (lambda: {**GOOD, "manifest.json": b"<html>"}, "manifest.json is not a manifest"),
    "path outside": (
        lambda: with_manifest(lambda m: m["files"].update({"../../evil": m["files"]["model.onnx"]})),
        "manifest.json lists '../../evil', which is not a path inside the bundle",
    ),
    "absolute path": (
        lambda: with_manifest(lambda m: m["files"].update({"/etc/evil": m["files"]["model.onnx"]})),
        "manifest.json lists '/etc/evil', which is not a path inside the bundle",
    ),
    "a pickle renamed": (
        lambda: make_bundle(model=pickle.dumps({"a": np.float64(1)})),
        "model.onnx cannot be loaded",
    ),
    "weights elsewhere": (lambda: make_bundle(1.0, model=with_external_weights()), "model.onnx cannot be loaded"),
    "other feature set": (
        lambda: make_bundle(1.0, model=make_onnx(1.0, width=5)),
        "model.onnx does not take one float matrix 'record' of 4 columns",
    ),
    "other output": (
        lambda: make_bundle(1.0, model=make_onnx(1.0, output="scores")),
        "model.onnx has no float output 'probabilities'",
    ),
    "cannot fill in": (
        lambda: make_bundle(1.0, model=make_onnx(1.0, impute=False)),
        "model.onnx returns a value that is not a probability",
    ),
    "cannot fill in, and the reference does not ask": (
        lambda: make_bundle(
            model=make_onnx(1.0, impute=False),
            reference={"records": [RECORD], "probabilities": [expected_probability(RECORD, 1.0)]},
        ),
        "model.onnx returns a value that is not a probability",
    ),
    "answers otherwise": (
        lambda: with_reference(REFERENCE, [ANSWERS[0], ANSWERS[1], ANSWERS[2] - 2e-5]),
        "a prediction differs from reference.json by 2e-05, more than 1e-05",
    ),
    "reference is empty": (lambda: with_reference([], []), "reference.json is not a list of records and probabilities"),
    "reference is uneven": (
        lambda: with_reference(REFERENCE, ANSWERS[:1]),
        "reference.json does not have one probability for each record",
    ),
    "reference against the contract": (
        lambda: with_reference([{**RECORD, "age": 300}], [0.5]),
        "reference.json has a record that violates the contract: /records/0/age",
    ),
    "contract of another version": (
        lambda: with_contract(**{"x-version": "3.0.0"}),
        "contract.json and manifest.json name different versions of the contract",
    ),
    "contract without order": (
        lambda: make_bundle(1.0, contract={k: v for k, v in CONTRACT.items() if k != "x-features"}),
        "contract.json is not a contract: x-features is missing",
    ),
    "contract with other features": (
        lambda: with_contract(**{"x-features": ["sex", "age"]}),
        "contract.json is not a contract: x-features and properties name different fields",
    ),
    "contract that allows anything": (
        lambda: with_contract(additionalProperties=True),
        "contract.json is not a contract: it allows unknown fields",
    ),
    "contract without limits": (
        lambda: with_contract(properties=UNBOUNDED),
        "contract.json is not a contract: age is not a number with limits or codes",
    ),
    "contract with texts": (
        lambda: with_contract(properties=TEXT),
        "contract.json is not a contract: age is not a number with limits or codes",
    ),
    "contract that is no schema": (lambda: with_contract(type="nothing"), "contract.json is not a contract: "),
    "contract is a list": (lambda: make_bundle(1.0, contract=[]), "contract.json is not a contract: Expected `object`"),
}


@pytest.mark.parametrize("candidate", CANDIDATES)
def test_it_is_refused_with_a_reason_and_the_old_model_is_served(
    service: Service,
    registry: FakeRegistry,
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    candidate: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    make, reason = CANDIDATES[candidate]
    registry.register(make())

    service.poll()

    for path in ("/readyz", "/model"):
        page = service.get(path)
        assert page["refused"].startswith(f"version 2: {reason}")
        assert page["model"]["version"] == "1"
    answer = service.client.post("/predict", json=RECORD).get_json()
    assert answer["model"]["version"] == "1"
    assert answer["probability"] == pytest.approx(expected_probability(RECORD, -2.0), abs=1e-6)
    assert f"refused: version 2: {reason}" in caplog.text
    assert "heart-disease version 1 is still served" in caplog.text
    assert not list(tmp_path.rglob("evil"))


def test_the_valid_bundle_is_served(service: Service, registry: FakeRegistry) -> None:
    registry.register(GOOD)

    assert service.poll().get("/readyz")["model"]["version"] == "2"


def test_the_first_version_can_be_refused_too(registry: FakeRegistry, start: Callable[[], Service]) -> None:
    registry.register(without(GOOD, "model.onnx"))

    response = start().poll().client.get("/readyz")

    assert response.status_code == 503
    assert json.loads(response.data)["detail"] == "refused: version 1: model.onnx is missing"


def test_a_refused_version_is_not_fetched_at_every_poll(
    service: Service, registry: FakeRegistry, caplog: pytest.LogCaptureFixture
) -> None:
    registry.register(without(GOOD, "reference.json"))

    service.poll()
    registry.requests.clear()
    service.poll().poll()

    assert registry.requests == {"alias": 2}
    assert service.get("/readyz")["refused"] == "version 2: reference.json is missing"
    assert caplog.text.count("refused: version 2") == 1


def test_a_refused_version_is_served_after_its_files_were_repaired(
    service: Service, registry: FakeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_store, "REFUSED_RETRY_SECONDS", 0.0)
    version = registry.register(without(GOOD, "model.onnx"))
    service.poll()

    registry.versions[version] = GOOD
    service.poll()

    ready = service.get("/readyz")
    assert (ready["model"]["version"], ready["refused"]) == ("2", None)


def test_if_the_alias_moves_back_no_version_is_refused_any_more(service: Service, registry: FakeRegistry) -> None:
    registry.register(without(GOOD, "model.onnx"))
    service.poll()

    registry.production = "1"
    service.poll()

    assert service.get("/readyz")["refused"] is None


def test_an_incomplete_download_is_tried_again_at_the_next_poll(service: Service, registry: FakeRegistry) -> None:
    registry.register(GOOD)
    registry.answer = lambda path: (502, b"bad gateway") if path.endswith("model.onnx") else None
    refused = service.poll().get("/readyz")["refused"]
    assert refused == "version 2: not fetched yet: the registry answered with status 502: bad gateway"

    registry.answer = lambda path: None

    assert service.poll().get("/readyz")["model"]["version"] == "2"


def test_files_outside_the_artifact_store_of_the_server_are_refused(service: Service, registry: FakeRegistry) -> None:
    registry.register(GOOD)
    uri = json.dumps({"artifact_uri": "s3://bucket/1/models/2/artifacts"}).encode()
    registry.answer = lambda path: (200, uri) if path.endswith("get-download-uri") else None

    assert service.poll().get("/readyz")["refused"] == (
        "version 2: its files are at s3://bucket/1/models/2/artifacts, "
        "not in the artifact store that the MLflow server serves"
    )


def test_a_contract_with_an_external_reference_is_refused_and_nothing_is_fetched(
    service: Service, registry: FakeRegistry
) -> None:
    registry.answer = lambda path: (200, b"{}") if path == "/schema" else None
    registry.register(with_contract(allOf=[{"$ref": f"{registry.url}/schema"}]))

    refused = service.poll().get("/readyz")["refused"]

    assert refused.startswith("version 2: contract.json is not a contract: Resource")
    assert registry.requests["schema"] == 0


def test_if_the_cache_is_not_writable_the_old_model_is_served(
    service: Service, registry: FakeRegistry, settings: Settings
) -> None:
    bundles = Path(settings.cache) / "bundles"
    bundles.rename(bundles.with_name("moved"))
    bundles.write_text("a file where a folder belongs")
    registry.register(GOOD)

    ready = service.poll().get("/readyz")

    assert ready["refused"].startswith("version 2: the cache failed: ")
    assert ready["model"]["version"] == "1"


def test_the_threshold_of_the_bundle_is_used(registry: FakeRegistry, start: Callable[[], Service]) -> None:
    registry.register(seal(without(make_bundle(), "manifest.json"), threshold=0.99))

    answer = start().poll().client.post("/predict", json=RECORD).get_json()

    assert answer["probability"] > 0.5
    assert answer["has_heart_disease"] is False
