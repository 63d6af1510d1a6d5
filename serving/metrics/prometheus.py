"""The metrics of the service for Prometheus, summed over all workers.

Each worker counts in files of its own, in a folder that gunicorn.conf.py creates before this module is imported (see
``multiprocess``). Without such a folder, as in tests, the metrics are those of this process.
"""

import functools
from collections import Counter as Tally
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
import prometheus_client
from flask import Flask, Response
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.metrics_core import GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from serving.metrics import multiprocess
from serving.model.model_store import ModelStore, Status
from serving.model.predict import Prediction
from serving.model.records import Contract, FieldError
from serving.model.worker_states import Workers

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"
OTHER = "other"  # label value for unknown paths, methods and fields: clients could create any number of time series
METHODS = {"GET", "HEAD", "POST", "OPTIONS", "PUT", "PATCH", "DELETE"}

prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]
REGISTRY = CollectorRegistry()

REQUESTS = Counter(
    "heartline_requests",
    "Answered requests by route, method and status.",
    ("path", "method", "status"),
    registry=REGISTRY,
)
SECONDS = Histogram(
    "heartline_request_duration_seconds",
    "Seconds from the headers of a request to its response.",
    ("path",),
    buckets=(0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.1, 1),
    registry=REGISTRY,
)
PREDICTIONS = Counter(
    "heartline_predictions",
    "Predictions by model version and outcome.",
    ("version", "has_heart_disease"),
    registry=REGISTRY,
)
IMPUTED = Counter(
    "heartline_imputed_values", "Missing values that the model imputed, by feature.", ("feature",), registry=REGISTRY
)
INVALID_FIELDS = Counter(
    "heartline_invalid_fields", "Invalid fields of refused records, by field.", ("field",), registry=REGISTRY
)

OUTCOMES = Counter(
    "heartline_outcomes", "Outcomes that were sent, by what became of them.", ("result",), registry=REGISTRY
)

LOG_QUEUED = Gauge(
    "heartline_prediction_log_queued",
    "Predictions in the queues of the workers, not written yet.",
    multiprocess_mode="livesum",
    registry=REGISTRY,
)
LOG_WRITTEN = Counter("heartline_prediction_log_written", "Predictions written to the database.", registry=REGISTRY)
LOG_SPILLED = Counter(
    "heartline_prediction_log_spilled",
    "Predictions written to disk while the database was unreachable.",
    registry=REGISTRY,
)
LOG_DROPPED = Counter(
    "heartline_prediction_log_dropped",
    "Predictions that were lost: neither in the database nor on disk.",
    registry=REGISTRY,
)

SERVED = Gauge(
    "heartline_serving_workers",
    "Workers that serve the version.",
    ("version",),
    multiprocess_mode="livesum",
    registry=REGISTRY,
)
REFUSED = Gauge(
    "heartline_refusing_workers",
    "Workers that refused the version under the alias.",
    multiprocess_mode="livesum",
    registry=REGISTRY,
)
REGISTRY_UNREACHABLE = Gauge(
    "heartline_registry_unreachable_workers",
    "Workers whose last poll did not reach the registry.",
    multiprocess_mode="livesum",
    registry=REGISTRY,
)
REGISTRY_LAST_CONTACT = Gauge(
    "heartline_registry_last_contact_timestamp_seconds",
    "Time of the last response of the registry to any worker, in seconds since 1970; 0: never.",
    multiprocess_mode="livemax",
    registry=REGISTRY,
)

Labeled = TypeVar("Labeled", Counter, Gauge, Histogram)


def install(app: Flask) -> None:
    """Count the requests to ``app`` and answer ``GET /metrics``. Call it after the model store was added."""
    app.wsgi_app = _Metered(app)  # type: ignore[method-assign]
    status_registry = CollectorRegistry()
    status_registry.register(_StatusCollector(app.extensions["model_store"], app.extensions["workers"]))

    @app.get("/metrics")
    def metrics() -> Response:
        """Return all metrics in the Prometheus text format."""
        counted = _summed(folder) if (folder := multiprocess.of_this_service()) else _text(REGISTRY)
        return Response(counted + _text(status_registry), content_type=MEDIA_TYPE)


def count_request(path: str, method: str, status: str, seconds: float) -> None:
    """Count a request; ``path`` is a route, ``status`` has three digits."""
    _child(REQUESTS, path, method, status).inc()
    _child(SECONDS, path).observe(seconds)


def count_predictions(version: str, predictions: Sequence[Prediction]) -> None:
    """Count predictions of ``version`` and imputed values."""
    positive = sum([prediction.has_heart_disease for prediction in predictions])
    if positive:
        _child(PREDICTIONS, version, "true").inc(positive)
    if negative := len(predictions) - positive:
        _child(PREDICTIONS, version, "false").inc(negative)
    if imputed := [name for prediction in predictions for name in prediction.imputed]:
        for feature, times in Tally(imputed).items():
            _child(IMPUTED, feature).inc(times)


def count_outcomes(results: Mapping[str, int]) -> None:
    """Count outcomes by result."""
    for result, times in results.items():
        _child(OUTCOMES, result).inc(times)


def count_invalid(contract: Contract, errors: Sequence[FieldError]) -> None:
    """Count invalid fields; names that the contract does not have count as ``other``."""
    for name, times in Tally(error.pointer.rpartition("/")[2] for error in errors).items():
        _child(INVALID_FIELDS, name if name in contract.properties else OTHER).inc(times)


def follow(before: Status, now: Status) -> None:
    """Set the gauges of this worker after its status changed from ``before`` to ``now``."""
    if now.served is not before.served:
        if before.served:
            SERVED.labels(before.served.version.version).set(0)
        if now.served:
            SERVED.labels(now.served.version.version).set(1)
    REFUSED.set(now.refused is not None)
    REGISTRY_UNREACHABLE.set(now.reachable is False)
    if now.last_contact:
        REGISTRY_LAST_CONTACT.set(now.last_contact.timestamp())


class _Metered:
    """WSGI middleware that counts requests. It is outside of Flask, so that it sees every response."""

    def __init__(self, app: Flask) -> None:
        self._next: WSGIApplication = app.wsgi_app
        self._rules = app.url_map
        self._paths: dict[str, str] = {}

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        start_time = perf_counter()
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
            count_request(path, method if method in METHODS else OTHER, status, perf_counter() - start_time)

    def _route(self, path: str, method: str) -> str:
        rules = self._rules.bind("")
        try:
            rule = rules.match(path, method, return_rule=True)[0]
        except MethodNotAllowed as error:
            rule = rules.match(path, next(iter(error.valid_methods or ())), return_rule=True)[0]
        except HTTPException:
            return OTHER
        if path == rule.rule:  # paths with additional slashes match too; a client could fill the memory with them
            self._paths[path] = path
        return rule.rule


class _StatusCollector(Collector):
    """The state of the worker that answers. Its texts change too often to be labels of stored metrics."""

    def __init__(self, store: ModelStore, workers: Workers) -> None:
        self._store = store
        self._workers = workers

    def collect(self) -> Iterator[Metric]:
        status = self._store.status
        if status.served:
            about = {name: str(value or "") for name, value in msgspec.structs.asdict(status.served.describe()).items()}
            yield InfoMetricFamily("heartline_model", "The model that the worker serves.", about)
        if status.refused:
            yield InfoMetricFamily(
                "heartline_refused_version", "The version that the worker refused, and why.", {"reason": status.refused}
            )
        if reason := status.unreachable or status.no_version:
            yield InfoMetricFamily(
                "heartline_registry_problem", "Why the registry offers no version.", {"reason": reason}
            )
        yield GaugeMetricFamily(
            "heartline_not_ready_workers", "Workers that serve no model yet.", self._workers.not_ready()
        )


@functools.cache
def _child(metric: Labeled, *labels: str) -> Labeled:
    return metric.labels(*labels)


def _summed(folder: Path) -> bytes:
    registry = CollectorRegistry()
    MultiProcessCollector(registry, str(folder))  # type: ignore[no-untyped-call]
    with multiprocess.shared(folder):
        return _text(registry)


def _text(registry: CollectorRegistry) -> bytes:
    return bytes(prometheus_client.generate_latest(registry))
