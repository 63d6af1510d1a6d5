"""The fast path: the worker's event loop answers the plain request for a prediction at a third of the CPU.

Most of the cost of a request is not work on its records: a thread is woken, and layers that support all of HTTP parse
and write. The fast path knows one form of the request, which nearly every client sends. Any other request, and any
request with a fault, takes the WSGI path: errors are answered there and nowhere else.
"""

import logging
import re
from time import perf_counter

from flask import Flask
from gunicorn.util import http_date  # type: ignore[import-untyped]

from serving.api import auth, prediction_responses
from serving.api.api_keys import PREDICT, Keys
from serving.api.hosts import AllowedHosts
from serving.metrics import prometheus
from serving.model import records
from serving.model.model_store import ModelStore
from serving.prediction_log.writer import PredictionLog
from serving.worker.http_framing import Incoming

PATH = "/predict"
MAX_BODY_BYTES = 4096  # about twenty records: a longer list would delay the other connections
MAX_HEAD_BYTES = 4096
_HEAD = re.compile(rb"POST /predict HTTP/1\.1\r\n((?:[A-Za-z0-9-]+:[\x20-\x7e]*\r\n){1,32})\r\n")
_JSON = {b"application/json", b"application/json; charset=utf-8"}
# fields that change the framing of a request, or what happens to the connection after it
_SPECIAL = {b"transfer-encoding", b"content-encoding", b"connection", b"expect", b"te", b"trailer", b"upgrade"}
_RESPONSE = (
    "HTTP/1.1 200 OK\r\nServer: gunicorn\r\nDate: {}\r\nConnection: keep-alive\r\n"
    "Content-Type: application/json\r\nContent-Length: {}\r\n\r\n"
)
LOG = logging.getLogger(__name__)


class FastPath:
    """Answers plain requests with the extensions of ``app``; for use by one thread."""

    def __init__(self, app: Flask) -> None:
        self._store: ModelStore = app.extensions["model_store"]
        self._log: PredictionLog = app.extensions["prediction_log"]
        self._hosts: AllowedHosts = app.extensions["hosts"]
        self._keys: Keys | None = app.extensions.get("keys")

    def answer(self, request: Incoming) -> bytes | None:
        """Return the complete response to a complete request; None if the request takes the WSGI path."""
        started = perf_counter()
        served = self._store.status.served
        fields = plain_fields(request.head)
        if served is None or not served.model.suits_fast_path or fields is None or not self._is_authorized(fields):
            return None
        body = records.parse_fast(request.body) if len(request.body) <= MAX_BODY_BYTES else None
        if not body or not served.model.contract.allows(body):
            return None
        rows = [body] if isinstance(body, dict) else body
        try:
            content = prediction_responses.answer(
                served, rows, self._log, fields.get(b"x-request-id"), single=isinstance(body, dict)
            )
        except Exception:  # the WSGI path meets the same error, and reports it
            LOG.debug("a request is left to the WSGI path", exc_info=True)
            return None
        prometheus.count_request(PATH, "POST", "200", perf_counter() - started)
        return _RESPONSE.format(http_date(), len(content)).encode("ascii") + content

    def _is_authorized(self, fields: dict[bytes, str]) -> bool:
        if not self._hosts.allows(fields[b"host"]):
            return False
        if self._keys is None:
            return True
        key = auth.sent(fields.get(b"authorization", ""), fields.get(b"x-api-key", ""))
        found = self._keys.find(key) if key else None
        return found is not None and found.may(PREDICT)


def plain_fields(head: bytes) -> dict[bytes, str] | None:
    """Return the header fields of a plain request for a prediction by lower-case name; None for any other request.

    Args:
        head: the request line and the header fields, with the empty line.
    """
    found = _HEAD.fullmatch(head) if len(head) <= MAX_HEAD_BYTES else None
    if not found:
        return None
    lines = found[1].split(b"\r\n")[:-1]
    fields = {name.lower(): value.strip(b" ") for name, _, value in (line.partition(b":") for line in lines)}
    special = _SPECIAL & fields.keys()
    if special and (special != {b"connection"} or fields[b"connection"].lower() != b"keep-alive"):
        return None
    if len(fields) < len(lines) or b"host" not in fields or fields.get(b"content-type", b"").lower() not in _JSON:
        return None
    return {name: value.decode("ascii") for name, value in fields.items()}
