"""Which addresses a download may connect to: public ones unless the stack is offline, and those that a setting allows.

The address is checked after the name's resolution, at the connection itself and so at each redirect. A name that
resolves to another address a moment later cannot pass, because the connection is made to the address that was checked.
"""

import contextlib
import ipaddress
import socket
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from requests.utils import select_proxy
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import HTTPError, NameResolutionError

from heartline.errors import SourceError, SourceRefusedError

SETTING = "HEARTLINE_SOURCE_NETWORKS"
OFFLINE = "HEARTLINE_OFFLINE"

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# Networks of the registries of special addresses (RFC 6890) that Python 3.11 takes to be global.
_NOT_PUBLIC = tuple(
    ipaddress.ip_network(one)
    for one in (
        "192.0.0.0/24",  # protocol assignments
        "192.88.99.0/24",  # 6to4 relays
        "::/96",  # IPv4-compatible
        "::ffff:0:0:0/96",  # IPv4-translated
        "64:ff9b:1::/48",  # local NAT64, which carries private IPv4 addresses
        "fec0::/10",  # site-local
        "3fff::/20",  # documentation
        "5f00::/16",  # segment routing
    )
)
_NAT64 = ipaddress.ip_network("64:ff9b::/96")  # RFC 6052: the last 32 bits are an IPv4 address


@dataclass(frozen=True)
class Reach:
    """The addresses that a download may connect to.

    Attributes:
        networks: networks that the setting allows.
        hosts: names of hosts that are allowed whatever they resolve to, because the stack's owner named them.
        public: whether the public internet is allowed, too.
    """

    networks: tuple[Network, ...] = ()
    hosts: frozenset[str] = frozenset()
    public: bool = True

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "Reach":
        """Return what ``HEARTLINE_SOURCE_NETWORKS`` and ``HEARTLINE_OFFLINE`` allow.

        Raises:
            SourceRefusedError: a network cannot be parsed.
        """
        return cls(parse(environment.get(SETTING, "")), public=environment.get(OFFLINE) != "yes")

    def also(self, url: str) -> "Reach":
        """Return the same with the host of ``url``, which the stack's owner named."""
        host = _host(url)
        return replace(self, hosts=self.hosts | {host}) if host else self

    def allows(self, address: Address) -> bool:
        """Return whether a download may connect to ``address``."""
        seen = _carried(address)
        return (self.public and is_public(seen)) or any(seen in network for network in self.networks)

    def resolve(self, host: str, port: int) -> list[str]:
        """Return the addresses of ``host``, all of which a download may connect to.

        Raises:
            SourceRefusedError: one of its addresses is not allowed.
            OSError: the name is not known.
        """
        if not (self.public or self.networks or host.lower() in self.hosts):
            raise offline(host)  # before the look-up of the name, which would be an attempt to reach a network
        found = [str(entry[4][0]) for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
        if host.lower() not in self.hosts:
            for text in found:
                if not self.allows(ipaddress.ip_address(text.partition("%")[0])):
                    raise refused(host) if self.public else offline(host)
        return found


def is_public(address: Address) -> bool:
    """Return whether ``address`` belongs to the public internet."""
    if any(address in network for network in _NOT_PUBLIC):
        return False
    return address.is_global and not address.is_multicast


def parse(text: str) -> tuple[Network, ...]:
    """Return the networks in a list such as ``10.0.0.0/8, fd00::/8``, separated by commas or spaces.

    Raises:
        SourceRefusedError: one of them is not a network.
    """
    try:
        return tuple(ipaddress.ip_network(one) for one in text.replace(",", " ").split())
    except ValueError as error:
        raise SourceRefusedError(
            f"this is not a network: {error}",
            where=f"setting {SETTING}",
            expected="networks such as 10.0.0.0/8, separated by commas",
            hint="correct it, or leave it unset to allow public addresses only",
        ) from None


def refused(host: str) -> SourceError:
    """Return the error for a host with an address that is not allowed."""
    return SourceRefusedError(
        "the address is not public, so it may not be read as a source",
        where=f"host {host}",
        expected=f"a host on the public internet, or in a network of the setting {SETTING}",
        hint=f"download the file and name its path, or ask the stack's owner to allow the network, for example "
        f"{SETTING}=10.0.0.0/8",
    )


def offline(host: str) -> SourceError:
    """Return the error for a host that is outside, where nothing outside may be reached."""
    return SourceRefusedError(
        "this stack works offline, so nothing is downloaded from other networks",
        where=f"host {host} (setting {OFFLINE})",
        expected=f"a file, the sample, a database, or a host in a network of the setting {SETTING}",
        hint="copy the file to this machine and name its path",
    )


class CheckedAdapter(HTTPAdapter):
    """Connects requests to allowed addresses only."""

    def __init__(self, reach: Reach, **options: Any) -> None:
        self._reach = reach
        super().__init__(**options)

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        """Create the pools of direct connections, which check each address."""
        super().init_poolmanager(*args, **options)
        self.poolmanager.pool_classes_by_scheme = {
            "http": _checked(HTTPConnectionPool, self._reach),
            "https": _checked(HTTPSConnectionPool, self._reach),
        }

    def send(
        self,
        request: requests.PreparedRequest,
        stream: bool = False,
        timeout: Any = None,
        verify: bool | str = True,
        cert: Any = None,
        proxies: Mapping[str, str] | None = None,
    ) -> requests.Response:
        """Send one request of the session; redirects come here too.

        A proxy resolves names by itself. A name that this machine does not know is left to the proxy.
        """
        url = request.url or ""
        if select_proxy(url, dict(proxies or {})):
            with contextlib.suppress(OSError):
                self._reach.resolve(_host(url), urlsplit(url).port or 80)
        return super().send(request, stream, timeout, verify, cert, proxies)


def _checked(kind: type[HTTPConnectionPool], reach: Reach) -> type[HTTPConnectionPool]:
    plain: Any = kind.ConnectionCls

    class Connection(plain):  # type: ignore[misc]
        def _new_conn(self) -> socket.socket:
            name = self.host
            try:
                *others, last = reach.resolve(name, self.port)
            except OSError as error:
                raise NameResolutionError(name, self, error) from error  # type: ignore[arg-type]
            try:
                for address in others:
                    self._dns_host = address
                    with contextlib.suppress(HTTPError):  # IPv6 may be down, for example
                        return super()._new_conn()  # type: ignore[no-any-return]
                self._dns_host = last
                return super()._new_conn()  # type: ignore[no-any-return]
            finally:
                self._dns_host = name  # TLS verifies the certificate for the name

    return type(kind.__name__, (kind,), {"ConnectionCls": Connection})


def _carried(address: Address) -> Address:
    """Return the IPv4 address that an IPv6 address stands for, else the address itself."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    tunnel = address.teredo[1] if address.teredo else None
    return address.ipv4_mapped or address.sixtofour or tunnel or address


def _host(url: str) -> str:
    try:
        return (urlsplit(url).hostname or "").lower()
    except ValueError:
        return ""
