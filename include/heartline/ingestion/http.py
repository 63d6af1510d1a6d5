"""Bytes over HTTP, within limits: of time in all, of attempts, of size."""

import http
import queue
import threading
import time
from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3 import exceptions as causes
from urllib3.util.retry import Retry

from heartline.errors import SourceError

_CHUNK = 1 << 16
_MAX_REDIRECTS = 5
_PASSING = (429, 500, 502, 503, 504)  # answers that another attempt may better

# What the libraries call a failure, and what a person calls it; the first that fits, so the narrow ones come first.
_REASONS: tuple[tuple[type[Exception] | tuple[type[Exception], ...], str], ...] = (
    (requests.TooManyRedirects, f"the address redirects more than {_MAX_REDIRECTS} times"),
    (causes.NameResolutionError, "the host's name is not known"),
    (causes.NewConnectionError, "the server refuses the connection or is not there"),
    ((requests.Timeout, causes.TimeoutError), "the server did not answer in time"),
    (
        (requests.exceptions.SSLError, causes.SSLError),
        "no secure connection, as the certificate or the protocol is not accepted",
    ),
    ((requests.exceptions.ChunkedEncodingError, causes.ProtocolError), "the connection broke before the end"),
    ((requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema), "this is not a web address"),
)


@dataclass(frozen=True)
class Limits:
    """What a download may take.

    Attributes:
        seconds: in all, whatever hangs: name lookup, connection, redirects, a body that trickles.
        retries: further attempts after a failed connection or an answer such as 503.
        size: the largest body, in bytes.
        connect_seconds: for one connection.
        read_seconds: of silence in an answer.
    """

    seconds: float = 300
    retries: int = 3
    size: int = 2 << 30
    connect_seconds: float = 5
    read_seconds: float = 20


def fetch(url: str, limits: Limits) -> bytes:
    """Return the body at an http(s) address.

    Raises:
        SourceError: it cannot be had within the limits, or the answer is not a success.
    """
    outcome: queue.SimpleQueue[bytes | Exception] = queue.SimpleQueue()

    def work() -> None:
        try:
            outcome.put(_download(url, limits))
        except Exception as error:  # whatever it is, the waiting caller must have it
            outcome.put(error)

    # In a thread of its own, left behind on a time-out: nothing else bounds a name lookup or a header that trickles.
    threading.Thread(target=work, name="download", daemon=True).start()
    try:
        result = outcome.get(timeout=limits.seconds)
    except queue.Empty:
        raise _too_slow(url, limits) from None
    if isinstance(result, Exception):
        raise result
    return result


def public(url: str) -> str:
    """Return an address without what may be secret in it: user, password, query."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "an address that cannot be parsed"
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "…" if parts.query else "", ""))


def _download(url: str, limits: Limits) -> bytes:
    deadline = time.monotonic() + limits.seconds
    retry = Retry(
        limits.retries,
        status_forcelist=_PASSING,
        backoff_factor=0.2,
        raise_on_status=False,
        respect_retry_after_header=False,  # a server could ask for an hour
    )
    try:
        with requests.Session() as session:
            session.max_redirects = _MAX_REDIRECTS
            for scheme in ("http://", "https://"):
                session.mount(scheme, HTTPAdapter(max_retries=retry))
            timeout = (limits.connect_seconds, limits.read_seconds)
            with session.get(url, stream=True, timeout=timeout, headers={"Accept-Encoding": "identity"}) as answer:
                _expect_success(answer, url)
                return _body(answer, url, limits, deadline)
    # ValueError: an address that not even its parsing survives
    except (requests.RequestException, causes.HTTPError, ValueError) as error:
        raise SourceError(
            f"the download failed: {_reason(error)}",
            where=public(url),
            expected="an address that answers",
            hint="check the address, the network and the proxy settings, then try again",
        ) from None  # the original's text would repeat the address with its secrets


def _expect_success(answer: requests.Response, url: str) -> None:
    if answer.ok:
        return
    known = answer.status_code in {status.value for status in http.HTTPStatus}
    phrase = http.HTTPStatus(answer.status_code).phrase if known else "unknown status"
    raise SourceError(
        f"the server answered {answer.status_code} {phrase}",
        where=public(url),
        expected="200 OK and the file",
        hint="try again later"
        if answer.status_code in _PASSING
        else "check the address and whether it may be read without a login",
    )


def _body(answer: requests.Response, url: str, limits: Limits, deadline: float) -> bytes:
    body = bytearray()
    announced = answer.headers.get("Content-Length", "")
    if announced.isdigit() and int(announced) > limits.size:
        raise too_large(public(url), limits.size)
    for chunk in answer.iter_content(_CHUNK):
        body += chunk
        if len(body) > limits.size:
            raise too_large(public(url), limits.size)
        if time.monotonic() > deadline:
            raise _too_slow(url, limits)
    return bytes(body)


def _reason(error: Exception) -> str:
    found: list[object] = [error]
    while isinstance(found[-1], Exception) and len(found) < 5:
        last = found[-1]
        found.append(getattr(last, "reason", None) or (last.args[0] if last.args else None))
    for kinds, words in _REASONS:
        if any(isinstance(one, kinds) for one in found):
            return words
    return type(error).__name__


def too_large(where: str, size: int, *, unpacked: bool = False) -> SourceError:
    """Return the error for a source of more than ``size`` bytes, as it is or when ``unpacked``."""
    return SourceError(
        "the source is too large",
        where=where,
        expected=f"at most {size:,} bytes{' when unpacked' if unpacked else ''}",
        hint="divide it, or raise HEARTLINE_SOURCE_MAX_BYTES",
    )


def _too_slow(url: str, limits: Limits) -> SourceError:
    return SourceError(
        f"the download took more than {limits.seconds:g} s",
        where=public(url),
        expected="the whole file within that time",
        hint="check the network and the proxy settings, or raise HEARTLINE_SOURCE_SECONDS",
    )
