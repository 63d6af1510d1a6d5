"""A server that answers as MLflow's REST API does, for what ``heartline.registry.mlflow_http`` asks."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

ABSENT = {"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "there is none"}
REGISTERED = 1_772_323_200_000  # 1 March 2026, 00:00 UTC, in milliseconds
DAY = 86_400_000


@dataclass
class Content:
    """What the server knows.

    Attributes:
        versions: the tags of each version, by number; None without a registered model.
        aliases: the version of each alias.
        comparisons: id of the MLflow run of the comparison, by the id of Airflow's run.
        artifacts: content by run id and path.
        page: versions in one answer.
        status: of every answer; 0 for that of MLflow.
        requests: paths that were asked for.
        headers: of the last request.
    """

    versions: dict[str, dict[str, str]] | None = None
    aliases: dict[str, str] = field(default_factory=dict)
    comparisons: dict[str, str] = field(default_factory=dict)
    artifacts: dict[tuple[str, str], bytes] = field(default_factory=dict)
    page: int = 1000
    status: int = 0
    requests: list[str] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)

    def answer(self, path: str, query: dict[str, str], body: dict[str, Any]) -> dict[str, Any] | bytes | None:
        """Return the answer to a request; None where what it asks for does not exist."""
        if path == "/get-artifact":
            return self.artifacts[query["run_id"], query["path"]]
        answers = {
            "registered-models/get": self._model,
            "model-versions/search": self._search,
            "model-versions/get": self._get,
            "experiments/get-by-name": self._experiment,
            "runs/search": self._runs,
            "artifacts/list": self._list,
        }
        return answers[path.removeprefix("/api/2.0/mlflow/")](query | body)

    def _model(self, _: dict[str, Any]) -> dict[str, Any] | None:
        if self.versions is None:
            return None
        aliases = [{"alias": name, "version": number} for name, number in self.aliases.items()]
        return {"registered_model": {"name": "heart-disease", "aliases": aliases}}

    def _version(self, number: str) -> dict[str, Any]:
        tags = [{"key": key, "value": value} for key, value in (self.versions or {})[number].items()]
        return {
            "version": number,
            "run_id": f"run-{number}",
            "creation_timestamp": REGISTERED + DAY * int(number),
            "tags": tags,
        }

    def _search(self, query: dict[str, Any]) -> dict[str, Any]:
        numbers = sorted(self.versions or {}, key=int, reverse=True)
        start = int(query.get("page_token", 0))
        end = start + self.page
        more = {"next_page_token": str(end)} if end < len(numbers) else {}
        return {"model_versions": [self._version(one) for one in numbers[start:end]], **more}

    def _get(self, query: dict[str, Any]) -> dict[str, Any] | None:
        known = query["version"] in (self.versions or {})
        return {"model_version": self._version(query["version"])} if known else None

    def _experiment(self, query: dict[str, Any]) -> dict[str, Any] | None:
        return {"experiment": {"experiment_id": "4"}} if self.comparisons else None

    def _runs(self, query: dict[str, Any]) -> dict[str, Any]:
        wanted = query["filter"].removeprefix("tags.airflow_run = '").removesuffix("'")
        found = self.comparisons.get(wanted)
        return {"runs": [{"info": {"run_id": found}}]} if found else {}

    def _list(self, query: dict[str, Any]) -> dict[str, Any] | None:
        files = [{"path": path} for run, path in self.artifacts if run == query["run_id"]]
        return {"files": files} if files else None


@contextmanager
def serving(content: Content) -> Iterator[str]:
    """Serve the content; yield the address."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version: ClassVar[str] = "HTTP/1.0"

        def do_GET(self) -> None:
            url = urlsplit(self.path)
            body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or "{}")
            content.requests.append(url.path)
            content.headers = dict(self.headers.items())
            found = content.answer(url.path, {key: values[0] for key, values in parse_qs(url.query).items()}, body)
            sent = found if isinstance(found, bytes) else json.dumps(ABSENT if found is None else found).encode()
            self.send_response(content.status or (404 if found is None else 200))
            self.end_headers()
            self.wfile.write(sent)

        do_POST = do_GET  # noqa: N815 - the name that the library calls

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
