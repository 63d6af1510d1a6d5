"""The proxies of downloads.

The local stack removes the usual variables (HTTPS_PROXY, ALL_PROXY and so on) from the environment of its processes,
because they would affect what the processes say to each other. It hands them over in one variable of their own.
"""

import importlib.util
import json
import os
from collections.abc import Mapping
from urllib.parse import urlsplit

from requests.utils import select_proxy, should_bypass_proxies

from heartline.errors import SourceRefusedError

VARIABLE = "HEARTLINE_DOWNLOAD_PROXIES"  # JSON: the keys http, https, all, no

_KEYS = ("http", "https", "all", "no")


def of_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the proxies that the usual variables name, by the key in ``VARIABLE``; lower-case names come first."""
    found = {key: environment.get(f"{key}_proxy") or environment.get(f"{key.upper()}_PROXY") for key in _KEYS}
    return {key: value for key, value in found.items() if value}


def for_url(url: str, environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the argument ``proxies`` of requests for a URL; empty if no proxy is to be used.

    Raises:
        SourceRefusedError: the proxy is of a kind that cannot be used.
    """
    given: dict[str, str] = json.loads(environment.get(VARIABLE) or "{}")
    bypassed = given.pop("no", "")
    if not given or should_bypass_proxies(url, no_proxy=bypassed):
        return {}
    chosen = select_proxy(url, given)
    if chosen:
        _check(chosen)
    return given


def _check(proxy: str) -> None:
    scheme = urlsplit(proxy if "://" in proxy else f"http://{proxy}").scheme.lower()
    usable = scheme in ("http", "https") or (scheme.startswith("socks") and importlib.util.find_spec("socks"))
    if not usable:
        raise SourceRefusedError(
            f"a proxy of the kind {scheme} cannot be used for downloads",
            where="environment variable HTTPS_PROXY, HTTP_PROXY or ALL_PROXY of the shell that called ./heartline up",
            expected="the address of an HTTP proxy, such as http://proxy.example:3128",
            hint="set HTTPS_PROXY to an HTTP proxy, or unset these variables, then ./heartline up",
        )
