"""A fake registry over HTTP, and small bundles with real ONNX models.

Its contract has other fields than that of Heartline on purpose: the service must not depend on them.
"""

import hashlib
import json
import threading
from collections import Counter
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import numpy as np
import onnx
from flask.testing import FlaskClient
from onnx import TensorProto, helper, numpy_helper

from serving.app import create_app
from serving.model.model_store import ModelStore
from serving.settings import Settings

Files = dict[str, bytes]
ARTIFACTS = "/api/2.0/mlflow-artifacts/artifacts/"

CONTRACT: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "properties": {
        "age": {"type": "integer", "minimum": 1, "maximum": 120, "x-unit": "years"},
        "ca": {"enum": [0, 1, 2, 3, None]},
        "chol": {"type": ["number", "null"], "minimum": 50, "maximum": 1000},
        "sex": {"enum": [0, 1], "x-codes": {"0": "female", "1": "male"}},
    },
    "required": ["age", "sex"],
    "additionalProperties": False,
    "x-features": ["sex", "age", "chol", "ca"],
    "x-version": "2.1.0",
}
WEIGHTS = np.array([[0.5], [0.02], [0.001], [0.3]], dtype="float32")
FILL = np.array([0.0, 0.0, 240.0, 1.0], dtype="float32")
RECORD = {"age": 61, "sex": 1, "chol": 250.5, "ca": 2}
EVALUATION: dict[str, Any] = {
    "about": {"family": "logistic_regression", "profile": "quick"},
    "out_of_fold": {
        "roc_auc": {"value": 0.90812, "low": 0.87, "high": 0.94, "n": 242, "note": ""},
        "recall": {"value": None, "low": None, "high": None, "n": 0, "note": "no record has the disease"},
    },
    "holdout": {"roc_auc": {"value": 0.88, "low": 0.78, "high": 0.96, "n": 61, "note": ""}},
    "subgroups": [],
}
REFERENCE = [RECORD, {"age": 30, "sex": 0, "chol": None, "ca": 0}, {"age": 77, "sex": 1}]


def expected_probability(record: dict[str, Any], bias: float) -> float:
    """Return the probability of a model with ``bias`` for ``record``, computed without ONNX."""
    values = [record.get(name) for name in CONTRACT["x-features"]]
    filled = [float(FILL[i]) if value is None else float(value) for i, value in enumerate(values)]
    return float(1 / (1 + np.exp(-(np.dot(filled, WEIGHTS[:, 0].astype("float64")) + bias))))


def make_onnx(bias: float = -2.0, *, width: int = 4, output: str = "probabilities", impute: bool = True) -> bytes:
    """Return a logistic regression that imputes missing values, unless ``impute`` is false."""
    weights = np.resize(WEIGHTS, (width, 1))
    nodes = [
        helper.make_node("IsNaN", ["record"], ["missing"]),
        helper.make_node("Where", ["missing", "fill", "record"], ["filled"]),
        helper.make_node("MatMul", ["filled" if impute else "record", "weights"], ["product"]),
        helper.make_node("Add", ["product", "bias"], ["score"]),
        helper.make_node("Sigmoid", ["score"], ["positive"]),
        helper.make_node("Sub", ["one", "positive"], ["negative"]),
        helper.make_node("Concat", ["negative", "positive"], [output], axis=1),
    ]
    constants = {"fill": np.resize(FILL, width), "weights": weights, "bias": np.float32([bias]), "one": np.float32([1])}
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info("record", TensorProto.FLOAT, [None, width])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, [None, 2])],
        [numpy_helper.from_array(np.asarray(value, "float32"), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def make_bundle(bias: float = -2.0, *, family: str = "logistic_regression", **replaced: Any) -> Files:
    """Return the files of a bundle with correct digests.

    ``model``, ``contract``, ``reference`` and ``evaluation`` may be replaced.
    """
    reference = {"records": REFERENCE, "probabilities": [expected_probability(r, bias) for r in REFERENCE]}
    return seal(
        {
            "model.onnx": replaced.get("model") or make_onnx(bias),
            "contract.json": json.dumps(replaced.get("contract", CONTRACT)).encode(),
            "reference.json": json.dumps(replaced.get("reference", reference)).encode(),
            "evaluation.json": json.dumps(replaced.get("evaluation", EVALUATION)).encode(),
            "model.skops": b"never fetched",
        },
        family=family,
    )


def seal(files: Files, **about: Any) -> Files:
    """Return ``files`` with their manifest."""
    entries = {name: {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)} for name, data in files.items()}
    model = {
        "name": "heart-disease",
        "family": "logistic_regression",
        "origin": "sample",
        "snapshot": "5" * 64,
        "contract_version": "2.1.0",
        "threshold": 0.5,
        **about,
    }
    return {**files, "manifest.json": json.dumps({"format": 1, "files": entries, "model": model}).encode()}


class FakeRegistry:
    """An MLflow server reduced to the endpoints that serving uses."""

    def __init__(self) -> None:
        self.versions: dict[str, Files] = {}
        self.sources: dict[str, str] = {}
        self.tags: dict[str, dict[str, str]] = {}  # by version
        self.runs: dict[str, dict[str, Any]] = {}  # by id, which is "r" and the version's number
        self.production: str | None = None
        self.requests: Counter[str] = Counter()
        self.answer: Callable[[str], tuple[int, bytes] | None] = lambda path: None  # overrides, by path
        registry = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status, body = registry._respond(self.path)
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def register(self, files: Files, *, source: str | None = None, version: str | None = None) -> str:
        """Add a version and point the alias at it."""
        version = version or str(len(self.versions) + 1)
        self.versions[version], self.sources[version] = files, source or f"models:/m-{version}"
        self.production = version
        return version

    def stop(self) -> None:
        """Close the port; may be called more than once."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _respond(self, target: str) -> tuple[int, bytes]:
        url = urlsplit(target)
        path, query = unquote(url.path), {key: values[0] for key, values in parse_qs(url.query).items()}
        self.requests[path.rpartition("/")[2]] += 1
        if (override := self.answer(path)) is not None:
            return override
        if path == "/api/2.0/mlflow/registered-models/alias":
            return self._alias(query)
        if path == "/api/2.0/mlflow/model-versions/get-download-uri":
            return 200, json.dumps(
                {"artifact_uri": f"mlflow-artifacts:/1/models/{query['version']}/artifacts"}
            ).encode()
        if path == "/api/2.0/mlflow/runs/get":
            run = self.runs.get(query["run_id"])
            return (200, json.dumps({"run": run}).encode()) if run else _failure(404, "RESOURCE_DOES_NOT_EXIST", "none")
        version, _, name = path.removeprefix(ARTIFACTS + "1/models/").partition("/artifacts/")
        if (data := self.versions.get(version, {}).get(name)) is not None:
            return 200, data
        return _failure(404, "RESOURCE_DOES_NOT_EXIST", f"No such artifact: {name!r}")

    def _alias(self, query: dict[str, str]) -> tuple[int, bytes]:
        if query != {"name": "heart-disease", "alias": "production"}:
            return _failure(404, "RESOURCE_DOES_NOT_EXIST", f"Registered Model with name={query['name']} not found")
        if self.production is None:
            return _failure(400, "INVALID_PARAMETER_VALUE", "Registered model alias production not found.")
        version = {
            "name": "heart-disease",
            "version": self.production,
            "source": self.sources[self.production],
            "run_id": f"r{self.production}",
        }
        tags = [{"key": key, "value": value} for key, value in self.tags.get(self.production, {}).items()]
        rest = {"status": "READY", "aliases": ["production"], "tags": tags}
        return 200, json.dumps({"model_version": {**version, **rest}}).encode()


def _failure(status: int, code: str, message: str) -> tuple[int, bytes]:
    return status, json.dumps({"error_code": code, "message": message}).encode()


class Service:
    """The application and its store, without a poller: ``poll`` is called by the test."""

    def __init__(self, settings: Settings) -> None:
        self.app = create_app(settings)
        self.store: ModelStore = self.app.extensions["model_store"]
        self.store.restore()

    @property
    def client(self) -> FlaskClient:
        """A new client, one for each thread."""
        return self.app.test_client()

    def poll(self) -> "Service":
        """Ask the registry once."""
        self.store.poll()
        return self

    def get(self, path: str) -> dict[str, Any]:
        """Return the JSON at ``path``."""
        body: dict[str, Any] = self.client.get(path).get_json(force=True)
        return body
