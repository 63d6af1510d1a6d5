"""The hosts that the service answers for, and other checks of a request that Flask leaves to servers and proxies.

A page of another site can make a browser send requests to a service on loopback: the site's name is resolved to
127.0.0.1 (DNS rebinding). The browser then sends the site's name as ``Host``, which is refused here.
"""

import functools
import ipaddress
import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from flask import Flask, current_app, request

from serving.api import auth
from serving.problems import Problem
from serving.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterable

    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

SHOWN_CHARACTERS = 100  # of a host in a message
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::\d{1,5})?", re.ASCII)


class AllowedHosts:
    """The names and addresses of the service, from its settings. The port is not compared.

    Loopback names and addresses are always allowed, and the host of the public address: a reverse proxy passes it on.
    A service that other machines can reach also answers for every IP address: a browser that was sent to it by DNS
    rebinding sends a name.
    """

    def __init__(self, settings: Settings) -> None:
        named = [name.strip().lower().rstrip(".") for name in settings.allowed_hosts.split(",")]
        public = (urlsplit(settings.public_service_url).hostname or "").rstrip(".")
        self._names = {"localhost", settings.service_host.lower(), *filter(None, [*named, public])}
        self._any_address = not auth.is_loopback(settings.service_host)
        self.allows = functools.lru_cache(maxsize=256)(self._allows)

    def __str__(self) -> str:
        """Return what is allowed, for a message."""
        addresses = "an IP address" if self._any_address else "a loopback address"
        return ", ".join([*sorted(self._names), addresses])

    def _allows(self, host: str) -> bool:
        """Return whether the service answers for the value of a field ``Host``."""
        found = _HOST.fullmatch(host)
        if found is None:
            return False
        name = found[1].lower().rstrip(".")
        if "*" in self._names or name in self._names:
            return True
        try:
            address = ipaddress.ip_address(name.strip("[]"))
        except ValueError:
            return name.endswith(".localhost")
        return self._any_address or address.is_loopback


def install(app: Flask, settings: Settings) -> None:
    """Check protocol and host of each request, before its key is checked."""
    app.extensions["hosts"] = AllowedHosts(settings)
    app.before_request(_check)
    app.wsgi_app = _WithPath(app.wsgi_app)  # type: ignore[method-assign]


class _WithPath:
    """WSGI middleware: ``GET http://host`` has an empty path, which means ``/``; Flask would redirect to a page."""

    def __init__(self, application: "WSGIApplication") -> None:
        self._next = application

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> "Iterable[bytes]":
        environ["PATH_INFO"] = environ["PATH_INFO"] or "/"
        return self._next(environ, start_response)


def _check() -> None:
    fields = request.environ
    coding = str(fields.get("HTTP_TRANSFER_ENCODING", "chunked"))
    if coding.strip().lower() != "chunked":
        raise Problem("unsupported-transfer-coding")
    try:
        request.query_string.decode()  # Werkzeug would fail at its first use
    except UnicodeDecodeError:
        raise Problem("malformed-request") from None
    for host in _hosts(fields):
        if not _HOST.fullmatch(host):
            raise Problem("invalid-host")
        _check_allowed(host)


def _hosts(fields: "WSGIEnvironment") -> "Iterable[str]":
    """Yield each host of a request: of its field Host, and of an absolute URL in its first line."""
    host = fields.get("HTTP_HOST")
    if host is not None or fields.get("SERVER_PROTOCOL") != "HTTP/1.0":
        yield str(host or "").strip(" \t")
    url = str(fields.get("RAW_URI", ""))
    if url.lower().startswith(("http://", "https://")):
        try:
            yield urlsplit(url).netloc
        except ValueError:
            yield ""


def _check_allowed(host: str) -> None:
    hosts: AllowedHosts = current_app.extensions["hosts"]
    if not hosts.allows(host) and request.environ["PATH_INFO"] not in auth.OPEN_PATHS:
        raise Problem("host-not-allowed", host=host[:SHOWN_CHARACTERS], allowed=hosts)
