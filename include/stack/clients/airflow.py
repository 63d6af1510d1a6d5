"""A client of Airflow's REST API, with the calls that the launcher needs."""

from typing import Any
from urllib.parse import quote

import requests

from stack.clients import dag_health
from stack.clients.dag_health import DagHealth
from stack.clients.http import call, session
from stack.errors import StackError, UnhealthyError, UsageError, WorkError
from stack.settings import USER

_PARAGRAPH = "\n\n"  # Airflow prints the whole schema after the first paragraph
ACTIVE = ("queued", "running")


class Airflow:
    """A client of the api-server of the local stack."""

    def __init__(self, url: str, password: str) -> None:
        self.url = url
        self._password = password
        self._http = session()

    def _log_in(self) -> None:
        credentials = {"username": USER, "password": self._password}
        answer = call(self._http, "POST", f"{self.url}/auth/token", "airflow", json=credentials)
        if answer.status_code != 201:
            raise UnhealthyError(
                f"Airflow refused the launcher's login ({answer.status_code})",
                where=f"{self.url}/auth/token",
                expected="the user and password that `up` configured",
                hint="./heartline down, then ./heartline up",
            )
        self._http.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"

    def _request(self, method: str, path: str, **arguments: Any) -> requests.Response:
        if "Authorization" not in self._http.headers:
            self._log_in()
        url = f"{self.url}/api/v2/{path}"
        answer = call(self._http, method, url, "airflow", **arguments)
        if answer.status_code == 401:  # the token has expired after a day
            self._log_in()
            answer = call(self._http, method, url, "airflow", **arguments)
        if answer.status_code >= 500:
            raise UnhealthyError(
                f"Airflow cannot answer ({answer.status_code}), perhaps because PostgreSQL does not run",
                where=url,
                expected="a running stack",
                hint="see ./heartline status and ./heartline logs airflow; ./heartline up restarts what does not run",
            )
        return answer

    def _get(self, path: str, **query: Any) -> Any:
        answer = self._request("GET", path, params=query)
        if not answer.ok:
            raise _refused(answer, WorkError)
        return answer.json()

    def dag(self, dag_id: str) -> dict[str, Any] | None:
        """Return the details of a DAG, such as ``params`` and ``is_paused``; None if Airflow does not know it."""
        return self._find(f"dags/{quote(dag_id)}/details")

    def dag_health(self) -> DagHealth:
        """Return what keeps the DAGs from running.

        Raises:
            StackError: Airflow does not answer, or refuses.
        """
        return dag_health.check(self._find)

    def _find(self, path: str) -> dict[str, Any] | None:
        answer = self._request("GET", path)
        if answer.status_code == 404:
            return None
        if not answer.ok:
            raise _refused(answer, WorkError)
        found: dict[str, Any] = answer.json()
        return found

    def trigger(self, dag_id: str, params: dict[str, Any]) -> str:
        """Start a run and return its id.

        Raises:
            UsageError: a parameter does not fit the DAG's schema.
        """
        body = {"logical_date": None, "conf": params}
        answer = self._request("POST", f"dags/{quote(dag_id)}/dagRuns", json=body)
        if answer.status_code in (400, 422):
            raise _refused(answer, UsageError)
        if not answer.ok:
            raise _refused(answer, WorkError)
        return str(answer.json()["dag_run_id"])

    def run(self, dag_id: str, run_id: str) -> dict[str, Any]:
        """Return a run, with its ``state``."""
        found: dict[str, Any] = self._get(f"dags/{quote(dag_id)}/dagRuns/{quote(run_id)}")
        return found

    def active_runs(self, dag_id: str) -> list[str]:
        """Return the ids of the queued and running runs, the oldest first."""
        found = self._get(f"dags/{quote(dag_id)}/dagRuns", state=list(ACTIVE), order_by="run_after", limit=50)
        return [str(run["dag_run_id"]) for run in found["dag_runs"]]

    def open_requests(self, dag_id: str) -> list[dict[str, Any]]:
        """Return the human-in-the-loop requests of a DAG that wait for an answer, the latest first."""
        found: list[dict[str, Any]] = self._get(
            f"dags/{quote(dag_id)}/dagRuns/~/hitlDetails",
            response_received=False,
            state=["awaiting_input"],
            order_by="-created_at",
            limit=50,
        )["hitl_details"]
        return found

    def scheduler_healthy(self) -> bool:
        """Return whether the scheduler has sent a heartbeat lately."""
        return bool(self._get("monitor/health")["scheduler"]["status"] == "healthy")

    def tasks(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        """Return the task instances of a run."""
        found: list[dict[str, Any]] = self._get(
            f"dags/{quote(dag_id)}/dagRuns/{quote(run_id)}/taskInstances", limit=100
        )["task_instances"]
        return found

    def log(self, task: dict[str, Any]) -> list[dict[str, Any]]:
        """Return the events in the log of a task instance's latest try."""
        place = (
            f"dags/{quote(task['dag_id'])}/dagRuns/{quote(task['dag_run_id'])}/taskInstances/{quote(task['task_id'])}"
        )
        query = {"map_index": task["map_index"], "full_content": True}
        answer = self._request(
            "GET", f"{place}/logs/{task['try_number']}", params=query, headers={"Accept": "application/json"}
        )
        content = answer.json().get("content") if answer.ok else None
        return [event for event in content if isinstance(event, dict)] if isinstance(content, list) else []

    def returned(self, dag_id: str, run_id: str, task_id: str) -> Any:
        """Return the return value of a task; None if it has none."""
        path = f"dags/{quote(dag_id)}/dagRuns/{quote(run_id)}/taskInstances/{quote(task_id)}/xcomEntries/return_value"
        answer = self._request("GET", path, params={"deserialize": False, "stringify": False})
        return answer.json()["value"] if answer.ok else None


def _refused(answer: requests.Response, kind: type[StackError]) -> StackError:
    try:
        detail = answer.json()["detail"]
    except (requests.JSONDecodeError, KeyError, TypeError):
        detail = answer.text[:500]
    return kind(
        f"Airflow refused the request ({answer.status_code}): {str(detail).partition(_PARAGRAPH)[0]}",
        where=answer.url.partition("?")[0],
        expected="a request that fits the DAG's parameters",
        hint="correct the parameter, or see ./heartline logs airflow",
    )
