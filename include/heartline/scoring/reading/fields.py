"""The values of one field of many records, and the cells that hold no number."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from heartline.arrays import Floats, Positions

NOT_ALLOWED = "the value is not allowed"


def _nothing() -> Positions:
    return np.empty(0, np.int64)


@dataclass(frozen=True, eq=False)
class Field:
    """One field of n records.

    Attributes:
        values: (n,) NaN where a record has no number.
        wrong: positions of the cells that hold something else than a number.
        nulls: positions of the cells that state that there is no value; the other cells without a number and without
            something else are absent.
        original: returns what the source holds at a position: for messages.
        detail: what is wrong with the cells in ``wrong``.
    """

    values: Floats
    original: Callable[[int], Any]
    wrong: Positions = field(default_factory=_nothing)
    nulls: Positions = field(default_factory=_nothing)
    detail: str = NOT_ALLOWED


def absent(count: int) -> Field:
    """Return a field that none of ``count`` records has."""
    return Field(np.full(count, np.nan), lambda position: None)
