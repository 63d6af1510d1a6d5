"""Errors as RFC 9457 problem documents: one table, from which answers, OpenAPI document and documentation are made."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import msgspec
from flask import Response
from msgspec import UNSET, Meta, UnsetType

from serving.model.records import MAX_ERRORS, FieldError

MEDIA_TYPE = "application/problem+json"
TYPE_PREFIX = "urn:heartline:problem:"
_ERRORS = f"Each bad field; beyond {MAX_ERRORS} the last entries say how many more there are."


@dataclass(frozen=True, kw_only=True)
class ProblemType:
    """One kind of error. ``detail``, ``expected``, ``hint`` and ``headers`` are templates for ``str.format``.

    Attributes:
        status: HTTP status.
        title: what is wrong, the same words each time.
        when: when the service answers so, for the documentation.
        detail: what is wrong with this request.
        expected: what would have been right.
        hint: the next step for the reader.
        headers: response headers by name.
    """

    status: int
    title: str
    when: str
    detail: str
    expected: str
    hint: str
    headers: Mapping[str, str] = field(default_factory=dict)


# by the last part of the problem's type, which programs may branch on
PROBLEMS: dict[str, ProblemType] = {
    "malformed-request": ProblemType(
        status=400,
        title="Malformed request",
        when="the request is not valid HTTP/1.1, or the end of its body is ambiguous",
        detail="the headers or the chunks of the request are not valid HTTP/1.1",
        expected="a valid HTTP/1.1 request",
        hint="correct the request",
    ),
    "invalid-host": ProblemType(
        status=400,
        title="Invalid host",
        when="an HTTP/1.1 request has no Host, more than one, or a malformed one",
        detail="the request has no Host, more than one, or a malformed one",
        expected="one header field Host with a name or an address, and the port",
        hint="correct the request",
    ),
    "malformed-json": ProblemType(
        status=400,
        title="Malformed JSON",
        when="the body is not JSON, a number is not finite, or a key occurs twice",
        detail="{reason}",
        expected="one JSON object, or an array of objects (RFC 8259), in UTF-8",
        hint="correct the body",
    ),
    "malformed-gzip": ProblemType(
        status=400,
        title="Malformed gzip",
        when="`Content-Encoding` is gzip, and the body is not, or not all of it was sent",
        detail="the Content-Encoding is gzip, but the body is not complete gzip data",
        expected="a body that is compressed as Content-Encoding says",
        hint="compress the body, or leave Content-Encoding out",
    ),
    "malformed-csv": ProblemType(
        status=400,
        title="Malformed CSV",
        when="the header is missing, a column occurs twice, a row is too short or too long, or a quote is not closed",
        detail="{reason}",
        expected="a header with {names}, then a row for each record (RFC 4180), in UTF-8, with commas",
        hint="correct the body",
    ),
    "invalid-parameter": ProblemType(
        status=400,
        title="Invalid parameter",
        when="`explain` is not `true` or `false`, or occurs twice",
        detail="explain is {found!r}",
        expected="explain=true or explain=false, once",
        hint="correct the parameter, or leave it out",
    ),
    "unauthorized": ProblemType(
        status=401,
        title="Unauthorized",
        when="the API key is missing or unknown",
        detail="{reason}",
        expected="Authorization: Bearer KEY, or X-API-Key: KEY; a browser sends the key as the password",
        hint="ask the operator of the service for a key",
        # Basic comes first: some browsers look at one challenge only, and prompt for a password then
        headers={"WWW-Authenticate": 'Basic realm="Heartline", charset="UTF-8", Bearer realm="Heartline"'},
    ),
    "forbidden": ProblemType(
        status=403,
        title="Forbidden",
        when="the API key has a scope that does not allow the request",
        detail="the scope of the key is {scope}",
        expected="a key with the scope {needed} or all",
        hint="use another key; ./heartline keys add NAME --scope {needed} makes one",
    ),
    "not-found": ProblemType(
        status=404,
        title="Not found",
        when="the path does not exist",
        detail="the path does not exist",
        expected="{paths}",
        hint="correct the path",
    ),
    "prediction-not-found": ProblemType(
        status=404,
        title="Prediction not found",
        when="the prediction log has no prediction with this id",
        detail="the prediction log has no prediction with this id{dropped}",
        expected="the prediction_id of a response of this service, not older than the log's retention",
        hint="if the prediction is new, retry in a few seconds; an older one has expired or was never logged",
    ),
    "unknown-prediction": ProblemType(
        status=404,
        title="Unknown prediction",
        when="the prediction log does not have the prediction of an outcome; the others are stored, see `results`",
        detail="of {count} outcomes: {counts}",
        expected="the prediction_id of a response of this service, not older than the log's retention",
        hint="see results; sending all of them again does no harm",
    ),
    "method-not-allowed": ProblemType(
        status=405,
        title="Method not allowed",
        when="the path does not support the method",
        detail="{method} is not supported at this path",
        expected="{allowed}",
        hint="use one of these methods",
        headers={"Allow": "{allowed}"},
    ),
    "request-timeout": ProblemType(
        status=408,
        title="Request timeout",
        when="the client took too long to send the request",
        detail="the request was not complete after {seconds:g} seconds",
        expected="a complete request within that time",
        hint="send less in one request, or send it faster",
    ),
    "not-explainable": ProblemType(
        status=409,
        title="Model cannot be explained",
        when="`explain=true`, and the model has no prediction for a record with all values missing",
        detail="the model has no prediction for a record with all values missing: {reason}",
        expected="a model that imputes every feature",
        hint="send the request without explain",
    ),
    "content-too-large": ProblemType(
        status=413,
        title="Content too large",
        when="the body has too many bytes or too many records",
        detail="{reason}",
        expected="at most {limit}",
        hint="send the records in several requests",
    ),
    "unsupported-media-type": ProblemType(
        status=415,
        title="Unsupported media type",
        when="the Content-Type is neither JSON nor CSV",
        detail="{reason}",
        expected="Content-Type: application/json, or text/csv in UTF-8",
        hint="send a record or a list of records as JSON, or a table as CSV",
        headers={"Accept-Post": "application/json, text/csv"},
    ),
    "unsupported-content-coding": ProblemType(
        status=415,
        title="Unsupported content coding",
        when="the Content-Encoding is not `gzip`",
        detail="the Content-Encoding is {found!r}",
        expected="Content-Encoding: gzip, or none",
        hint="send the body as it is, or compressed with gzip",
        headers={"Accept-Encoding": "gzip"},
    ),
    "host-not-allowed": ProblemType(
        status=421,
        title="Host not allowed",
        when="the name in Host is not one of this service; `/healthz` and `/readyz` do not check it",
        detail="the service does not answer for the host {host}",
        expected="a host of this service: {allowed}",
        hint="use one of these in the URL, or add the name to HEARTLINE_ALLOWED_HOSTS of the service",
    ),
    "invalid-record": ProblemType(
        status=422,
        title="Invalid record",
        when="a field is missing, unknown, or violates the contract; `errors` names each such field",
        detail="{count} the contract",
        expected="records as GET /model describes them under contract",
        hint="correct each field in errors",
    ),
    "invalid-outcome": ProblemType(
        status=422,
        title="Invalid outcome",
        when="a field of an outcome is missing, unknown or not allowed; the others are stored, see `results`",
        detail="of {count} outcomes: {counts}",
        expected="outcomes as GET /openapi.json describes them under Outcome",
        hint="correct each field in errors; sending all of them again does no harm",
    ),
    "headers-too-large": ProblemType(
        status=431,
        title="Request headers too large",
        when="the request line or a header field is too long, or there are too many fields",
        detail="the request line or a header field is too long, or there are too many fields",
        expected="a request line of at most 4 kB, and at most 64 header fields of at most 8 kB",
        hint="send fewer or shorter header fields",
    ),
    "internal-error": ProblemType(
        status=500,
        title="Internal error",
        when="the service failed; its log has the details",
        detail="the service failed to answer this request",
        expected="an answer",
        hint="send the request again; if the error persists, tell the operator of the service: its log has the details",
    ),
    "unsupported-transfer-coding": ProblemType(
        status=501,
        title="Unsupported transfer coding",
        when="the body has a transfer coding other than `chunked`",
        detail="the Transfer-Encoding is not supported",
        expected="Content-Length, or Transfer-Encoding: chunked",
        hint="send the body in one of these ways",
    ),
    "not-ready": ProblemType(
        status=503,
        title="No model is ready",
        when="no model is ready, or not in every worker; `Retry-After` says when to retry",
        detail="{reason}",
        expected="a registered version under the alias, whose files match their manifest",
        hint="retry after the seconds in Retry-After; GET /readyz says when a model is ready",
        headers={"Retry-After": "{retry_after}"},
    ),
    "overloaded": ProblemType(
        status=503,
        title="Overloaded",
        when="the process has too many requests in its queue; `Retry-After` says when to retry",
        detail="too many requests wait for an answer",
        expected="fewer requests at one time",
        hint="retry after the seconds in Retry-After",
        headers={"Retry-After": "1"},
    ),
    "log-unavailable": ProblemType(
        status=503,
        title="Prediction log unavailable",
        when="the prediction log is switched off, or its database is unreachable",
        detail="{reason}",
        expected="a prediction log that is switched on, and a reachable database",
        hint="retry after the seconds in Retry-After; GET /readyz has the state of the log",
        headers={"Retry-After": "5"},
    ),
}


class OutcomeResult(msgspec.Struct, frozen=True, omit_defaults=True):
    """What became of one outcome of a request."""

    row: Annotated[int, Meta(ge=0, description="Position in the request, from 0.")]
    result: Annotated[
        Literal["accepted", "repeated", "corrected", "unknown", "invalid"],
        Meta(
            description="accepted: the first one of its prediction; repeated: equal to the last one, not stored again; "
            "corrected: stored as the next revision; unknown: the log has no such prediction; invalid: see errors."
        ),
    ]
    prediction_id: Annotated[Any, Meta(description="As it was sent; absent if it was not.")] = UNSET
    revision: Annotated[int, Meta(ge=1, description="Of the stored outcome.")] | UnsetType = UNSET
    field: Annotated[str, Meta(description="The first field that is invalid.")] | UnsetType = UNSET
    reason: Annotated[str, Meta(description="What is wrong with it.")] | UnsetType = UNSET


class ProblemDocument(msgspec.Struct, frozen=True):
    """A problem document (RFC 9457)."""

    type: Annotated[str, Meta(description="The kind of problem. Programs may branch on it.")]
    title: Annotated[str, Meta(description="What is wrong, the same words each time.")]
    status: Annotated[int, Meta(description="The HTTP status.")]
    detail: Annotated[str, Meta(description="What is wrong with this request.")]
    expected: Annotated[str, Meta(description="What would have been right.")]
    hint: Annotated[str, Meta(description="The next step.")]
    instance: Annotated[str, Meta(description="The path of the request.")]
    errors: Annotated[list[FieldError], Meta(min_length=1, description=_ERRORS)] | UnsetType = UNSET
    results: (
        Annotated[list[OutcomeResult], Meta(description="What became of each outcome of the request.")] | UnsetType
    ) = UNSET


class Problem(Exception):  # noqa: N818 - the word of RFC 9457
    """An answer other than success.

    Args:
        slug: key of the problem in ``PROBLEMS``.
        kind: the type of a problem that is not in the table.
        errors: the bad fields of the records or outcomes.
        results: what became of each outcome.
        values: what the templates of the problem's type ask for.

    Raises:
        KeyError: the type is not in the table, or a value for its templates is missing.
    """

    def __init__(
        self,
        slug: str,
        *,
        kind: ProblemType | None = None,
        errors: list[FieldError] | UnsetType = UNSET,
        results: list[OutcomeResult] | UnsetType = UNSET,
        **values: object,
    ) -> None:
        kind = kind or PROBLEMS[slug]
        self.slug = slug
        self.status = kind.status
        self.headers = {name: template.format(**values) for name, template in kind.headers.items()}
        self._title = kind.title
        self._detail = kind.detail.format(**values)
        self._expected = kind.expected.format(**values)
        self._hint = kind.hint.format(**values)
        self._errors = errors
        self._results = results
        super().__init__(self._detail)

    def body(self, path: str) -> bytes:
        """Return the document in JSON, for a request to ``path``."""
        return msgspec.json.encode(
            ProblemDocument(
                type=TYPE_PREFIX + self.slug,
                title=self._title,
                status=self.status,
                detail=_printable(self._detail),
                expected=_printable(self._expected),
                hint=self._hint,
                instance=_printable(path),
                errors=self._errors,
                results=self._results,
            )
        )

    def response(self, path: str) -> Response:
        """Return the response to a request for ``path``."""
        return Response(self.body(path), self.status, self.headers, content_type=MEDIA_TYPE)


def _printable(text: str) -> str:
    """Return a text that can be encoded: a byte that is not UTF-8 is escaped."""
    return text.encode("utf-8", "backslashreplace").decode()


def body_too_large(limit: int, when: str = "") -> Problem:
    """Return the answer to a body of more than ``limit`` bytes; ``when`` may say in which state."""
    return Problem(
        "content-too-large", reason=f"the body has more than {limit} bytes{when}", limit=f"{limit} bytes{when}"
    )


def too_many_records(found: int, limit: int, what: str = "the list has {} records") -> Problem:
    """Return the answer to a list of ``found`` records where ``limit`` are allowed; ``what`` names what was counted."""
    return Problem("content-too-large", reason=what.format(found), limit=f"{limit} records")


def invalid_records(errors: list[FieldError]) -> Problem:
    """Return the answer to records with bad fields; ``errors`` has one entry for each, and may end with a count."""
    count = f"more than {MAX_ERRORS}" if len(errors) > MAX_ERRORS else str(len(errors))
    return Problem(
        "invalid-record", count=f"{count} {'field violates' if len(errors) == 1 else 'fields violate'}", errors=errors
    )
