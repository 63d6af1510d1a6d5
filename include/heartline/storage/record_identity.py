"""A record's identity: a 64-bit hash of its values, and what follows from it: duplicates and the canonical order.

The order follows from the hash alone: not from the order of a source or its formatting, not from the clock, not from
the machine.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from heartline import contract
from heartline.arrays import Flags, Hashes, Positions

# SplitMix64: Steele, Lea, Flood (2014), "Fast splittable pseudorandom number generators". A change of these numbers
# would move every record between training set and hold-out.
_GAMMA = np.uint64(0x9E3779B97F4A7C15)
_ROUNDS = ((np.uint64(30), np.uint64(0xBF58476D1CE4E5B9)), (np.uint64(27), np.uint64(0x94D049BB133111EB)))
_LAST_SHIFT = np.uint64(31)
_BLOCK = 1 << 15  # rows that are hashed at a time: what is worked on stays in the processor's cache


def fingerprints(frame: pd.DataFrame) -> tuple[Hashes, Hashes]:
    """Return the hash of each row's features, and of its features and label.

    Equal values give equal hashes, whatever their type: 1 as int8 and as float64, 0.0 and -0.0, all missing values.

    Args:
        frame: (n, ≥14) numeric columns, at least those of the contract.

    Returns:
        two arrays (n,), the rows in the frame's order.
    """
    features = feature_hashes(frame)
    return features, _absorb(features.copy(), frame, [contract.LABEL.name])


def feature_hashes(frame: pd.DataFrame) -> Hashes:
    """Return the hash of each row's features (n,), without its label: see ``fingerprints``."""
    return _absorb(np.zeros(len(frame), dtype=np.uint64), frame, contract.FEATURE_NAMES)


def _absorb(hashes: Hashes, frame: pd.DataFrame, names: Sequence[str]) -> Hashes:
    """Let the values of the columns ``names`` change ``hashes`` (n,) in place, one column after the other."""
    columns = [frame[name].to_numpy() for name in names]
    for start in range(0, len(frame), _BLOCK):
        rows = slice(start, start + _BLOCK)
        for column in columns:
            numbers = column[rows].astype("float64") + 0.0  # -0.0 becomes 0.0
            numbers[np.isnan(numbers)] = np.nan  # one bit pattern for every missing value
            _mix(hashes[rows], numbers.view("uint64"))
    return hashes


def _mix(states: Hashes, values: Hashes) -> None:
    """Replace ``states`` (n,) by the outputs of SplitMix64 from the states XOR ``values``."""
    states ^= values
    states += _GAMMA
    for shift, factor in _ROUNDS:
        states ^= states >> shift
        states *= factor
    states ^= states >> _LAST_SHIFT


def distinct(frame: pd.DataFrame) -> tuple[Positions, Flags]:
    """Return where the distinct records of n rows are, and which rows repeat an earlier one in all of the columns.

    Missing equals missing. Equal features are rare, so what is slow is done to them alone.

    Args:
        frame: (n, ≥14) numeric columns, at least those of the contract.

    Returns:
        the positions (m,) of the distinct records, ordered by the hash of their features, then by value; and (n,) True
        for each row that repeats an earlier one.
    """
    hashes = feature_hashes(frame)
    order = np.argsort(hashes)
    begins = run_begins(hashes[order])
    tied = np.flatnonzero(~begins | ~np.append(begins[1:], True))
    repeats = np.zeros(len(frame), dtype=np.bool_)
    if not len(tied):
        return order, repeats
    rows = np.sort(order[tied])  # argsort mixes the rows of equal features: the earliest has to come first
    some = frame.iloc[rows]
    repeats[rows] = _repeats(some, _absorb(hashes[rows], some, [contract.LABEL.name]))
    again = repeats[order]
    places = tied[~again[tied]]
    once = order[places]
    values = [frame[name].to_numpy()[once] for name in reversed(contract.COLUMN_NAMES)]
    order[places] = once[np.lexsort((*values, hashes[once]))]
    return order[~again], repeats


def _repeats(frame: pd.DataFrame, hashes: Hashes) -> Flags:
    """Return which rows repeat an earlier one. Their hashes only make them candidates, their values decide."""
    found = np.zeros(len(frame), dtype=np.bool_)
    rows = np.argsort(hashes, kind="stable")  # stable: a run begins with its earliest row
    begins = run_begins(hashes[rows])
    firsts = rows[begins][np.cumsum(begins) - 1]
    equal = np.ones(len(rows), dtype=np.bool_)
    for name in contract.COLUMN_NAMES:
        values = frame[name].to_numpy()
        one, other = values[rows], values[firsts]
        equal &= (one == other) | (np.isnan(one) & np.isnan(other))
    found[rows[equal & ~begins]] = True
    if not equal.all():  # different records share a hash
        clash = np.isin(hashes, hashes[rows[~equal]])
        found[clash] = frame.loc[clash, list(contract.COLUMN_NAMES)].duplicated()
    return found


def run_begins(ordered: Hashes) -> Flags:
    """Return True where a sorted array (n,) holds another value than just before."""
    begins = np.ones(len(ordered), dtype=np.bool_)
    np.not_equal(ordered[1:], ordered[:-1], out=begins[1:])
    return begins


def canonical(frame: pd.DataFrame, order: Positions | None = None) -> pd.DataFrame:
    """Return the distinct records in the contract's types and an order of their own: equal records, equal frame.

    They are ordered by the hash of their features, then by value, so records with equal features are neighbours.

    Args:
        frame: (n, ≥14) records that were held against the contract.
        order: the positions that ``distinct`` returned for this frame, where they are known.

    Returns:
        (m, 14) with m ≤ n, index from 0.

    Raises:
        ValueError: a value does not fit the contract's type, so the records were not checked.
    """
    if order is None:
        order = distinct(frame)[0]
    # column by column: pandas gathers rows of mixed types three times as slowly
    return pd.DataFrame({name: _packed(frame[name])[order] for name in contract.COLUMN_NAMES}, copy=False)


def _packed(values: "pd.Series[float]") -> NDArray[Any]:
    dtype = contract.DTYPES[str(values.name)]
    given = values.to_numpy()
    with np.errstate(invalid="ignore"):  # what cannot be converted is found below
        packed: NDArray[Any] = given.astype(dtype)
    if not np.all((packed == given) | np.isnan(packed)):
        raise ValueError(f"{values.name} holds values that are no {dtype}: the records were not checked")
    packed += packed.dtype.type(0)  # -0.0 becomes 0.0
    return packed
