"""The plain request for a prediction, answered by the worker's event loop itself at a third of the usual cost.

Most of that cost is no work on the records: a thread is woken, and layers that know all of HTTP read and write. Here
one form of the request is known, which nearly every client sends. Whatever is not surely that, or has a fault, is left
to the usual way: only one place refuses, and it is not here.
"""

import logging
import re
from time import perf_counter

from flask import Flask
from gunicorn.util import http_date  # type: ignore[import-untyped]

from serving.api import answers, auth
from serving.api.api_keys import Keys
from serving.metrics import prometheus
from serving.model import records
from serving.model.model_store import ModelStore
from serving.prediction_log.writer import PredictionLog
from serving.worker.http_framing import Incoming

PATH = "/predict"
MAX_BODY_BYTES = 4096  # some twenty records: a longer list would hold up the other connections
MAX_HEAD_BYTES = 4096
_HEAD = re.compile(rb"POST /predict HTTP/1\.1\r\n((?:[A-Za-z0-9-]+:[\x20-\x7e]*\r\n){1,32})\r\n")
_JSON = {b"application/json", b"application/json; charset=utf-8"}
# fields that change how a request is framed, or what becomes of the connection
_SPECIAL = {b"transfer-encoding", b"content-encoding", b"connection", b"expect", b"te", b"trailer", b"upgrade"}
_ANSWER = (
    "HTTP/1.1 200 OK\r\nServer: gunicorn\r\nDate: {}\r\nConnection: keep-alive\r\n"
    "Content-Type: application/json\r\nContent-Length: {}\r\n\r\n"
)
LOG = logging.getLogger(__name__)


class Direct:
    """Answers with what the extensions of ``app`` hold; to be asked by one thread."""

    def __init__(self, app: Flask) -> None:
        self._store: ModelStore = app.extensions["model_store"]
        self._log: PredictionLog = app.extensions["prediction_log"]
        self._keys: Keys | None = app.extensions.get("keys")

    def answer(self, request: Incoming) -> bytes | None:
        """Return the whole answer to a request that has come in; None where it takes the usual way."""
        begun = perf_counter()
        served = self._store.status.served
        fields = plain_fields(request.head)
        if served is None or not served.model.suits_fast_path or fields is None or not self._may_ask(fields):
            return None
        body = records.parse_fast(request.body) if len(request.body) <= MAX_BODY_BYTES else None
        if not body or not served.model.contract.allows(body):
            return None
        rows = [body] if isinstance(body, dict) else body
        try:
            content = answers.answer(
                served, rows, self._log, fields.get(b"x-request-id"), single=isinstance(body, dict)
            )
        except Exception:  # the usual way meets it too, and tells
            LOG.debug("a request is not answered directly", exc_info=True)
            return None
        prometheus.count_request(PATH, "POST", "200", perf_counter() - begun)
        return _ANSWER.format(http_date(), len(content)).encode("ascii") + content

    def _may_ask(self, fields: dict[bytes, str]) -> bool:
        if self._keys is None:
            return True
        key = auth.sent(fields.get(b"authorization", ""), fields.get(b"x-api-key", ""))
        return bool(key) and self._keys.name_of(key) is not None


def plain_fields(head: bytes) -> dict[bytes, str] | None:
    """Return the fields of a plain request for a prediction, by their names in small letters; None where it is none.

    Args:
        head: the request line and the fields, with the empty line.
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
