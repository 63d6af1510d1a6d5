"""What the service serves, asked of the service: a witness of what is in production beside MLflow."""

import requests

VARIABLE = "HEARTLINE_READYZ_URL"
SECONDS = 3.0  # to connect, and between two received bytes


def served(url: str) -> tuple[str, str] | None:
    """Return the version that the service serves and the origin of its training data.

    Args:
        url: of the service's ``/readyz``; "" where it is unknown.

    Returns:
        None where the service does not answer, or serves no model.
    """
    if not url:
        return None
    try:
        with requests.Session() as http:
            http.trust_env = False
            model = http.get(url, timeout=SECONDS).json()["model"]
            return str(model["version"]), str(model["origin"])
    except (requests.RequestException, ValueError, KeyError, TypeError):
        return None
