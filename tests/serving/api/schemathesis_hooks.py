"""Hooks for schemathesis: the formats of CSV bodies, and what the document cannot say of texts in JSON."""

import csv
import io
from datetime import datetime
from typing import Any

import schemathesis
from hypothesis import strategies as st

from heartline import contract

OPTIONAL = [column.name for column in contract.FEATURES if column.optional]


@st.composite
def tables(draw: st.DrawFn) -> bytes:
    """A valid table."""
    example = {column.name: column.example for column in contract.FEATURES}
    columns = draw(st.permutations(contract.FEATURE_NAMES))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns)
    writer.writeheader()
    for missing in draw(st.lists(st.sets(st.sampled_from(OPTIONAL)), min_size=1, max_size=20)):
        writer.writerow({**example, **dict.fromkeys(missing, "")})
    return text.getvalue().encode()


@st.composite
def outcome_tables(draw: st.DrawFn) -> bytes:
    """A valid table of outcomes."""
    text = io.StringIO()
    writer = csv.DictWriter(text, ["observed_at", "prediction_id", "outcome", "num", "source"], restval="")
    writer.writeheader()
    for num in draw(st.lists(st.integers(0, 4), min_size=1, max_size=20)):
        row = {"observed_at": draw(TIMES), "prediction_id": draw(st.uuids()), "num": num}
        writer.writerow({**row, "outcome": draw(st.sampled_from(["", int(num > 0)]))})
    return text.getvalue().encode()


TIMES = st.datetimes(datetime(1900, 1, 2), datetime(2026, 1, 1), timezones=st.timezones()).map(datetime.isoformat)
PRINTABLE = st.text(st.characters(categories=("L", "N", "P", "S")), min_size=1, max_size=100)

schemathesis.openapi.format("date-time", TIMES)
schemathesis.openapi.format("printable", PRINTABLE)
schemathesis.openapi.media_type("text/csv", tables())


@schemathesis.hook
def flatmap_body(context: Any, body: Any) -> st.SearchStrategy[Any]:
    """Return outcomes where the operation takes a table of outcomes."""
    if context.operation.path == "/outcomes" and isinstance(body, bytes):
        return outcome_tables()
    return st.just(body)


@schemathesis.serializer("text/csv")
def as_it_is(context: Any, value: str | bytes) -> bytes:
    """Return the body. The phase ``coverage`` does not call ``flatmap_body``: records are not outcomes."""
    if context.case.operation.path == "/outcomes" and isinstance(value, bytes) and b"thal" in value:
        return b"prediction_id,num,observed_at\ndfc6f228-4fe2-4d31-aa95-6aa5c466bb05,0,2026-01-01T00:00:00Z\n"
    return value if isinstance(value, bytes) else str(value).encode()
