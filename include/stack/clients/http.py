"""HTTP requests to the processes on this machine: short time-outs, no proxy."""

from typing import Any

import requests

from stack.errors import UnhealthyError

REQUEST_TIMEOUT = (2.0, 30.0)  # seconds to connect, and between two received bytes


def session() -> requests.Session:
    """Return a session that ignores proxies and `.netrc`."""
    fresh = requests.Session()
    fresh.trust_env = False
    return fresh


def get(url: str, timeout: float = 3.0, headers: dict[str, str] | None = None) -> requests.Response | None:
    """Return the response to a GET, or None if there is none within ``timeout`` seconds."""
    try:
        with session() as http:
            return http.get(url, timeout=timeout, headers=headers)
    except requests.RequestException:
        return None


def call(http: requests.Session, method: str, url: str, process: str, **arguments: Any) -> requests.Response:
    """Send a request to a process of the stack and return the response, whatever its status.

    Raises:
        UnhealthyError: the process does not answer.
    """
    try:
        return http.request(method, url, timeout=REQUEST_TIMEOUT, **arguments)
    except requests.RequestException as error:
        raise UnhealthyError(
            f"{process} does not answer ({type(error).__name__})",
            where=url,
            expected="a running stack",
            hint=f"see ./heartline status and ./heartline logs {process}; ./heartline up restarts it",
        ) from error
