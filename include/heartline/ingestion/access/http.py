"""Downloads over HTTP within limits on addresses, total time, attempts and size."""

import http
import queue
import threading
import time
from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit

import requests
from urllib3 import exceptions as causes
from urllib3.util.retry import Retry

from heartline.errors import SourceError, SourceRefusedError
from heartline.ingestion.access import proxies
from heartline.ingestion.access.networks import CheckedAdapter, Reach
from heartline.ingestion.limits import ROWS, SIZE, too_large

_CHUNK = 1 << 16
_MAX_REDIRECTS = 5
_TRANSIENT = (429, 500, 502, 503, 504)  # status codes that are worth a retry

# Exceptions of the libraries and their plain description; the first match counts, so narrow types come first.
_REASONS: tuple[tuple[type[Exception] | tuple[type[Exception], ...], str], ...] = (
    (requests.TooManyRedirects, f"the address redirects more than {_MAX_REDIRECTS} times"),
    ((requests.exceptions.ProxyError, causes.ProxyError), "the proxy refuses the connection or is unreachable"),
    (causes.NameResolutionError, "the host's name is not known"),
    (causes.NewConnectionError, "the server refuses the connection or is unreachable"),
    ((requests.Timeout, causes.TimeoutError), "the server did not answer in time"),
    (
        (requests.exceptions.SSLError, causes.SSLError),
        "no secure connection: the certificate or the protocol is not accepted",
    ),
    ((requests.exceptions.ChunkedEncodingError, causes.ProtocolError), "the connection broke before the end"),
    ((requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema, ValueError), "this is not an http(s) URL"),
)
_LASTING = (requests.TooManyRedirects, requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema, UnicodeError)


@dataclass(frozen=True)
class Limits:
    """Limits of a download.

    Attributes:
        seconds: total time, with name lookup, connection, redirects and a slow body.
        retries: further attempts after a failed connection or a status such as 503.
        size: the largest body, in bytes.
        rows: the most rows of a source.
        connect_seconds: time-out of one connection.
        read_seconds: longest pause within a response.
    """

    seconds: float = 300
    retries: int = 3
    size: int = SIZE
    rows: int = ROWS
    connect_seconds: float = 5
    read_seconds: float = 20


def fetch(url: str, limits: Limits, reach: Reach) -> bytes:
    """Return the body at an http(s) URL whose address, and that of each redirect, is public or allowed by ``reach``.

    Raises:
        SourceError: an address is not allowed, the download exceeds a limit or fails, or the response is not a success.
    """
    outcome: queue.SimpleQueue[bytes | Exception] = queue.SimpleQueue()

    def work() -> None:
        try:
            outcome.put(_download(url, limits, reach))
        except Exception as error:  # the waiting caller raises it
            outcome.put(error)

    # A thread that is abandoned on a time-out: nothing else limits the time of a name lookup or of slow headers.
    threading.Thread(target=work, name="download", daemon=True).start()
    try:
        result = outcome.get(timeout=limits.seconds)
    except queue.Empty:
        raise _too_slow(url, limits) from None
    if isinstance(result, Exception):
        raise result
    return result


def public(url: str) -> str:
    """Return a URL without the parts that may be secret: user, password and query."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "a URL that cannot be parsed"
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "…" if parts.query else "", ""))


def _download(url: str, limits: Limits, reach: Reach) -> bytes:
    deadline = time.monotonic() + limits.seconds
    retry = Retry(
        limits.retries,
        status_forcelist=_TRANSIENT,
        backoff_factor=0.2,
        raise_on_status=False,
        respect_retry_after_header=False,  # a server could demand an hour
    )
    try:
        with requests.Session() as session:
            session.max_redirects = _MAX_REDIRECTS
            for scheme in ("http://", "https://"):
                session.mount(scheme, CheckedAdapter(reach, max_retries=retry))
            timeout = (limits.connect_seconds, limits.read_seconds)
            headers = {"Accept-Encoding": "identity"}
            with session.get(
                url, stream=True, timeout=timeout, headers=headers, proxies=proxies.for_url(url)
            ) as answer:
                _expect_success(answer, url)
                return _body(answer, url, limits, deadline)
    # ValueError: a URL that cannot be parsed
    except (requests.RequestException, causes.HTTPError, ValueError) as error:
        raise (SourceRefusedError if isinstance(error, _LASTING) else SourceError)(
            f"the download failed: {_reason(error)}",
            where=public(url),
            expected="a reachable http(s) URL",
            hint="check the URL, the network and the proxy settings, then try again",
        ) from None  # the original message contains the URL with its secrets


def _expect_success(answer: requests.Response, url: str) -> None:
    if answer.ok:
        return
    known = answer.status_code in {status.value for status in http.HTTPStatus}
    phrase = http.HTTPStatus(answer.status_code).phrase if known else "unknown status"
    transient = answer.status_code in _TRANSIENT or answer.status_code >= 500
    raise (SourceError if transient else SourceRefusedError)(
        f"the server answered {answer.status_code} {phrase}",
        where=public(url),
        expected="200 OK and the file",
        hint="try again later" if transient else "check the URL, and whether it can be read without a login",
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


def _too_slow(url: str, limits: Limits) -> SourceError:
    return SourceError(
        f"the download took more than {limits.seconds:g} s",
        where=public(url),
        expected="the complete file within that time",
        hint="check the network and the proxy settings, or raise HEARTLINE_SOURCE_SECONDS",
    )
