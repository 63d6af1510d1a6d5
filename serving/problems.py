"""Errors as RFC 9457 problem documents: one shape on every path."""

from collections.abc import Sequence
from typing import Any

import msgspec
from flask import Response

from serving.model.records import MOST_ERRORS

MEDIA_TYPE = "application/problem+json"


class Problem(Exception):  # noqa: N818 - the word of RFC 9457
    """An answer other than success.

    Args:
        status: HTTP status.
        slug: last part of the problem's ``type``, which a program may branch on.
        title: what was wrong, the same words each time.
        detail: what was wrong this time.
        expected: what would have been right.
        hint: the next step for whoever reads this.
        errors: what was wrong with each field, where there are fields.
        headers: to send along.
    """

    def __init__(
        self,
        status: int,
        slug: str,
        title: str,
        detail: str,
        *,
        expected: str,
        hint: str,
        errors: Sequence[Any] | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.headers = headers or {}
        self.document: dict[str, Any] = {
            "type": f"urn:heartline:problem:{slug}",
            "title": title,
            "status": status,
            "detail": detail,
            "expected": expected,
            "hint": hint,
        }
        if errors is not None:
            self.document["errors"] = errors

    def response(self, path: str) -> Response:
        """Return the answer to a request for ``path``."""
        body = msgspec.json.encode({**self.document, "instance": path})
        return Response(body, self.status, self.headers, content_type=MEDIA_TYPE)


def not_ready(reason: str, retry_after: int) -> Problem:
    """Return the answer while no model has been verified; ``retry_after`` is in seconds."""
    return Problem(
        503,
        "not-ready",
        "No model is ready",
        reason,
        expected="a registered version under the alias, whose files match their manifest",
        hint="ask again after the seconds in Retry-After; GET /readyz says when a model is ready",
        headers={"Retry-After": str(retry_after)},
    )


def body_too_large(limit: int) -> Problem:
    """Return the answer to a body of more than ``limit`` bytes."""
    return Problem(
        413,
        "too-large",
        "Too large",
        f"the body has more than {limit} bytes",
        expected=f"at most {limit} bytes",
        hint="send the records in several requests",
    )


def wrong_type(found: str) -> Problem:
    """Return the answer to a body of media type ``found``, which is empty where none was named."""
    return Problem(
        415,
        "unsupported-media-type",
        "Unsupported media type",
        f"the body is {found}" if found else "the request has no Content-Type",
        expected="Content-Type: application/json, or text/csv in UTF-8",
        hint="send a record, or a list of records, as JSON, or a table as CSV",
        headers={"Accept-Post": "application/json, text/csv"},
    )


def unauthorized(*, sent: bool) -> Problem:
    """Return the answer to a request without a key that is known; ``sent`` says whether it had one."""
    return Problem(
        401,
        "unauthorized",
        "Unauthorized",
        "the key is not known here" if sent else "the request has no key",
        expected="Authorization: Bearer KEY, or X-API-Key: KEY; a browser sends the key as the password",
        hint="ask whoever runs the service for a key",
        # Basic first, for browsers that look at one challenge only: it makes them ask the person in front of them.
        headers={"WWW-Authenticate": 'Basic realm="Heartline", charset="UTF-8", Bearer realm="Heartline"'},
    )


def unknown_prediction(dropped: int) -> Problem:
    """Return the answer for an id that is not in the log, which had to drop ``dropped`` predictions."""
    lost = f"; {dropped} were dropped since the service started" if dropped else ""
    return Problem(
        404,
        "unknown-prediction",
        "Unknown prediction",
        f"the log has no prediction with this id{lost}",
        expected="the prediction_id of an answer of this service, no older than the log keeps them",
        hint="ask again in a few seconds if the answer is that fresh; an older one has expired, or was never logged",
    )


def log_away(reason: str, retry_after: int) -> Problem:
    """Return the answer while the log of predictions cannot be asked; ``retry_after`` is in seconds."""
    return Problem(
        503,
        "log-away",
        "The prediction log is not there",
        reason,
        expected="a log that is switched on, and its database",
        hint="ask again after the seconds in Retry-After; GET /readyz says how the log is",
        headers={"Retry-After": str(retry_after)},
    )


def malformed(detail: str) -> Problem:
    """Return the answer to a body that is not JSON; ``detail`` says where."""
    return Problem(
        400,
        "malformed-json",
        "Malformed JSON",
        detail,
        expected="one JSON object, or an array of objects (RFC 8259), in UTF-8",
        hint="correct the body",
    )


def malformed_csv(detail: str) -> Problem:
    """Return the answer to a body that is not CSV with a header; ``detail`` says where."""
    return Problem(
        400,
        "malformed-csv",
        "Malformed CSV",
        detail,
        expected="a header with the contract's names, then a row for each record (RFC 4180), in UTF-8, with commas",
        hint="correct the body",
    )


def too_many_records(found: int, limit: int, what: str = "the list has {} records") -> Problem:
    """Return the answer to a list of ``found`` records where ``limit`` are allowed; ``what`` says of what they are."""
    return Problem(
        413,
        "too-large",
        "Too large",
        what.format(found),
        expected=f"at most {limit} records",
        hint="send the records in several requests",
    )


def busy() -> Problem:
    """Return the answer where more is asked at one time than the service takes on."""
    return Problem(
        503,
        "busy",
        "Busy",
        "more requests wait than the service takes on",
        expected="fewer requests at one time",
        hint="ask again after the seconds in Retry-After",
        headers={"Retry-After": "1"},
    )


def too_slow(seconds: float) -> Problem:
    """Return the answer to a request that is not whole after ``seconds``."""
    return Problem(
        408,
        "too-slow",
        "Too slow",
        f"the request was not whole after {seconds:g} seconds",
        expected="a whole request within that time",
        hint="send less in one request, or send it faster",
    )


def head_too_large() -> Problem:
    """Return the answer to a request line, or to fields of the head, of too many bytes."""
    return Problem(
        431,
        "head-too-large",
        "Head too large",
        "the request line, or a field of the head, is too long, or there are too many fields",
        expected="a line of at most 4 kB, and at most 64 fields of at most 8 kB",
        hint="send fewer or shorter fields",
    )


def malformed_request() -> Problem:
    """Return the answer to what is not HTTP/1.1, or is ambiguous."""
    return Problem(
        400,
        "malformed-request",
        "Malformed request",
        "the head or the chunks of the request are not as HTTP/1.1 defines them",
        expected="a request as HTTP/1.1 defines it",
        hint="correct the request",
    )


def unknown_coding() -> Problem:
    """Return the answer to a body in a transfer coding that is not spoken here."""
    return Problem(
        501,
        "unknown-transfer-coding",
        "Unknown transfer coding",
        "the Transfer-Encoding is not known here",
        expected="Content-Length, or Transfer-Encoding: chunked",
        hint="send the body so",
    )


def internal_error() -> Problem:
    """Return the answer where the service itself fails."""
    return Problem(
        500,
        "internal-error",
        "The service failed",
        "this request met a fault of the service",
        expected="an answer",
        hint="ask again; if it stays so, tell whoever runs the service: its log has the details",
    )


def invalid_records(errors: Sequence[Any]) -> Problem:
    """Return the answer to records with bad fields; ``errors`` has one entry for each, and may end with a count."""
    count = f"more than {MOST_ERRORS}" if len(errors) > MOST_ERRORS else str(len(errors))
    return Problem(
        422,
        "invalid-record",
        "Invalid record",
        f"{count} {'field is' if len(errors) == 1 else 'fields are'} not as the contract says",
        expected="records as GET /model describes them under contract",
        hint="correct each field in errors",
        errors=errors,
    )
