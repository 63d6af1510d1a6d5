"""`python compose_health.py URL [PART]`: the health checks of docker-compose.yaml.

Ends with 0 if the URL answers with 200 and, where a part is named, calls it healthy; else says why and ends with 1. It
runs every few seconds in most containers, so it imports little: nothing but the standard library, and of that not much.
"""

import http.client
import json
import sys

TIMEOUT = 5  # seconds


def problem(url: str, part: str | None = None) -> str | None:
    """Return what is wrong, or None.

    Args:
        url: an ``http://host:port/path``.
        part: a key of the JSON object that Airflow's ``/api/v2/monitor/health`` answers with.
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
    status = json.loads(body)[part]["status"] if part else "healthy"
    return None if status == "healthy" else f"{url} says that {part} is {status}"


if __name__ == "__main__":
    sys.exit(problem(*sys.argv[1:]))
