"""Snapshots of records: content-addressed Parquet, and how records are divided into training, hold-out and folds.

A record is known by a 64-bit hash of its values. Order, division and groups follow from that hash alone: not from
the order of a source or its formatting, not from the clock, not from the machine, not from the other records.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from heartline import contract
from heartline.errors import DataError
from heartline.storage import object_store

RAW = "raw"  # the kind of snapshot that holds records as a source gave them
HOLDOUT_SHARE = 0.2
CLASSES = ("without disease", "with disease")

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Folds = NDArray[np.int8]
Flags = NDArray[np.bool_]
Hashes = NDArray[np.uint64]
Positions = NDArray[np.intp]

# SplitMix64: Steele, Lea, Flood (2014), "Fast splittable pseudorandom number generators". A change of these numbers
# would move every record between training set and hold-out.
_GAMMA = np.uint64(0x9E3779B97F4A7C15)
_ROUNDS = ((np.uint64(30), np.uint64(0xBF58476D1CE4E5B9)), (np.uint64(27), np.uint64(0x94D049BB133111EB)))
_LAST_SHIFT = np.uint64(31)
_BLOCK = 1 << 15  # rows that are hashed at a time: what is worked on stays in the processor's cache


@dataclass(frozen=True)
class LabelledDataset:
    """Records ready for a model.

    Attributes:
        features: (n, 13) in the contract's order, missing values as NaN.
        labels: (n,) 1 for heart disease, else 0.
        groups: (n,) records with equal features share a number.
    """

    features: Floats
    labels: Ints
    groups: Ints

    def __len__(self) -> int:
        """Return the number of records."""
        return len(self.labels)


def fingerprints(frame: pd.DataFrame) -> tuple[Hashes, Hashes]:
    """Return the hash of each row's features, and of its features and label.

    Equal values give equal hashes, whatever their type: 1 as int8 and as float64, 0.0 and -0.0, all missing values.

    Args:
        frame: (n, ≥14) numeric columns, at least those of the contract.

    Returns:
        two arrays (n,), the rows in the frame's order.
    """
    features = _feature_hashes(frame)
    return features, _absorb(features.copy(), frame, [contract.LABEL.name])


def _feature_hashes(frame: pd.DataFrame) -> Hashes:
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
    hashes = _feature_hashes(frame)
    order = np.argsort(hashes)
    begins = _run_begins(hashes[order])
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
    begins = _run_begins(hashes[rows])
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


def _run_begins(ordered: Hashes) -> Flags:
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


def write_snapshot(frame: pd.DataFrame, kind: str = "snapshots") -> str:
    """Store ``frame`` as Parquet and return its URI, which is a function of the frame's content alone.

    The file says in ``heartline.contract`` which version of the contract it was written under.
    """
    table = pa.Table.from_pandas(frame, preserve_index=False)
    table = table.replace_schema_metadata({"heartline.contract": contract.VERSION})
    buffer = io.BytesIO()
    # what is kept for good is packed tightly, what only the next stage reads quickly
    pq.write_table(table, buffer, compression="lz4" if kind == RAW else "zstd")
    return object_store.put(buffer.getvalue(), kind, ".parquet")


def read_snapshot(uri: str) -> pd.DataFrame:
    """Return the frame stored at ``uri``, with the types that it was written with.

    Raises:
        StoreError: it is missing or damaged.
    """
    file = pq.ParquetFile(pa.BufferReader(object_store.get(uri)))
    # column by column: otherwise everything is in memory twice, as Arrow's and as pandas'
    columns = {name: file.read([name]).to_pandas()[name] for name in file.schema_arrow.names}
    return pd.DataFrame(columns, copy=False)


def expect_values(frame: pd.DataFrame) -> None:
    """Refuse records of which too many lack the same value.

    The checkpoint counts the rows of a source. Where many of them went into quarantine, what is left may be another
    set: a column without any value can be neither imputed nor learned from.

    Args:
        frame: (n, 14) canonical records.

    Raises:
        DataError: a column lacks more values than the contract allows.
    """
    for column in contract.FEATURES:
        found = int(frame[column.name].notna().sum())
        if len(frame) - found > contract.MAX_MISSING_SHARE * len(frame):
            raise DataError(
                f"too few records have a value of {column.name}: {found}",
                where=f"column {column.name} of the {len(frame)} records that are used",
                expected=f"a value in at least {1 - contract.MAX_MISSING_SHARE:.0%} of them",
                hint="train on records that have it",
            )


def train_test_split(frame: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Divide records into a training set and a hold-out of about 20 %.

    A record is held out when the hash of its features is below a fixed threshold. So it stays on its side for ever,
    whatever records join it; equal features never straddle; and a corrected label does not move a record.

    Args:
        frame: (n, 14) canonical records.

    Returns:
        training and hold-out frames, both canonical.

    Raises:
        DataError: one of the two would have no record of a class.
    """
    held = _feature_hashes(frame) < np.uint64(HOLDOUT_SHARE * 2**64)
    train, holdout = frame[~held].reset_index(drop=True), frame[held].reset_index(drop=True)
    for side, part in (("training set", train), ("hold-out", holdout)):
        for title, present in zip(CLASSES, _present(part), strict=True):
            if not present:
                raise DataError(
                    f"the {side} has no record {title}",
                    where=f"the division of {len(frame)} records: {len(train)} to train on, {len(holdout)} held out",
                    expected="records with and without disease in both parts",
                    hint="train on more data: chance leaves a class out only where it has a handful of records",
                )
    return train, holdout


def _present(frame: pd.DataFrame) -> tuple[bool, bool]:
    sick = frame[contract.LABEL.name] > 0
    return bool((~sick).any()), bool(sick.any())


def to_labelled(frame: pd.DataFrame) -> LabelledDataset:
    """Return features, labels and groups of canonical records."""
    features = frame[list(contract.FEATURE_NAMES)].to_numpy("float64")
    return replace(labels_and_groups(frame), features=features)


def labels_and_groups(frame: pd.DataFrame) -> LabelledDataset:
    """Return labels and groups of canonical records, and features (n, 0).

    It is what a fold plan needs, at a fraction of the time and memory of ``to_labelled``.
    """
    hashes = _feature_hashes(frame)
    order = np.argsort(hashes)
    groups = np.empty(len(frame), dtype=np.int64)
    groups[order] = np.cumsum(_run_begins(hashes[order])) - 1
    return LabelledDataset(
        features=np.empty((len(frame), 0)),
        labels=np.asarray(frame[contract.LABEL.name] > 0, dtype=np.int64),
        groups=groups,
    )


def plan_folds(records: LabelledDataset, *, splits: int, repeats: int, seed: int) -> Folds:
    """Return the fold of every record in every repeat: (repeats, n), numbers from 0 to ``splits`` - 1.

    Folds are stratified by label, and records with equal features are never in different folds: a group of them
    counts as one record, with disease when one of them is. Every family is evaluated on this one plan.

    Raises:
        DataError: a class has fewer distinct records than there are folds.
    """
    # Not scikit-learn's StratifiedGroupKFold: it loops over groups in Python, 46 s for one repeat at 100,000 records.
    sick = np.bincount(records.groups, weights=records.labels) > 0
    members = [np.flatnonzero(sick == bool(label)) for label in range(len(CLASSES))]
    for label, (title, distinct) in enumerate(zip(CLASSES, map(len, members), strict=True)):
        if distinct < splits:
            raise DataError(
                f"too few distinct records {title} to evaluate a model: {distinct}",
                where=f"label {label} of the training set",
                expected=f"at least {splits}, one for each fold",
                hint="train on more data",
            )
    # The second class goes on where the first one stops, so that the folds are of one size too.
    numbers = np.resize(np.arange(splits, dtype=np.int8), len(sick))
    shares = np.split(numbers, [len(members[0])])
    plan, folds = np.empty((repeats, len(records)), dtype=np.int8), np.empty(len(sick), dtype=np.int8)
    for repeat in range(repeats):
        random = np.random.default_rng([seed % 2**64, repeat])
        for group, share in zip(members, shares, strict=True):
            folds[group] = random.permutation(share)
        plan[repeat] = folds[records.groups]
    return plan
