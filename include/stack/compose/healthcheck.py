"""`python healthcheck.py URL [COMPONENT]`: the health checks of docker-compose.yaml.

Exits with 0 if the URL responds with status 200 and reports the component, if one is named, as healthy; else prints the
reason and exits with 1. For the scheduler and the dag-processor, Airflow must also be able to run the DAGs. It runs
every few seconds in most containers, so it imports little of the standard library.
"""

import http.client
import json
import os
import sys
from typing import Any

TIMEOUT = 5  # seconds
USER = "admin"
PASSWORDS = "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE"

# Which problems of the DAGs make which component unhealthy; names of fields of DagHealth.
_DAG_PROBLEMS = {"dag_processor": "unusable", "scheduler": "stuck"}

# The api-server builds the API that tasks use at its first request, for some seconds, which the first task would wait.
_ALSO = {"metadatabase": "/execution/health/ping"}


def problem(url: str, component: str | None = None) -> str | None:
    """Return what is wrong, or None.

    Args:
        url: an ``http://host:port/path``.
        component: a key of the JSON object of Airflow's ``/api/v2/monitor/health``, such as scheduler.
    """
    host, _, path = url.removeprefix("http://").partition("/")
    try:
        status, body = _request(host, "GET", f"/{path}")
        if status != 200:
            return f"{url} answers {status}"
        if component in _ALSO and (status := _request(host, "GET", _ALSO[component])[0]) != 200:
            return f"http://{host}{_ALSO[component]} answers {status}"
        reported = json.loads(body)[component]["status"] if component else "healthy"
        if reported != "healthy":
            return f"{url} reports that {component} is {reported}"
        return _dag_problem(host, _DAG_PROBLEMS[component]) if component in _DAG_PROBLEMS else None
    except (OSError, http.client.HTTPException) as error:
        return f"{url} does not answer: {error}"


def _request(host: str, method: str, path: str, body: Any = None, token: str = "") -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(host, timeout=TIMEOUT)
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
    try:
        connection.request(method, path, json.dumps(body) if body else None, headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def _dag_problem(host: str, kind: str) -> str | None:
    # Python is started without the project on its path.
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))  # noqa: PTH100, PTH120
    from stack.clients import dag_health

    with open(os.environ[PASSWORDS]) as file:  # noqa: PTH123 - pathlib takes longer to import
        login = {"username": USER, "password": json.load(file)[USER]}
    status, body = _request(host, "POST", "/auth/token", login)
    if status != 201:
        return f"{host} refuses the login of {USER}: {status}"
    token = json.loads(body)["access_token"]

    def get(path: str) -> dict[str, Any] | None:
        status, body = _request(host, "GET", f"/api/v2/{path}", token=token)
        if status not in (200, 404):
            raise http.client.HTTPException(f"/api/v2/{path} answers {status}")
        return dict(json.loads(body)) if status == 200 else None

    found: list[str] = getattr(dag_health.check(get), kind)
    return "; ".join(found) or None


if __name__ == "__main__":
    sys.exit(problem(*sys.argv[1:]))
