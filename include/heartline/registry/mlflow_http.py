"""Reads MLflow over plain HTTP, for the api-server: MLflow's client needs 200 MB and seconds to import.

It reads what pages show: the versions of the registered model, its aliases, and artifacts of runs. It writes nothing.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import requests

from heartline import contract
from heartline.errors import RegistryError
from heartline.registry import runs

TIMEOUT = (2.0, 8.0)  # seconds to connect, and between two received bytes: somebody waits for the page
_PAGE = 1000  # versions in one answer


@dataclass(frozen=True)
class ListedVersion:
    """A version of the registered model, as MLflow lists it.

    Attributes:
        number: its number.
        registered: when it was registered, UTC.
        run_id: the MLflow run that trained it.
        tags: its tags.
    """

    number: str
    registered: datetime
    run_id: str
    tags: Mapping[str, str]


@dataclass(frozen=True)
class ListedModel:
    """The registered model.

    Attributes:
        versions: all versions that are not deleted, oldest first.
        aliases: the version that each alias points at.
    """

    versions: tuple[ListedVersion, ...] = ()
    aliases: Mapping[str, str] | None = None


def model() -> ListedModel:
    """Return the registered model with its versions; an empty one where nothing is registered.

    Raises:
        RegistryError: MLflow does not answer, or refuses.
    """
    with _session() as http:
        found = _get(http, "registered-models/get", name=contract.MODEL_NAME)
        if found is None:
            return ListedModel()
        aliases = {str(one["alias"]): str(one["version"]) for one in found["registered_model"].get("aliases", [])}
        versions: list[ListedVersion] = []
        token = ""
        while True:
            page = _get(
                http,
                "model-versions/search",
                filter=f"name = '{contract.MODEL_NAME}'",
                max_results=str(_PAGE),
                **({"page_token": token} if token else {}),
            )
            versions += [_version(one) for one in (page or {}).get("model_versions", [])]
            token = str((page or {}).get("next_page_token") or "")
            if not token:
                return ListedModel(tuple(sorted(versions, key=lambda one: int(one.number))), aliases)


def version_tags(number: str) -> Mapping[str, str]:
    """Return the tags of a version; empty where there is no such version.

    Raises:
        RegistryError: MLflow does not answer, or refuses.
    """
    with _session() as http:
        found = _get(http, "model-versions/get", name=contract.MODEL_NAME, version=number)
        return _version(found["model_version"]).tags if found else {}


def comparison_run(airflow_run: str) -> str:
    """Return the id of the MLflow run of the newest comparison of a training run; "" where there is none.

    Args:
        airflow_run: Airflow's DAG run id.

    Raises:
        RegistryError: MLflow does not answer, or refuses.
    """
    if "'" in airflow_run or "\\" in airflow_run:  # Airflow allows no such id, and MLflow's filter has no escape
        return ""
    with _session() as http:
        experiment = _get(http, "experiments/get-by-name", experiment_name=runs.COMPARISON_EXPERIMENT)
        if experiment is None:
            return ""
        found = _call(
            http,
            "POST",
            "runs/search",
            json={
                "experiment_ids": [experiment["experiment"]["experiment_id"]],
                "filter": f"tags.airflow_run = '{airflow_run}'",
                "order_by": ["attributes.start_time DESC"],
                "max_results": 1,
            },
        )
        listed = (found or {}).get("runs", [])
        return str(listed[0]["info"]["run_id"]) if listed else ""


def artifact(run_id: str, path: str) -> bytes | None:
    """Return an artifact of a run; None where there is none.

    Args:
        run_id: MLflow's id of the run.
        path: of the artifact, such as ``comparison.html``.

    Raises:
        RegistryError: MLflow does not answer, or refuses.
    """
    with _session() as http:
        listed = _get(http, "artifacts/list", run_id=run_id)
        if path not in {str(one["path"]) for one in (listed or {}).get("files", [])}:
            return None
        answer = _answer(http, "GET", "/get-artifact", params={"run_id": run_id, "path": path})
        if not answer.ok:
            raise _refused(answer)
        return answer.content


def _version(found: Mapping[str, Any]) -> ListedVersion:
    return ListedVersion(
        number=str(found["version"]),
        registered=datetime.fromtimestamp(int(found.get("creation_timestamp", 0)) / 1000, UTC),
        run_id=str(found.get("run_id") or ""),
        tags={str(tag["key"]): str(tag.get("value", "")) for tag in found.get("tags", [])},
    )


def _session() -> requests.Session:
    http = requests.Session()
    user, token = os.environ.get("MLFLOW_TRACKING_USERNAME"), os.environ.get("MLFLOW_TRACKING_TOKEN")
    if user:
        http.auth = (user, os.environ.get("MLFLOW_TRACKING_PASSWORD", ""))
    elif token:
        http.headers["Authorization"] = f"Bearer {token}"
    return http


def _get(http: requests.Session, path: str, **query: str) -> dict[str, Any] | None:
    return _call(http, "GET", path, params=query)


def _call(http: requests.Session, method: str, path: str, **arguments: Any) -> dict[str, Any] | None:
    """Return MLflow's answer; None where what was asked for does not exist."""
    answer = _answer(http, method, f"/api/2.0/mlflow/{path}", **arguments)
    try:
        body: dict[str, Any] = answer.json()
    except requests.JSONDecodeError:
        raise _refused(answer) from None
    if answer.ok:
        return body
    if body.get("error_code") == "RESOURCE_DOES_NOT_EXIST":
        return None
    raise _refused(answer)


def _answer(http: requests.Session, method: str, path: str, **arguments: Any) -> requests.Response:
    try:
        return http.request(method, f"{_url()}{path}", timeout=TIMEOUT, **arguments)
    except requests.RequestException as error:
        raise RegistryError(
            f"MLflow does not answer ({type(error).__name__})",
            where=f"MLFLOW_TRACKING_URI {_url() or 'is not set'}",
            expected="an MLflow server that answers",
            hint="check that MLflow runs (./heartline status), then load the page again",
        ) from error


def _refused(answer: requests.Response) -> RegistryError:
    return RegistryError(
        f"MLflow refused a request (status {answer.status_code})",
        where=f"MLFLOW_TRACKING_URI {_url()}",
        expected="an answer of an MLflow server",
        hint="see MLflow's log (./heartline logs mlflow)",
    )


def _url() -> str:
    return os.environ.get("MLFLOW_TRACKING_URI", "").rstrip("/")
