"""A fake MLflow server that keeps what it is told: the registered model, its versions, and the history's experiment."""

import json
from itertools import pairwise
from urllib.parse import parse_qs, urlsplit

from heartline.registry.production import alias_history
from tests.memory_ledger import MemoryLedger
from tests.unit.registry.support import version_files

API = "/api/2.0/mlflow/"
ABSENT = (404, {"error_code": "RESOURCE_DOES_NOT_EXIST"})


def legacy_history(*versions):
    """Return the tags of a history of version 0.2 in which production moved from version to version."""
    moves = {}
    for day, (before, after) in enumerate(pairwise(["", *versions]), 1):
        when = f"2026-03-{day:02d}T00:00:00.000000Z"
        value = {"when": when, "from": before or None, "to": after, "by": "bea", "how": "promote", "forced": False}
        moves[alias_history.PREFIX + when] = json.dumps(value)
    return moves


class FakeRegistry:
    """The state of a registry, behind a ``FakeServer``.

    Attributes:
        origins: the versions, with the origin of their training data.
        aliases: version by alias.
        tags: of the registered model; None where there is none.
        kept: tags of the history's experiment; None where there is none.
        ledger: the ledger of its moves.
        files: by version, the files that differ from those that were registered; None for a missing one.
        version_tags: by version, its tags beside the origin.
        before_read: called with the number of the request before the registered model is read.
    """

    def __init__(self, server, origins, production="", staging="", tags=None):
        self.server = server
        self.origins = dict(origins)
        self.aliases = {"production": production, "staging": staging}
        self.tags = dict(tags or {})
        self.kept = None
        self.ledger = MemoryLedger()
        self.files = {}
        self.version_tags = {}
        self.reads = 0
        self.before_read = lambda number: None
        server.answers = {
            f"GET {API}registered-models/get": self._model,
            f"GET {API}registered-models/alias": self._alias,
            f"GET {API}model-versions/get": self._version,
            f"GET {API}model-versions/get-download-uri": self._uri,
            f"GET {API}experiments/get-by-name": self._experiment,
            f"POST {API}experiments/create": self._create,
            f"POST {API}experiments/set-experiment-tag": lambda query, body: self._set(self.kept, body),
            f"POST {API}registered-models/alias": self._point,
        }
        for version in origins:
            for name in version_files(""):
                server.answers[f"GET /api/2.0/mlflow-artifacts/artifacts/v{version}/{name}"] = self._file

    def _model(self, query, body):
        self.reads += 1
        self.before_read(self.reads)
        if self.tags is None:
            return ABSENT
        aliases = [{"alias": alias, "version": version} for alias, version in self.aliases.items() if version]
        return 200, {"registered_model": {"name": "heart-disease", "aliases": aliases, "tags": _listed(self.tags)}}

    def _alias(self, query, body):
        version = self.aliases.get(query["alias"])
        return (200, {"model_version": {"version": version}}) if version else ABSENT

    def _version(self, query, body):
        version = query["version"]
        if version not in self.origins:
            return ABSENT
        tags = _listed({"origin": self.origins[version], **self.version_tags.get(version, {})})
        return 200, {"model_version": {"version": version, "tags": tags, "source": f"models:/m-{version}"}}

    def _uri(self, query, body):
        return 200, {"artifact_uri": f"mlflow-artifacts:/v{query['version']}"}

    def _file(self, query, body):
        version, name = query[""].split("/")[-2:]
        version = version.removeprefix("v")
        data = {**version_files(self.origins[version]), **self.files.get(version, {})}[name]
        return (200, data.decode()) if data is not None else ABSENT

    def _experiment(self, query, body):
        if self.kept is None:
            return ABSENT
        return 200, {"experiment": {"experiment_id": "7", "lifecycle_stage": "active", "tags": _listed(self.kept)}}

    def _create(self, query, body):
        self.kept = {}
        return 200, {"experiment_id": "7"}

    def _set(self, tags, body):
        tags[body["key"]] = body["value"]
        return 200, {}

    def _point(self, query, body):
        self.aliases[body["alias"]] = body["version"]
        return 200, {}

    def written(self):
        """Return the requests that write, as their path and what they set."""
        return [
            (what.rpartition("/")[2], body.get("version") or body.get("key"))
            for what, _, body in self.server.asked
            if what.startswith("POST")
        ]

    def moves(self):
        """Return the recorded moves."""
        moves = alias_history.moves(self.ledger.entries())
        return [(one.before, one.after, one.by, one.how) for one in moves]


def query_of(path):
    """Return the query of a request's path; "" holds the path itself."""
    parts = urlsplit(path)
    return {name: values[0] for name, values in parse_qs(parts.query).items()} | {"": parts.path}


def _listed(tags):
    return [{"key": key, "value": value} for key, value in tags.items()]
