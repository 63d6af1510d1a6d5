"""The resolution of values: the one place that brings a number to the decimals that the contract gives its column.

The same measurement has other bits as text, float32 or DECIMAL. At its resolution it has one value, so the identity of
a record does not depend on how its numbers were stored.
"""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from heartline import contract
from heartline.arrays import Flags, Floats
from heartline.contract import Column

NOISE = 2.0**-21  # relative: four steps of float32, what storing and one calculation in float32 may add
LARGEST = 2**21  # in units of the resolution: for larger values a step of float32 is too coarse to find the decimal


def at_resolution(values: "pd.Series[Any] | NDArray[Any]", column: Column) -> Floats:
    """Return values at the resolution of their column: each is the float64 nearest to a number of its decimals.

    The result depends on the float32 nearest to a value only, so any type that is at least as exact gives the same
    bits. Halves are rounded upwards. A fraction in an integer column is kept: it is an error, not a finer value. So
    are infinity, and values far beyond the range of the contract.

    Args:
        values: (n,) numbers of any type of NumPy, pandas or Arrow, or ``Decimal``; missing as NaN, None or NA.
        column: the column of the contract that they belong to.

    Returns:
        (n,) missing as NaN, without -0.0.
    """
    given = _floats(values)
    if values.dtype.kind in "iub":
        return given
    rounded = nearest(given, column)
    return np.where(differ(given, rounded), given, rounded) if column.whole else rounded


def is_finer(values: "pd.Series[Any] | NDArray[Any]", column: Column) -> Flags:
    """Return (n,) whether each value has more decimals than its column, beyond the noise of its storage type."""
    given = _floats(values)
    return differ(given, nearest(given, column))


def frame_at_resolution(frame: pd.DataFrame) -> pd.DataFrame:
    """Return records with each of the contract's columns at its resolution, as float64; other columns unchanged.

    A column that is at its resolution already is shared with ``frame``, and not copied.

    Args:
        frame: (n, ≥14) columns of numbers, at least those of the contract.
    """
    columns = {column.name: _shared_at_resolution(frame[column.name], column) for column in contract.COLUMNS}
    others = {name: frame[name] for name in frame.columns if name not in columns}
    return pd.DataFrame(columns | others, index=frame.index, copy=False)[list(frame.columns)]


def finer_values(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the values that rounding changes: row, field, value, in the order of the columns.

    Args:
        frame: (n, ≥14) columns of numbers; the index is the row number in the source.
    """
    found = [pd.DataFrame({"row": pd.Series(dtype="int64"), "field": pd.Series(dtype="str"), "value": []})]
    for column in contract.COLUMNS:
        values = _floats(frame[column.name])
        finer = is_finer(values, column)
        if not column.whole and finer.any():
            rows = frame.index.to_numpy()[finer]
            found.append(pd.DataFrame({"row": rows, "field": column.name, "value": values[finer]}))
    return pd.concat(found[1:] or found, ignore_index=True)


def _shared_at_resolution(values: "pd.Series[Any]", column: Column) -> Floats:
    """Return values at the resolution of their column: their own array if no bit of it changes."""
    given = _floats(values)
    found = at_resolution(given, column) if values.dtype.kind == "f" else at_resolution(values, column)
    return given if np.array_equal(given.view("uint64"), found.view("uint64")) else found


def single(given: Floats) -> Floats:
    """Return (n,) the float32 nearest to each value: all that each of a measurement's storage types keeps of it."""
    with np.errstate(over="ignore"):
        return given.astype("float32").astype("float64")


def nearest(given: Floats, column: Column) -> Floats:
    """Return (n,) the nearest numbers of the column's decimals; infinite and very large values as they are.

    Halves are rounded upwards. Unlike ``at_resolution``, it rounds fractions in integer columns too.
    """
    scale = float(10**column.decimals)
    value = single(given)
    with np.errstate(over="ignore", invalid="ignore"):
        # the allowance lets a value that is noise below a half be rounded like the half itself
        units = np.floor((value + NOISE * np.maximum(1.0, np.abs(value))) * scale + 0.5)
        rounded = units / scale + 0.0  # -0.0 becomes 0.0
    large = np.abs(given) * scale > LARGEST  # NaN is not
    return np.where(large, given, rounded) if large.any() else rounded


def differ(given: Floats, other: Floats | np.float64) -> Flags:
    """Return (n,) whether values differ from others by more than the noise of a storage type; NaN differs from none."""
    with np.errstate(invalid="ignore"):  # infinity minus infinity
        found: Flags = np.abs(given - other) > NOISE * np.maximum(1.0, np.abs(given))
    return found


def _floats(values: "pd.Series[Any] | NDArray[Any]") -> Floats:
    if isinstance(values, pd.Series):
        return values.to_numpy("float64", na_value=np.nan)
    return values.astype("float64", copy=False)
