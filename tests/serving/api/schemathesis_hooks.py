"""Hooks for schemathesis: the format of CSV bodies."""

import csv
import io
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


schemathesis.openapi.media_type("text/csv", tables())


@schemathesis.serializer("text/csv")
def as_it_is(context: Any, value: str | bytes) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()
