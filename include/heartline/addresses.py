"""The public addresses of Airflow, MLflow and the service: the ones that people open.

Every link that Heartline shows or stores is made here. Processes reach each other at internal addresses
(``MLFLOW_TRACKING_URI``, ``HEARTLINE_MLFLOW_URL`` and so on), which may be dead from a user's desk.
"""

import os
from collections.abc import Mapping
from urllib.parse import quote, urlsplit

from heartline import contract, dag_ids

AIRFLOW, MLFLOW, SERVICE = "AIRFLOW", "MLFLOW", "SERVICE"
PORTS = {AIRFLOW: 4200, MLFLOW: 5000, SERVICE: 8080}
# MLflow's UI opens with its pages for GenAI, unless the address says otherwise.
_TRAINING_PAGES = "?workflowType=machine_learning"


def setting(part: str) -> str:
    """Return the name of the setting that holds a part's public address."""
    return f"HEARTLINE_PUBLIC_{part}_URL"


def public(part: str, environ: Mapping[str, str] = os.environ) -> str:
    """Return the public address of ``AIRFLOW``, ``MLFLOW`` or ``SERVICE``, without a slash at its end.

    Args:
        part: one of these.
        environ: the settings; by default the port of this machine's loopback interface.
    """
    given = environ.get(setting(part), "").strip().rstrip("/")
    return given or f"http://127.0.0.1:{environ.get(f'HEARTLINE_{part}_PORT') or PORTS[part]}"


def problem(url: str) -> str:
    """Return why a text is not a public address, "" if it is one."""
    try:
        parts = urlsplit(url)
        port = parts.port  # noqa: F841 - raises for a port that is not one
    except ValueError:
        return "it cannot be read"
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return "it does not begin with http:// or https:// and a host"
    if parts.username or parts.password:
        return "it holds a user or a password"
    if parts.query or parts.fragment or any(one.isspace() for one in url):
        return "it holds more than a host, a port and a path"
    return ""


def host(part: str, environ: Mapping[str, str] = os.environ) -> str:
    """Return the value of the Host header with which a browser reaches a part."""
    return urlsplit(public(part, environ)).netloc


def model() -> str:
    """Return the address of the registered model in MLflow."""
    return f"{public(MLFLOW)}/#/models/{contract.MODEL_NAME}"


def version(number: str) -> str:
    """Return the address of a version of the registered model in MLflow."""
    return f"{model()}/versions/{quote(number, safe='')}"


def experiments() -> str:
    """Return the address of MLflow's list of experiments."""
    return f"{public(MLFLOW)}/#/experiments{_TRAINING_PAGES}"


def mlflow_run(experiment: str, run_id: str, artifact: str = "") -> str:
    """Return the address of a run in MLflow, or of one of its artifacts.

    Args:
        experiment: the experiment's id.
        run_id: the run's id.
        artifact: its path, such as ``comparison.html``.
    """
    page = f"/artifacts/{quote(artifact)}" if artifact else ""
    return f"{public(MLFLOW)}/#/experiments/{experiment}/runs/{run_id}{page}"


def mlflow_run_by_id(run_id: str) -> str:
    """Return the address of a run in MLflow whose experiment is not known; MLflow redirects to its page."""
    return f"{public(MLFLOW)}/#/runs/{quote(run_id, safe='')}"


def dag(dag_id: str) -> str:
    """Return the address of a DAG in Airflow."""
    return f"{public(AIRFLOW)}/dags/{dag_id}"


def airflow_run_of(dag_id: str, run_id: str) -> str:
    """Return the address of a run of a DAG in Airflow."""
    return f"{dag(dag_id)}/runs/{quote(run_id, safe='')}"


def required_actions() -> str:
    """Return the address of Airflow's list of requests that wait for a person's answer."""
    return f"{public(AIRFLOW)}/required_actions?response_received=false"


def approval(run_id: str) -> str:
    """Return the address of the page where the request of a run of ``heart_approval`` is answered."""
    return f"{airflow_run_of(dag_ids.APPROVAL, run_id)}/tasks/ask/required_actions"


def airflow_run(run_id: str) -> str:
    """Return the address of a training run in Airflow."""
    return airflow_run_of(dag_ids.TRAINING, run_id)
