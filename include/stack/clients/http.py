"""HTTP to the parts on this machine: short time-outs, and never through a proxy."""

from typing import Any

import requests

from stack.errors import UnhealthyError

TIMEOUT = (2.0, 30.0)  # seconds to connect, and between two bytes


def session() -> requests.Session:
    """Return a session that ignores proxies and `.netrc`."""
    fresh = requests.Session()
    fresh.trust_env = False
    return fresh


def get(url: str, timeout: float = 3.0, headers: dict[str, str] | None = None) -> requests.Response | None:
    """Return the answer to a GET, or None where nothing answers within ``timeout`` seconds."""
    try:
        with session() as http:
            return http.get(url, timeout=timeout, headers=headers)
    except requests.RequestException:
        return None


def call(http: requests.Session, method: str, url: str, part: str, **arguments: Any) -> requests.Response:
    """Send a request to ``part`` and return its answer, whatever the status.

    Raises:
        UnhealthyError: it does not answer.
    """
    try:
        return http.request(method, url, timeout=TIMEOUT, **arguments)
    except requests.RequestException as error:
        raise UnhealthyError(
            f"{part} does not answer ({type(error).__name__})",
            where=url,
            expected="a running stack",
            hint=f"./heartline status shows what runs, ./heartline logs {part} why, ./heartline up heals it",
        ) from error
