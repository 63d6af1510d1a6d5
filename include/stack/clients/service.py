"""A client of the prediction service."""

import os
import time
from typing import Any

import requests

from heartline.contract import FEATURES
from stack.clients.http import call, get, session
from stack.errors import UnhealthyError, WorkError
from stack.secrets import api_keys
from stack.settings import Settings

SWITCH_TIMEOUT = 90.0  # seconds until the service must serve a new production version
_REFUSED = "refused: "  # at the start of why the service is not ready
CONSECUTIVE_ANSWERS = 4 * (os.cpu_count() or 1)  # so many that each worker has probably answered


def example() -> dict[str, float]:
    """Return an example record, from the contract."""
    return {column.name: column.example for column in FEATURES}


def served(settings: Settings) -> dict[str, Any] | None:
    """Return the service's description of its model; None if it does not answer or has no model."""
    answer = get(f"{settings.service_url}/model", headers=_key(settings))
    if answer is None or not answer.ok:
        return None
    body: dict[str, Any] = answer.json()
    model = body.get("model", body)
    return model if isinstance(model, dict) else None


def refused(settings: Settings) -> str | None:
    """Return the version under the alias that the service does not serve, and why.

    None if it serves that version, or does not answer.
    """
    answer = get(f"{settings.service_url}/readyz")
    if answer is None:
        return None
    if answer.ok:
        return answer.json().get("refused") or None
    detail = str(_problem(answer).get("detail"))
    return detail.removeprefix(_REFUSED) if detail.startswith(_REFUSED) else None


def wait_until_served(settings: Settings, version: str) -> None:
    """Wait until every worker of the service answers with this version.

    Raises:
        UnhealthyError: they do not within ``SWITCH_TIMEOUT``; shows the response of /readyz.
    """
    deadline, answers = time.monotonic() + SWITCH_TIMEOUT, 0
    while time.monotonic() < deadline:
        model = served(settings)
        answers = answers + 1 if model and str(model.get("version")) == version else 0
        # a worker that has no model yet may not have been asked: /readyz knows the states of all workers
        if answers >= CONSECUTIVE_ANSWERS and _is_ready(settings):
            return
        if not answers or answers >= CONSECUTIVE_ANSWERS:
            time.sleep(0.1)
    ready = get(f"{settings.service_url}/readyz")
    raise UnhealthyError(
        f"the service does not serve version {version} after {SWITCH_TIMEOUT:.0f} s",
        where=f"{settings.service_url}/readyz: " + (ready.text.strip()[:500] if ready is not None else "no answer"),
        expected=f"`production` of the registry, version {version}",
        hint="see ./heartline logs service for the reason",
    )


def _is_ready(settings: Settings) -> bool:
    answer = get(f"{settings.service_url}/readyz")
    return answer is not None and answer.ok


def predict(settings: Settings, body: bytes | Any) -> Any:
    """Return the service's response to a record or a list of records.

    Raises:
        WorkError: the record was refused; names every invalid field.
        UnhealthyError: the service does not answer, or has no model yet.
    """
    arguments = {"data": body} if isinstance(body, bytes) else {"json": body}
    headers = {"Content-Type": "application/json"} | _key(settings)
    answer = call(session(), "POST", f"{settings.service_url}/predict", "service", headers=headers, **arguments)
    if answer.ok:
        return answer.json()
    problem = _problem(answer)
    if answer.status_code >= 500:
        raise UnhealthyError(
            f"the service cannot answer now ({answer.status_code}): {problem.get('detail') or answer.text[:300]}",
            where=f"{settings.service_url}/predict",
            expected="a model in production",
            hint="see ./heartline status; ./heartline up trains a model if there is none",
        )
    fields = _fields(problem)
    raise WorkError(
        f"the record was refused ({answer.status_code}): {problem.get('detail') or answer.text[:300]}",
        where="".join(f"\n            {line}" for line in fields) or f"{settings.service_url}/predict",
        expected=str(problem.get("expected") or f"a record as {settings.service_url}/model describes it"),
        hint="correct these fields" if fields else str(problem.get("hint") or "correct the record"),
    )


def _key(settings: Settings) -> dict[str, str]:
    """Return the Authorization header with the launcher's API key; empty if there is none."""
    key = api_keys.own(settings)
    return {"Authorization": f"Bearer {key}"} if key else {}


def _problem(answer: requests.Response) -> dict[str, Any]:
    try:
        body = answer.json()
    except requests.JSONDecodeError:
        return {}
    return body if isinstance(body, dict) else {}


def _fields(problem: dict[str, Any]) -> list[str]:
    """Return a line for each invalid field of a problem document."""
    lines = []
    for error in problem.get("errors") or []:
        about = dict(error)
        rest = "; ".join(f"{key}: {value}" for key, value in about.items() if key not in ("pointer", "detail"))
        lines.append(f"{about.get('pointer')}: {about.get('detail')}; {rest}")
    return lines
