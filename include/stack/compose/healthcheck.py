"""`python healthcheck.py URL [COMPONENT]`: the health checks of docker-compose.yaml.

Exits with 0 if the URL responds with status 200 and reports the component, if one is named, as healthy; else prints the
reason and exits with 1. It runs every few seconds in most containers, so it imports little of the standard library.
"""

import http.client
import json
import sys

TIMEOUT = 5  # seconds


def problem(url: str, component: str | None = None) -> str | None:
    """Return what is wrong, or None.

    Args:
        url: an ``http://host:port/path``.
        component: a key of the JSON object of Airflow's ``/api/v2/monitor/health``, such as scheduler.
    """
    host, _, path = url.removeprefix("http://").partition("/")
    connection = http.client.HTTPConnection(host, timeout=TIMEOUT)
    try:
        connection.request("GET", f"/{path}")
        answer = connection.getresponse()
        body = answer.read()
    except (OSError, http.client.HTTPException) as error:
        return f"{url} does not answer: {error}"
    finally:
        connection.close()
    if answer.status != 200:
        return f"{url} answers {answer.status}"
    status = json.loads(body)[component]["status"] if component else "healthy"
    return None if status == "healthy" else f"{url} reports that {component} is {status}"


if __name__ == "__main__":
    sys.exit(problem(*sys.argv[1:]))
