"""Refuses a run with wrong parameters when it is triggered, in the form or through the API.

Airflow passes unknown keys of a run's configuration on, and its JSON Schema cannot tell 1000.0 from 1000 or check one
parameter by another. The api-server therefore asks ``parameters.check``, as the first task does for runs that were
triggered in another way (``airflow dags trigger``, a backfill).
"""

import json
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from airflow.plugins_manager import AirflowPlugin

from heartline import dag_ids
from heartline.errors import ParameterError
from heartline.parameters import monitoring as monitoring_parameters
from heartline.parameters import scoring as scoring_parameters
from heartline.parameters import training as parameters


def _check_approval(given: Mapping[str, object]) -> None:
    """Raise ``ParameterError`` for an unknown parameter: a misspelt version would be the staged one."""
    unknown = sorted(given.keys() - {"version"})
    if unknown:
        raise ParameterError(
            f"there is no parameter {unknown[0]!r}",
            where=f"configuration of a run of {dag_ids.APPROVAL}",
            expected="version, or nothing",
            hint="correct the name, or leave it out for the staged version",
        )


CHECKS: dict[str, Callable[[Mapping[str, object]], None]] = {
    f"/api/v2/dags/{dag_ids.TRAINING}/dagRuns": parameters.check,
    f"/api/v2/dags/{dag_ids.SCORING}/dagRuns": scoring_parameters.check,
    f"/api/v2/dags/{dag_ids.MONITORING}/dagRuns": monitoring_parameters.check,
    f"/api/v2/dags/{dag_ids.APPROVAL}/dagRuns": _check_approval,
}  # by the end of the path at which a run is triggered
MAX_BODY = 1_000_000  # bytes; a longer one is left to Airflow and to the task


class ParameterCheck:
    """ASGI middleware that answers 400 to a request for a run with wrong parameters.

    Args:
        app: the application behind it.
    """

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Handle a request."""
        posted = scope["type"] == "http" and scope["method"] == "POST"
        check = next((one for path, one in CHECKS.items() if posted and scope["path"].endswith(path)), None)
        if check is None:
            await self._app(scope, receive, send)
            return
        messages, body = await _read(receive)
        if problem := _problem(body, check):
            await _refuse(send, problem)
            return

        async def replay() -> Any:
            return messages.pop(0) if messages else await receive()

        await self._app(scope, replay, send)


async def _read(receive: Any) -> tuple[list[Any], bytes]:
    """Return the messages of a request's body, and the body, up to ``MAX_BODY``."""
    messages: list[Any] = []
    body = b""
    while len(body) <= MAX_BODY:
        message = await receive()
        messages.append(message)
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    return messages, body


def _problem(body: bytes, check: Callable[[Mapping[str, object]], None]) -> str:
    """Return what is wrong with the parameters in a request; "" for nothing, or a request that Airflow refuses."""
    try:
        request = json.loads(body)
        conf = request.get("conf") if isinstance(request, dict) else ""
        if conf is None or isinstance(conf, dict):
            check(conf or {})
    except ParameterError as error:
        return str(error)
    except ValueError:  # this is not JSON
        return ""
    return ""


async def _refuse(send: Any, problem: str) -> None:
    content = json.dumps({"detail": problem}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode())]
    await send({"type": "http.response.start", "status": 400, "headers": headers})
    await send({"type": "http.response.body", "body": content})


class HeartlineParameters(AirflowPlugin):
    """Adds the check to the api-server."""

    name = "heartline_parameters"
    fastapi_root_middlewares: ClassVar[list[dict[str, Any]]] = [
        {"name": "Heartline's check of parameters", "middleware": ParameterCheck}
    ]
