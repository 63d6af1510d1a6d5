"""``POST /outcomes``: what was observed of the persons of logged predictions."""

import re
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
from flask import Blueprint, Flask, Response, current_app, request
from msgspec import UNSET

from serving import problems
from serving.api import csv_body, request_body
from serving.api.auth import OUTCOMES_PATH
from serving.api.logged_predictions import SWITCHED_OFF, unreachable
from serving.api.responses import OutcomesResponse
from serving.metrics import prometheus
from serving.model.records import MAX_ERRORS, FieldError, MalformedError, parse, shown
from serving.prediction_log.connection import DatabaseError
from serving.prediction_log.outcomes import FIELDS, INVALID, RESULTS, UNKNOWN, Outcome, read
from serving.prediction_log.writer import PredictionLog
from serving.problems import OutcomeResult, Problem
from serving.settings import Settings

_WHOLE_NUMBER = re.compile(r"-?[0-9]{1,9}(\.0+)?")

outcomes = Blueprint("outcomes", __name__)

# one outcome of a request: its prediction_id as it was sent, and the outcome or its bad fields
Sent = tuple[Any, Outcome | list[FieldError]]


def install(app: Flask) -> None:
    """Add the endpoint to ``app``."""
    app.register_blueprint(outcomes)


@outcomes.post(OUTCOMES_PATH)
def add() -> Response:
    """Store the valid outcomes of known predictions, and return what became of each."""
    log: PredictionLog = current_app.extensions["prediction_log"]
    if not log.enabled:
        raise Problem("log-unavailable", reason=SWITCHED_OFF)
    settings: Settings = current_app.extensions["settings"]
    now = datetime.now(UTC)
    sent = _table(settings, now) if request.mimetype == csv_body.MEDIA_TYPE else _json(settings, now)
    try:
        stored = log.enter_outcomes(valid) if (valid := [one for _, one in sent if isinstance(one, Outcome)]) else []
    except (DatabaseError, ValueError) as error:
        raise unreachable(error) from error
    results = _results(sent, stored)
    found = Counter(str(one.result) for one in results)
    counts = {name: found[name] for name in RESULTS if found[name]}
    prometheus.count_outcomes(counts)
    errors = [error for _, one in sent if not isinstance(one, Outcome) for error in one]
    _raise_if_incomplete(results, counts, errors)
    return Response(msgspec.json.encode(OutcomesResponse(results)), mimetype=request_body.JSON)


def _raise_if_incomplete(results: list[OutcomeResult], counts: dict[str, int], errors: list[FieldError]) -> None:
    text = ", ".join(f"{number} {result}" for result, number in counts.items())
    if len(errors) > MAX_ERRORS:
        more = f"bad fields in further outcomes: {len(errors) - MAX_ERRORS}"
        errors = [*errors[:MAX_ERRORS], FieldError("", more, "outcomes as described")]
    shown_errors = errors or UNSET
    if UNKNOWN in counts:
        raise Problem("unknown-prediction", count=len(results), counts=text, errors=shown_errors, results=results)
    if INVALID in counts:
        raise Problem("invalid-outcome", count=len(results), counts=text, errors=shown_errors, results=results)


def _results(sent: Sequence[Sent], stored: Sequence[tuple[str, int]]) -> list[OutcomeResult]:
    """Return the result of each row; ``stored`` has those of the valid ones, in their order."""
    following = iter(stored)
    found = []
    for row, (name, one) in enumerate(sent):
        if isinstance(one, Outcome):
            result, revision = next(following)
            found.append(OutcomeResult(row, result, name, revision=revision or UNSET))  # type: ignore[arg-type]
        else:
            field = one[0].pointer.rpartition("/")[2] if one[0].pointer else ""
            field = field if field in FIELDS else ""
            found.append(OutcomeResult(row, "invalid", name, field=field, reason=one[0].detail))
    return found


def _json(settings: Settings, now: datetime) -> list[Sent]:
    try:
        body = parse(request_body.read_json(request, settings))
    except MalformedError as error:
        raise Problem("malformed-json", reason=error) from error
    if isinstance(body, list) and len(body) > settings.max_records:
        raise problems.too_many_records(len(body), settings.max_records)
    if body == []:
        raise _nothing("the list is empty")
    if not isinstance(body, list):
        return [_sent(body, "", now)]
    return [_sent(value, f"/{row}", now) for row, value in enumerate(body)]


def _sent(value: Any, pointer: str, now: datetime) -> Sent:
    name = value.get("prediction_id", UNSET) if isinstance(value, dict) else UNSET
    return (name if name is UNSET else shown(name)), read(value, pointer, now)


def _table(settings: Settings, now: datetime) -> list[Sent]:
    data = request_body.read_csv(request, settings)
    try:
        rows, total = csv_body.rows_of(data, settings.max_records + 1)
        header = _header(rows)
        for line, cells in rows[1:]:
            if len(cells) != len(header):
                raise MalformedError(f"line {line} has {len(cells)} cells, the header {len(header)}")
    except MalformedError as error:
        raise Problem("malformed-csv", reason=error, names="the names of an outcome's fields") from error
    if total - 1 > settings.max_records:
        raise problems.too_many_records(total - 1, settings.max_records)
    if total == 1:
        raise _nothing("there is no row below the header")
    sent = []
    for row, (line, cells) in enumerate(rows[1:]):
        value = {name: _cell(name, text) for name, cell in zip(header, cells, strict=True) if (text := cell.strip())}
        found = _sent(value, f"/{row}", now)
        if not isinstance(found[1], Outcome):
            for bad in found[1]:
                bad.detail += f" (line {line})"
        sent.append(found)
    return sent


def _header(rows: Sequence[tuple[int, list[str]]]) -> list[str]:
    if not rows:
        raise MalformedError("there is no header: the body is empty")
    header = [name.strip() for name in rows[0][1]]
    if "prediction_id" not in header:
        raise MalformedError(f"the first row does not name prediction_id; the columns are {', '.join(FIELDS)}")
    if repeated := [name for name, times in Counter(header).items() if times > 1]:
        raise MalformedError(f"the header names the column {repeated[0][:100]!r} twice")
    if unknown := [name for name in header if name not in FIELDS]:
        raise MalformedError(f"the header names {unknown[0][:100]!r}; the columns are {', '.join(FIELDS)}")
    return header


def _cell(name: str, text: str) -> Any:
    """Return a number where a column has numbers; else the text itself, which validation may refuse."""
    return int(float(text)) if name in ("outcome", "num") and _WHOLE_NUMBER.fullmatch(text) else text


def _nothing(detail: str) -> Problem:
    errors = [FieldError("", detail, "at least one outcome")]
    return Problem("invalid-outcome", count=0, counts="none", errors=errors, results=[])
