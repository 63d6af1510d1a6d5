"""Record identity: a 64-bit hash of the values of a record, used for duplicates and for the canonical order.

Both depend on the values at the contract's resolution only: not on the order, formatting or storage types of the
source, the time or the machine.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from heartline import contract, resolution
from heartline.arrays import Flags, Hashes, Positions

PATIENT = "patient"  # column with the key of each record's patient, 0 for an unknown one; beside the contract's

# SplitMix64: Steele, Lea, Flood (2014), "Fast splittable pseudorandom number generators". A change of these numbers
# would change the train/test split of every record.
_GAMMA = np.uint64(0x9E3779B97F4A7C15)
_ROUNDS = ((np.uint64(30), np.uint64(0xBF58476D1CE4E5B9)), (np.uint64(27), np.uint64(0x94D049BB133111EB)))
_LAST_SHIFT = np.uint64(31)
_COLUMNS = {column.name: column for column in contract.COLUMNS}
_BLOCK = 1 << 15  # rows hashed at a time, so that the data stays in the processor's cache


def fingerprints(frame: pd.DataFrame) -> tuple[Hashes, Hashes]:
    """Return the hash of the features of each row, and the hash of its features and label.

    Values that are equal at the contract's resolution have equal hashes: 1 as int8 and as float64, 2.3 as float32 and
    as float64, 0.0 and -0.0, all missing values.

    Args:
        frame: (n, ≥14) numeric columns, at least those of the contract.

    Returns:
        two arrays (n,), in the order of the frame.
    """
    features = feature_hashes(frame)
    return features, _absorb(features.copy(), frame, [contract.LABEL.name])


def feature_hashes(frame: pd.DataFrame) -> Hashes:
    """Return the hash (n,) of the features of each row, without the label; see ``fingerprints``."""
    return _absorb(np.zeros(len(frame), dtype=np.uint64), frame, contract.FEATURE_NAMES)


def _absorb(hashes: Hashes, frame: pd.DataFrame, names: Sequence[str]) -> Hashes:
    """Mix the values of the columns ``names`` into ``hashes`` (n,) in place, column by column."""
    columns = [(_COLUMNS[name], frame[name]) for name in names]
    for start in range(0, len(frame), _BLOCK):
        rows = slice(start, start + _BLOCK)
        for column, values in columns:
            numbers = resolution.at_resolution(values.iloc[rows], column) + 0.0
            numbers[np.isnan(numbers)] = np.nan  # one bit pattern for every missing value
            _mix(hashes[rows], numbers.view("uint64"))
    return hashes


def _mix(states: Hashes, values: Hashes | np.uint64) -> None:
    """Replace ``states`` (n,) by the outputs of SplitMix64 from the states XOR ``values``."""
    states ^= values
    states += _GAMMA
    for shift, factor in _ROUNDS:
        states ^= states >> shift
        states *= factor
    states ^= states >> _LAST_SHIFT


def mixed(states: Hashes, value: Hashes | int) -> Hashes:
    """Return the outputs (n,) of SplitMix64 from the states XOR ``value``: a whole number, or an array that fits."""
    values = np.uint64(value % 2**64) if isinstance(value, int) else value
    found = states.copy()
    _mix(found, values)
    return found


def distinct(frame: pd.DataFrame) -> tuple[Positions, Flags]:
    """Return the positions of the distinct records, and which rows are duplicates of an earlier row in all columns.

    With a column ``PATIENT``, only rows of the same patient are duplicates. Two missing values are equal. Equal
    features are rare, so the slow comparison is limited to such rows.

    Args:
        frame: (n, ≥14) numeric columns, at least those of the contract, and ``PATIENT`` if it is known.

    Returns:
        the positions (m,) of the distinct records, ordered by the hash of their features, then by value; and (n,) True
        for each duplicate row.
    """
    hashes = feature_hashes(frame)
    order = np.argsort(hashes)
    begins = run_begins(hashes[order])
    tied = np.flatnonzero(~begins | ~np.append(begins[1:], True))
    repeats = np.zeros(len(frame), dtype=np.bool_)
    if not len(tied):
        return order, repeats
    rows = np.sort(order[tied])  # argsort is not stable, and the earliest row has to come first
    some = frame.iloc[rows]
    whole = _absorb(hashes[rows], some, [contract.LABEL.name])
    if PATIENT in frame:
        _mix(whole, some[PATIENT].to_numpy("uint64"))
    repeats[rows] = _repeats(some, whole)
    again = repeats[order]
    places = tied[~again[tied]]
    once = order[places]
    ties = frame.iloc[once]
    values = [resolution.at_resolution(ties[column.name], column) for column in reversed(contract.COLUMNS)]
    patient = [ties[PATIENT].to_numpy("uint64")] if PATIENT in frame else []
    order[places] = once[np.lexsort((*patient, *values, hashes[once]))]
    return order[~again], repeats


def _repeats(frame: pd.DataFrame, hashes: Hashes) -> Flags:
    """Return which rows are duplicates of an earlier row: equal hashes give candidates, equal values decide."""
    found = np.zeros(len(frame), dtype=np.bool_)
    rows = np.argsort(hashes, kind="stable")  # stable: a run starts with its earliest row
    begins = run_begins(hashes[rows])
    firsts = rows[begins][np.cumsum(begins) - 1]
    equal = np.ones(len(rows), dtype=np.bool_)
    for column in contract.COLUMNS:
        values = resolution.at_resolution(frame[column.name], column)
        one, other = values[rows], values[firsts]
        equal &= (one == other) | (np.isnan(one) & np.isnan(other))
    if PATIENT in frame:
        patients = frame[PATIENT].to_numpy("uint64")
        equal &= patients[rows] == patients[firsts]
    found[rows[equal & ~begins]] = True
    if not equal.all():  # different records have the same hash
        clash = np.isin(hashes, hashes[rows[~equal]])
        names = [name for name in (*contract.COLUMN_NAMES, PATIENT) if name in frame]
        clashing = resolution.frame_at_resolution(frame.loc[clash, names])
        found[clash] = clashing.duplicated()
    return found


def run_begins(ordered: Hashes) -> Flags:
    """Return True where a value of a sorted array (n,) differs from the value before it."""
    begins = np.ones(len(ordered), dtype=np.bool_)
    np.not_equal(ordered[1:], ordered[:-1], out=begins[1:])
    return begins


def canonical(frame: pd.DataFrame, order: Positions | None = None) -> pd.DataFrame:
    """Return the distinct records in the contract's types, resolution and canonical order: equal records, equal frame.

    The order is by the hash of the features, then by value, so records with equal features are neighbours.

    Args:
        frame: (n, ≥14) validated records, with ``PATIENT`` if it is known.
        order: the positions that ``distinct`` returned for this frame, if known.

    Returns:
        (m, 14) with m ≤ n, index from 0; (m, 15) with ``PATIENT``.

    Raises:
        ValueError: a value does not fit the contract's type, so the records were not validated.
    """
    if order is None:
        order = distinct(frame)[0]
    # column by column: pandas takes three times as long to select rows of mixed types
    columns = {name: _packed(frame[name])[order] for name in contract.COLUMN_NAMES}
    if PATIENT in frame:
        columns[PATIENT] = frame[PATIENT].to_numpy("uint64")[order]
    return pd.DataFrame(columns, copy=False)


def _packed(values: "pd.Series[float]") -> NDArray[Any]:
    dtype = contract.DTYPES[str(values.name)]
    given = resolution.at_resolution(values, _COLUMNS[str(values.name)])
    with np.errstate(invalid="ignore"):  # failed conversions are found below
        packed: NDArray[Any] = given.astype(dtype)
    if not np.all((packed == given) | np.isnan(packed)):
        raise ValueError(f"{values.name} holds values that do not fit {dtype}: the records were not validated")
    packed += packed.dtype.type(0)  # -0.0 becomes 0.0
    return packed
