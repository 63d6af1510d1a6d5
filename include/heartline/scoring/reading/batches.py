"""Rows of an input as the readers hand them over, a part of a chunk at a time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from heartline.arrays import Positions
from heartline.scoring.reading.fields import Field
from heartline.scoring.record_contract import Error


@dataclass(frozen=True, eq=False)
class Batch:
    """Consecutive rows of an input.

    Attributes:
        first_row: the row number of the first one, from 1.
        count: the number of rows, with the malformed ones.
        good: (k,) positions of the rows that could be split into fields; None if all could.
        fields: k values of each field of the model's contract that the input has, by name.
        keys: k cells of each own column, in the order of the layout.
        unknown: by position among the k rows, the fields that neither the contract nor the layout has.
        malformed: by position the error of each row that could not be split into fields.
    """

    first_row: int
    count: int
    fields: Mapping[str, Field]
    keys: Sequence[pa.Array]
    good: Positions | None = None
    unknown: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)
    malformed: Mapping[int, list[Error]] = field(default_factory=dict)

    @property
    def read(self) -> int:
        """The number of rows that could be split into fields."""
        return self.count if self.good is None else len(self.good)

    def row_numbers(self) -> pa.Array:
        """Return the row numbers of all rows."""
        return pa.array(np.arange(self.first_row, self.first_row + self.count))
