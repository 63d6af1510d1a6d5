"""What the service counts, for Prometheus: one sum over all of its workers.

Each worker counts in files of its own, in a folder that gunicorn.conf.py makes before this module is imported (see
``metrics_folder``). Without such a folder, as in tests, the numbers are those of this process.
"""

import functools
from collections import Counter as Tally
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, TypeVar

import prometheus_client
from flask import Flask, Response
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.metrics_core import GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from serving.metrics import multiprocess
from serving.model.predict import Prediction
from serving.model.records import Contract, FieldError

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

    from serving.model.model_store import ModelStore, Status
    from serving.model.worker_states import Workers

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"
OTHER = "other"  # in place of a path, method or field that a client may invent: each label value costs memory for good
METHODS = {"GET", "HEAD", "POST", "OPTIONS", "PUT", "PATCH", "DELETE"}

prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]
REGISTRY = CollectorRegistry()

REQUESTS = Counter("heartline_requests", "Answered requests.", ("path", "method", "status"), registry=REGISTRY)
SECONDS = Histogram(
    "heartline_request_seconds",
    "Time from a request's head to its answer.",
    ("path",),
    buckets=(0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.1, 1),
    registry=REGISTRY,
)
PREDICTIONS = Counter("heartline_predictions", "Answered records.", ("version", "has_heart_disease"), registry=REGISTRY)
IMPUTED = Counter("heartline_imputed", "Values that the model filled in.", ("feature",), registry=REGISTRY)
INVALID_FIELDS = Counter(
    "heartline_invalid_fields", "Fields against the contract that answers named.", ("field",), registry=REGISTRY
)

LOG_QUEUED = Gauge(
    "heartline_log_queued", "Predictions that wait for the log.", multiprocess_mode="livesum", registry=REGISTRY
)
LOG_WRITTEN = Counter("heartline_log_written", "Predictions written to the log.", registry=REGISTRY)
LOG_SPILLED = Counter("heartline_log_spilled", "Predictions put aside: the log's database is away.", registry=REGISTRY)
LOG_DROPPED = Counter("heartline_log_dropped", "Predictions that no log has or will have.", registry=REGISTRY)

SERVED = Gauge(
    "heartline_serving_workers",
    "Workers that answer with this version.",
    ("version",),
    multiprocess_mode="livesum",
    registry=REGISTRY,
)
REFUSED = Gauge(
    "heartline_refusing_workers",
    "Workers that do not serve the version that the alias names.",
    multiprocess_mode="livesum",
    registry=REGISTRY,
)
REGISTRY_SILENT = Gauge(
    "heartline_registry_silent_workers",
    "Workers that do not hear the registry.",
    multiprocess_mode="livesum",
    registry=REGISTRY,
)
REGISTRY_HEARD = Gauge(
    "heartline_registry_heard_timestamp_seconds",
    "When a worker last heard the registry, seconds since 1970; 0: never.",
    multiprocess_mode="livemax",
    registry=REGISTRY,
)

Labelled = TypeVar("Labelled", Counter, Gauge, Histogram)


def install(app: Flask) -> None:
    """Count the requests to ``app``, and answer ``GET /metrics``. Call it when the model store is there."""
    app.wsgi_app = _Metered(app)  # type: ignore[method-assign]
    following = CollectorRegistry()
    following.register(_Following(app.extensions["model_store"], app.extensions["workers"]))

    @app.get("/metrics")
    def metrics() -> Response:
        """Return all counts in Prometheus' text format."""
        counted = _summed(folder) if (folder := multiprocess.of_this_service()) else _text(REGISTRY)
        return Response(counted + _text(following), content_type=MEDIA_TYPE)


def count_request(path: str, method: str, status: str, seconds: float) -> None:
    """Count an answered request; ``path`` is a route, ``status`` has three digits."""
    _child(REQUESTS, path, method, status).inc()
    _child(SECONDS, path).observe(seconds)


def count_predictions(version: str, predictions: Sequence[Prediction]) -> None:
    """Count answers of ``version``, and what it filled in."""
    positive = sum([prediction.has_heart_disease for prediction in predictions])
    if positive:
        _child(PREDICTIONS, version, "true").inc(positive)
    if negative := len(predictions) - positive:
        _child(PREDICTIONS, version, "false").inc(negative)
    if imputed := [name for prediction in predictions for name in prediction.imputed]:
        for feature, times in Tally(imputed).items():
            _child(IMPUTED, feature).inc(times)


def count_invalid(contract: Contract, errors: Sequence[FieldError]) -> None:
    """Count bad fields by the contract's names."""
    for name, times in Tally(error.pointer.rpartition("/")[2] for error in errors).items():
        _child(INVALID_FIELDS, name if name in contract.properties else OTHER).inc(times)


def follow(before: "Status", now: "Status") -> None:
    """Show how this worker follows the registry, which changed from ``before`` to ``now``."""
    if now.served is not before.served:
        if before.served:
            SERVED.labels(before.served.version.version).set(0)
        if now.served:
            SERVED.labels(now.served.version.version).set(1)
    REFUSED.set(now.refused is not None)
    REGISTRY_SILENT.set(now.silent is not None)
    if now.last_heard:
        REGISTRY_HEARD.set(now.last_heard.timestamp())


class _Metered:
    """The application, with each request counted: outside Flask, so that nothing that answers is left out."""

    def __init__(self, app: Flask) -> None:
        self._next: WSGIApplication = app.wsgi_app
        self._rules = app.url_map
        self._paths: dict[str, str] = {}

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        begun = perf_counter()
        status = "500"

        def start(line: str, headers: list[tuple[str, str]], *exc_info: Any) -> Callable[[bytes], object]:
            nonlocal status
            status = line[:3]
            return start_response(line, headers, *exc_info)

        try:
            return self._next(environ, start)
        finally:
            method = environ["REQUEST_METHOD"]
            path = self._paths.get(environ["PATH_INFO"]) or self._route(environ["PATH_INFO"], method)
            count_request(path, method if method in METHODS else OTHER, status, perf_counter() - begun)

    def _route(self, path: str, method: str) -> str:
        rules = self._rules.bind("")
        try:
            rule = rules.match(path, method, return_rule=True)[0]
        except MethodNotAllowed as error:
            rule = rules.match(path, next(iter(error.valid_methods or ())), return_rule=True)[0]
        except HTTPException:
            return OTHER
        if path == rule.rule:  # a path may begin with any number of slashes, and a client could have them all kept
            self._paths[path] = path
        return rule.rule


class _Following(Collector):
    """How the worker that is asked follows the registry, in words: too many of them to keep as labels for good."""

    def __init__(self, store: "ModelStore", workers: "Workers") -> None:
        self._store = store
        self._workers = workers

    def collect(self) -> Iterator[Metric]:
        status = self._store.status
        if status.served:
            about = {name: str(value or "") for name, value in status.served.describe().items()}
            yield InfoMetricFamily("heartline_model", "The model that answers.", about)
        if status.refused:
            yield InfoMetricFamily("heartline_refused", "Why a version is not served.", {"reason": status.refused})
        if reason := status.silent or status.waiting:
            yield InfoMetricFamily("heartline_registry", "Why the registry offers nothing.", {"reason": reason})
        yield GaugeMetricFamily(
            "heartline_waiting_workers", "Workers that serve no model yet.", self._workers.waiting()
        )


@functools.cache
def _child(metric: Labelled, *labels: str) -> Labelled:
    return metric.labels(*labels)


def _summed(folder: Path) -> bytes:
    registry = CollectorRegistry()
    MultiProcessCollector(registry, str(folder))  # type: ignore[no-untyped-call]
    with multiprocess.shared(folder):
        return _text(registry)


def _text(registry: CollectorRegistry) -> bytes:
    return bytes(prometheus_client.generate_latest(registry))
