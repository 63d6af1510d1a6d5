"""Outcomes of predictions: what a client may send, and what becomes of it beside what is stored already."""

import re
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta

from serving.model.records import FieldError, join, shown

ACCEPTED, REPEATED, CORRECTED, UNKNOWN, INVALID = "accepted", "repeated", "corrected", "unknown", "invalid"
RESULTS = (ACCEPTED, REPEATED, CORRECTED, UNKNOWN, INVALID)
FIELDS = ("prediction_id", "outcome", "num", "observed_at", "source")
SOURCE_CHARACTERS = 100
CLOCK_SECONDS = 10.0  # by which the clock of a client may be ahead of ours
SHOWN_FIELDS = 5  # unknown ones that are named
_UUID = re.compile(r"[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}")

_TEXT = {
    "prediction_id": "the prediction_id of a response to POST /predict",
    "outcome": "1 for heart disease, 0 for none",
    "num": "0 to 4, the degree of narrowing as in the UCI archive: above 0 means outcome 1",
    "observed_at": "when it was observed: a date and a time with a time zone (ISO 8601), not in the future",
    "source": f"where it comes from, 1 to {SOURCE_CHARACTERS} printable characters",
}
SCHEMA: Mapping[str, Any] = {
    "title": "Outcome",
    "description": "What was observed of the person of a prediction. One of outcome and num is needed.",
    "type": "object",
    "properties": {
        "prediction_id": {"type": "string", "format": "uuid", "description": _TEXT["prediction_id"]},
        "outcome": {"enum": [0, 1, None], "description": _TEXT["outcome"]},
        "num": {"enum": [0, 1, 2, 3, 4, None], "description": _TEXT["num"]},
        "observed_at": {"type": "string", "format": "date-time", "description": _TEXT["observed_at"]},
        "source": {
            "type": ["string", "null"],
            "minLength": 1,
            "maxLength": SOURCE_CHARACTERS,
            "format": "printable",
            "description": _TEXT["source"],
        },
    },
    "required": ["prediction_id", "observed_at"],
    "anyOf": [
        {"required": ["outcome"], "properties": {"outcome": {"const": 0}, "num": {"enum": [0, None]}}},
        {"required": ["outcome"], "properties": {"outcome": {"const": 1}, "num": {"enum": [1, 2, 3, 4, None]}}},
        {"required": ["num"], "properties": {"outcome": {"const": None}, "num": {"enum": [0, 1, 2, 3, 4]}}},
    ],
    "additionalProperties": False,
}


class Outcome(msgspec.Struct, frozen=True):
    """A valid outcome.

    Attributes:
        prediction_id: in the form in which it is stored.
        outcome: whether there is heart disease.
        num: 0 to 4, if it was sent.
        observed_at: in UTC.
        source: where it comes from, if it was sent.
    """

    prediction_id: str
    outcome: bool
    num: int | None
    observed_at: datetime
    source: str | None


class Revision(msgspec.Struct, frozen=True):
    """An outcome as it is stored."""

    revision: Annotated[int, Meta(ge=1, description="1 for the first one; a correction has the next number.")]
    outcome: Annotated[Literal[0, 1], Meta(description="1: heart disease.")]
    num: Annotated[int | None, Meta(description="0 to 4, if it was sent.")]
    observed_at: Annotated[datetime, Meta(tz=True)]
    received: Annotated[datetime, Meta(tz=True, description="When it was stored.")]
    source: str | None
    last: Annotated[bool, Meta(description="Whether it is the one that counts.")] = False


def read(value: Any, pointer: str, now: datetime) -> Outcome | list[FieldError]:
    """Return the outcome in a JSON value, or its bad fields.

    Args:
        value: any JSON value; null counts as absent.
        pointer: JSON pointer to it in the body.
        now: the present time.
    """
    if not isinstance(value, dict):
        return [FieldError(pointer, "an outcome is an object", f"an object with {', '.join(FIELDS)}", shown(value))]
    errors: list[FieldError] = []

    def bad(name: str, detail: str) -> None:
        sent = shown(value[name]) if name in value else UNSET
        errors.append(FieldError(join(pointer, name), detail, _TEXT[name], sent))

    prediction_id = _id(value.get("prediction_id"), bad)
    outcome = _code(value, "outcome", 1, bad)
    num = _code(value, "num", 4, bad)
    if not errors and outcome is None and num is None:
        bad("outcome", "the field is missing; num may be sent in its place")
    if None not in (outcome, num) and (num != 0) != bool(outcome):
        bad("num", f"num {num} means outcome {int(num != 0)}, and outcome is {outcome}")
    observed_at = _time(value, now, bad)
    source = _source(value.get("source"), bad)
    errors += _unknown_fields(value, pointer)
    if errors or prediction_id is None or observed_at is None:
        return errors
    return Outcome(prediction_id, bool(num if outcome is None else outcome), num, observed_at, source)


def decide(
    sent: Sequence[Outcome], stored: Mapping[str, tuple[int, Outcome | None]]
) -> tuple[list[tuple[str, int]], list[tuple[int, Outcome]]]:
    """Return what becomes of each outcome, with its revision, and what is to be stored with which revision.

    Args:
        sent: in the order of the request; a prediction may occur several times.
        stored: for each prediction in the log, the number of its outcomes and the last one.
    """
    last = dict(stored)
    results, new = [], []
    for outcome in sent:
        if outcome.prediction_id not in last:
            results.append((UNKNOWN, 0))
            continue
        revision, before = last[outcome.prediction_id]
        if outcome == before:
            results.append((REPEATED, revision))
            continue
        revision += 1
        last[outcome.prediction_id] = (revision, outcome)
        results.append((CORRECTED if before else ACCEPTED, revision))
        new.append((revision, outcome))
    return results, new


def _id(value: Any, bad: Any) -> str | None:
    if isinstance(value, str) and _UUID.fullmatch(value):
        return str(uuid.UUID(value))
    bad("prediction_id", "the field is missing" if value is None else "this is not the id of a prediction")
    return None


def _code(value: Mapping[str, Any], name: str, highest: int, bad: Any) -> int | None:
    code = value.get(name)
    if code is None:
        return None
    if isinstance(code, int | float) and not isinstance(code, bool) and code in range(highest + 1):
        return int(code)
    bad(name, "the value is not allowed")
    return None


def _time(value: Mapping[str, Any], now: datetime, bad: Any) -> datetime | None:
    text = value.get("observed_at")
    if text is None:
        bad("observed_at", "the field is missing")
        return None
    try:
        found = datetime.fromisoformat(text) if isinstance(text, str) else None
        zone = found.utcoffset() if found else None
        found = found.astimezone(UTC) if found and zone is not None else None
    except (ValueError, OverflowError):
        bad("observed_at", "this is not a time")
        return None
    if found is None:
        bad("observed_at", "the time has no time zone" if isinstance(text, str) else "this is not a time")
        return None
    if found > now + timedelta(seconds=CLOCK_SECONDS):
        bad("observed_at", "the time is in the future")
        return None
    return found


def _source(value: Any, bad: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, str) and 1 <= len(value) <= SOURCE_CHARACTERS and value.isprintable():
        return value
    bad("source", "the value is not allowed")
    return None


def _unknown_fields(value: Mapping[str, Any], pointer: str) -> list[FieldError]:
    unknown = [name for name in value if name not in FIELDS]
    allowed = f"only {', '.join(FIELDS)}"
    found = [
        FieldError(join(pointer, name), "an outcome has no such field", allowed, shown(value[name]))
        for name in unknown[:SHOWN_FIELDS]
    ]
    if more := len(unknown) - len(found):
        found.append(FieldError(pointer, f"an outcome has no such field: {more} more of them", allowed))
    return found
