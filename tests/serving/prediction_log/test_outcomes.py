"""Outcomes: which values are valid, and what becomes of each beside what is stored."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import jsonschema_rs
import pytest

from serving.prediction_log.outcomes import SCHEMA, SOURCE_CHARACTERS, Outcome, decide, read

NOW = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
ID = "dfc6f228-4fe2-4d31-aa95-6aa5c466bb05"
SENT = {"prediction_id": ID, "outcome": 1, "observed_at": "2026-03-02T09:30:00+01:00"}
NO_OUTCOME = {"prediction_id": ID, "observed_at": SENT["observed_at"]}


def outcome(value: Any) -> Outcome:
    found = read(value, "", NOW)
    assert isinstance(found, Outcome), found
    return found


def test_it_is_read_in_utc() -> None:
    assert outcome({**SENT, "source": "Röntgen 3"}) == Outcome(
        ID, True, None, datetime(2026, 3, 2, 8, 30, tzinfo=UTC), "Röntgen 3"
    )


@pytest.mark.parametrize(
    ("sent", "has_disease", "num"),
    [
        ({"outcome": 0}, False, None),
        ({"outcome": 1}, True, None),
        ({"outcome": 1.0}, True, None),
        ({"num": 0}, False, 0),
        ({"num": 1}, True, 1),
        ({"num": 4, "outcome": None}, True, 4),
        ({"num": 2, "outcome": 1}, True, 2),
        ({"num": None, "outcome": 0, "source": None}, False, None),
    ],
)
def test_num_above_0_means_outcome_1(sent: dict[str, Any], has_disease: bool, num: int | None) -> None:
    found = outcome({**NO_OUTCOME, **sent})
    assert (found.outcome, found.num) == (has_disease, num)


@pytest.mark.parametrize("name", ["2026-03-02T12:00:00Z", "2026-03-02T13:00:09+01:00", "1999-12-31 23:59:59.5-0500"])
def test_times_with_a_zone_are_accepted(name: str) -> None:
    assert outcome({**SENT, "observed_at": name}).observed_at.utcoffset() == timedelta(0)


def test_an_id_in_capitals_is_the_same() -> None:
    assert outcome({**SENT, "prediction_id": ID.upper()}).prediction_id == ID


INVALID = [
    ({"outcome": 1, "num": 0}, "/num", "num 0 means outcome 0, and outcome is 1"),
    ({"outcome": 0, "num": 3}, "/num", "num 3 means outcome 1, and outcome is 0"),
    ({"outcome": None}, "/outcome", "the field is missing; num may be sent in its place"),
    ({"outcome": 2}, "/outcome", "the value is not allowed"),
    ({"outcome": True}, "/outcome", "the value is not allowed"),
    ({"outcome": "1"}, "/outcome", "the value is not allowed"),
    ({"outcome": 0.5}, "/outcome", "the value is not allowed"),
    ({"num": 5}, "/num", "the value is not allowed"),
    ({"num": -1}, "/num", "the value is not allowed"),
    ({"num": [1]}, "/num", "the value is not allowed"),
    ({"prediction_id": None}, "/prediction_id", "the field is missing"),
    ({"prediction_id": "7"}, "/prediction_id", "this is not the id of a prediction"),
    ({"prediction_id": 7}, "/prediction_id", "this is not the id of a prediction"),
    ({"prediction_id": "{" + ID + "}"}, "/prediction_id", "this is not the id of a prediction"),
    ({"observed_at": None}, "/observed_at", "the field is missing"),
    ({"observed_at": "yesterday"}, "/observed_at", "this is not a time"),
    ({"observed_at": 1772440200}, "/observed_at", "this is not a time"),
    ({"observed_at": "2026-03-02"}, "/observed_at", "the time has no time zone"),
    ({"observed_at": "2026-03-02T09:30:00"}, "/observed_at", "the time has no time zone"),
    ({"observed_at": "2026-02-30T09:30:00Z"}, "/observed_at", "this is not a time"),
    ({"observed_at": "0001-01-01T00:00:00+14:00"}, "/observed_at", "this is not a time"),
    ({"observed_at": "2026-03-02T12:00:11Z"}, "/observed_at", "the time is in the future"),
    ({"observed_at": "2026-03-02T11:30:00-01:00"}, "/observed_at", "the time is in the future"),
    ({"source": ""}, "/source", "the value is not allowed"),
    ({"source": "a\nb"}, "/source", "the value is not allowed"),
    ({"source": "\x1b[2J"}, "/source", "the value is not allowed"),
    ({"source": "x" * (SOURCE_CHARACTERS + 1)}, "/source", "the value is not allowed"),
    ({"source": 7}, "/source", "the value is not allowed"),
    ({"result": 1}, "/result", "an outcome has no such field"),
]


@pytest.mark.parametrize(("changed", "pointer", "detail"), INVALID)
def test_an_invalid_field_is_named(changed: dict[str, Any], pointer: str, detail: str) -> None:
    found = read({**SENT, **changed}, "/3", NOW)
    assert isinstance(found, list)
    assert [(error.pointer, error.detail) for error in found] == [(f"/3{pointer}", detail)]
    assert found[0].allowed


@pytest.mark.parametrize("value", [None, 7, "x", [SENT], []])
def test_what_is_no_object_is_refused(value: Any) -> None:
    found = read(value, "/0", NOW)
    assert isinstance(found, list)
    assert found[0].detail == "an outcome is an object"


def test_every_bad_field_is_named_and_many_unknown_ones_are_counted() -> None:
    found = read({"prediction_id": "7", "num": 9, **{f"f{number}": 0 for number in range(100)}}, "", NOW)
    assert isinstance(found, list)
    assert [error.pointer for error in found[:3]] == ["/prediction_id", "/num", "/observed_at"]
    assert (len(found), found[-1].detail) == (9, "an outcome has no such field: 95 more of them")


def test_the_schema_accepts_what_is_valid_and_refuses_the_rest() -> None:
    """The document cannot say what is in the future, and which characters are printable."""
    schema = jsonschema_rs.Draft202012Validator(dict(SCHEMA), validate_formats=True)
    for sent in ({"outcome": 1}, {"num": 0}, {"num": 3, "outcome": 1}, {"num": None, "outcome": 0}, {"num": 1.0}):
        assert schema.is_valid({**NO_OUTCOME, **sent}), sent
        outcome({**NO_OUTCOME, **sent})
    for changed, _, detail in INVALID:
        unsaid = "future" in detail or changed.get("source", "x") in ("a\nb", "\x1b[2J") or "0001" in str(changed)
        assert schema.is_valid({**SENT, **changed}) == unsaid, changed


def at(hour: int) -> datetime:
    return datetime(2026, 3, 1, hour, tzinfo=timezone.utc)  # noqa: UP017 - equal to UTC


FIRST = Outcome("a", True, None, at(1), None)


@pytest.mark.parametrize(
    ("sent", "stored", "results", "revisions"),
    [
        ([FIRST], {}, [("unknown", 0)], []),
        ([FIRST], {"a": (0, None)}, [("accepted", 1)], [1]),
        ([FIRST], {"a": (1, FIRST)}, [("repeated", 1)], []),
        ([FIRST, FIRST], {"a": (0, None)}, [("accepted", 1), ("repeated", 1)], [1]),
        ([Outcome("a", True, 2, at(1), None)], {"a": (1, FIRST)}, [("corrected", 2)], [2]),
        ([Outcome("a", True, None, at(2), None)], {"a": (1, FIRST)}, [("corrected", 2)], [2]),
        ([Outcome("a", True, None, at(1), "x")], {"a": (3, FIRST)}, [("corrected", 4)], [4]),
        (  # back to what was sent first: the last one counts
            [Outcome("a", False, None, at(1), None), FIRST, FIRST],
            {"a": (1, FIRST)},
            [("corrected", 2), ("corrected", 3), ("repeated", 3)],
            [2, 3],
        ),
        (
            [FIRST, Outcome("b", False, 0, at(1), None), Outcome("c", True, 1, at(1), None)],
            {"a": (0, None), "c": (0, None)},
            [("accepted", 1), ("unknown", 0), ("accepted", 1)],
            [1, 1],
        ),
    ],
)
def test_what_becomes_of_outcomes(
    sent: list[Outcome], stored: dict[str, Any], results: list[tuple[str, int]], revisions: list[int]
) -> None:
    found, new = decide(sent, stored)
    assert found == results
    assert [revision for revision, _ in new] == revisions
