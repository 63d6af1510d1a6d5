"""Authentication with API keys. Without keys, the service listens on loopback addresses only."""

import base64
import binascii
import ipaddress
import socket
from collections.abc import Iterable
from pathlib import Path

from flask import Flask, current_app, request

from serving.api.api_keys import OUTCOMES, PREDICT, Keys
from serving.problems import Problem
from serving.settings import PREFIX, SettingError, Settings

OUTCOMES_PATH = "/outcomes"  # has a scope of its own
OPEN_PATHS = {"/healthz", "/readyz"}  # for monitoring; they contain no data of patients


def install(app: Flask, settings: Settings) -> None:
    """Require a key at every path but ``OPEN_PATHS``, if the settings name a file of keys.

    It is required on loopback addresses, too.

    Raises:
        SettingError: the file cannot be used.
    """
    if settings.api_keys:
        app.extensions["keys"] = Keys(Path(settings.api_keys))
        app.before_request(_check)


def check(settings: Settings) -> None:
    """Check the settings of authentication before the service starts.

    Raises:
        SettingError: the service would listen for other machines without keys, or the file of keys cannot be used.
    """
    check_addresses([settings.service_host], settings)
    if settings.api_keys:
        Keys(Path(settings.api_keys))


def problem() -> str | None:
    """Return why the present file of keys is not in use; None if it is, or if there is no such file."""
    keys: Keys | None = current_app.extensions.get("keys")
    return keys.problem if keys else None


def check_addresses(hosts: Iterable[str], settings: Settings) -> None:
    """Check that the service does not listen for other machines without keys.

    Args:
        hosts: the addresses or names to listen on.
        settings: of the service.

    Raises:
        SettingError: other machines can reach one of them, there are no keys, and anonymous access is not allowed.
    """
    if settings.api_keys or settings.allow_anonymous == "yes":
        return
    for host in hosts:
        if not is_loopback(host):
            raise SettingError(
                f"every machine that reaches {host} could use the service without a key",
                where=f"{PREFIX}SERVICE_HOST",
                expected=f"a loopback address, or a file of keys in {PREFIX}API_KEYS",
                hint=f"./heartline keys add NAME makes one; {PREFIX}ALLOW_ANONYMOUS=yes allows access without keys",
            )


def is_loopback(host: str) -> bool:
    """Return whether ``host`` is a loopback address, or a name with loopback addresses only."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        pass
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return False
    return all(ipaddress.ip_address(str(address[0]).partition("%")[0]).is_loopback for *_, address in found)


def _check() -> None:
    if request.environ["PATH_INFO"] in OPEN_PATHS:
        return
    keys: Keys = current_app.extensions["keys"]
    # from the WSGI environment: request.headers would cost more than the rest of this function
    fields = request.environ
    key = sent(str(fields.get("HTTP_AUTHORIZATION", "")), str(fields.get("HTTP_X_API_KEY", "")))
    found = keys.find(key) if key else None
    if found is None:
        raise Problem("unauthorized", reason="the key is unknown" if key else "the request has no key")
    if not found.may(needed := scope_of(str(fields["PATH_INFO"]))):
        raise Problem("forbidden", scope=found.scope, needed=needed)


def scope_of(path: str) -> str:
    """Return the scope that a key needs at a path."""
    return OUTCOMES if path == OUTCOMES_PATH else PREDICT


def sent(authorization: str, api_key: str) -> str:
    """Return the key in these two header fields, or an empty string.

    Programs send a bearer token or ``X-API-Key``; browsers send the key as the password of basic authentication.
    """
    scheme, _, value = authorization.partition(" ")
    if scheme.lower() == "bearer":
        return value.strip()
    if scheme.lower() == "basic":
        return _password(value)
    return api_key


def _password(value: str) -> str:
    try:
        return base64.b64decode(value.strip(), validate=True).decode().partition(":")[2]
    except (binascii.Error, UnicodeDecodeError):
        return ""
