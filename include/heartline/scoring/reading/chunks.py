"""Chunks of an input: each is read, scored and written for itself, so that they spread over workers."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from heartline.scoring.reading.layout import Layout


@dataclass(frozen=True)
class Chunk:
    """A part of an input; plain data.

    Attributes:
        number: from 0, in the order of the rows.
        first_row: the row number of its first row, from 1.
        rows: the number of its rows.
        about: where its reader finds it.
    """

    number: int
    first_row: int
    rows: int
    about: Mapping[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """Return the chunk as JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class Planned:
    """An input after its first pass.

    Attributes:
        layout: how its rows are read.
        chunks: its parts.
        reader: what their reader needs beside the layout; JSON values.
        sha256: digest of the input's bytes; "" for a query.
    """

    layout: Layout
    chunks: Sequence[Chunk]
    reader: Mapping[str, Any]
    sha256: str = ""

    @property
    def rows(self) -> int:
        """The number of rows."""
        return sum(one.rows for one in self.chunks)
