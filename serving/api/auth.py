"""Who may ask: everybody on this machine, whoever has a key elsewhere."""

import base64
import binascii
import ipaddress
import socket
from collections.abc import Iterable
from pathlib import Path

from flask import Flask, current_app, g, request

from serving import problems
from serving.api.api_keys import Keys
from serving.settings import PREFIX, SettingError, Settings

OPEN_PATHS = {"/healthz", "/readyz"}  # asked by whatever watches the service; they tell nothing of any patient


def install(app: Flask, settings: Settings) -> None:
    """Ask for a key at every path but ``OPEN_PATHS``, where the settings name a file of keys.

    The name of the key is ``flask.g.client`` then. A key in ``HEARTLINE_API_KEYS`` counts wherever the service listens.

    Raises:
        SettingError: the file cannot be used.
    """
    if settings.api_keys:
        app.extensions["keys"] = Keys(Path(settings.api_keys))
        app.before_request(_check)


def check(settings: Settings) -> None:
    """Refuse settings with which the service must not start.

    Raises:
        SettingError: it would listen for other machines without keys, or the file of keys cannot be used.
    """
    check_addresses([settings.service_host], settings)
    if settings.api_keys:
        Keys(Path(settings.api_keys))


def problem() -> str | None:
    """Return why the file of keys is not in force as it is now; None where it is, or there is none."""
    keys: Keys | None = current_app.extensions.get("keys")
    return keys.problem if keys else None


def check_addresses(hosts: Iterable[str], settings: Settings) -> None:
    """Refuse to listen for other machines without knowing who asks.

    Args:
        hosts: the addresses or names that the service is to listen on.
        settings: what it runs with.

    Raises:
        SettingError: one of them can be reached from elsewhere, there are no keys, and nobody said that this is meant.
    """
    if settings.api_keys or settings.allow_anonymous == "yes":
        return
    for host in hosts:
        if not is_loopback(host):
            raise SettingError(
                f"whoever reaches {host} could ask for predictions, without a key",
                where=f"{PREFIX}SERVICE_HOST",
                expected=f"a loopback address, or a file of keys in {PREFIX}API_KEYS",
                hint=f"./heartline keys add NAME makes one; {PREFIX}ALLOW_ANONYMOUS=yes where everybody may ask",
            )


def is_loopback(host: str) -> bool:
    """Return whether only this machine reaches ``host``; a name counts by all the addresses that it has."""
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
    # from where Flask takes them: its own mapping of the fields would cost more than all the rest here
    fields = request.environ
    key = sent(str(fields.get("HTTP_AUTHORIZATION", "")), str(fields.get("HTTP_X_API_KEY", "")))
    g.client = keys.name_of(key) if key else None
    if g.client is None:
        raise problems.unauthorized(sent=bool(key))


def sent(authorization: str, api_key: str) -> str:
    """Return the key in these two fields of a request, empty where they have none.

    It is a program's, or the password that a browser asks for.
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
