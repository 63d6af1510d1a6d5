"""Snapshots of records: content-addressed Parquet, and how records are divided into training, hold-out and folds.

A record's identity is the sha256 of its values, so the division depends on nothing but the records: not on their
order, not on the clock, not on the machine.
"""

import hashlib
import io
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold

from heartline import contract, store
from heartline.errors import DataError

HOLDOUT_SHARE = 0.2

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Labelled:
    """Records ready for a model.

    Attributes:
        features: (n, 13) in the contract's order, missing values as NaN.
        labels: (n,) 1 for heart disease, else 0.
        groups: (n,) equal records share a number.
    """

    features: Floats
    labels: Ints
    groups: Ints

    def __len__(self) -> int:
        """Return the number of records."""
        return len(self.labels)


def canonical(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the contract's columns as float64, rows sorted by value: equal records give an equal frame.

    Args:
        frame: (n, ≥14) numeric columns, at least those of the contract.
    """
    ordered = frame[list(contract.COLUMN_NAMES)].astype("float64") + 0.0  # -0.0 becomes 0.0
    return ordered.sort_values(list(contract.COLUMN_NAMES), ignore_index=True, na_position="last")


def write_snapshot(frame: pd.DataFrame, kind: str = "snapshots") -> str:
    """Store ``frame`` as Parquet and return its URI, which is a function of the frame's content alone."""
    table = pa.Table.from_pandas(frame, preserve_index=False)
    table = table.replace_schema_metadata({"heartline.contract": contract.VERSION})
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    return store.put(buffer.getvalue(), kind, ".parquet")


def read_snapshot(uri: str) -> pd.DataFrame:
    """Return the frame stored at ``uri``.

    Raises:
        StoreError: it is missing or damaged.
    """
    frame: pd.DataFrame = pq.read_table(io.BytesIO(store.get(uri))).to_pandas()
    return frame


def record_keys(frame: pd.DataFrame) -> list[str]:
    """Return the sha256 of each canonical row's values: (n,) hexadecimal."""
    values = np.ascontiguousarray(frame.to_numpy("<f8"))
    values[np.isnan(values)] = np.nan  # one bit pattern for every missing value
    return [hashlib.sha256(row.tobytes()).hexdigest() for row in values]


def divide(frame: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Divide canonical records into a training set and a hold-out of 20 %, stratified by diagnosis.

    Within each class the records are ordered by their hash and the first fifth is held out, whole groups of equal
    records at a time: an order that depends on nothing but the records, in which duplicates cannot straddle.

    Args:
        frame: (n, 14) canonical records.

    Returns:
        training and hold-out frames, both canonical.
    """
    keys = pd.Series(record_keys(frame), index=frame.index)
    sick = frame[contract.LABEL.name] > 0
    held = pd.Series(False, index=frame.index)
    for members in (keys[sick], keys[~sick]):
        counts = members.value_counts().sort_index()
        before = counts.cumsum() - counts
        held |= keys.isin(counts.index[before < HOLDOUT_SHARE * len(members) - 0.5])
    return frame[~held].reset_index(drop=True), frame[held].reset_index(drop=True)


def labelled(frame: pd.DataFrame) -> Labelled:
    """Return features, labels and groups of canonical records."""
    _, groups = np.unique(record_keys(frame), return_inverse=True)
    return Labelled(
        features=frame[list(contract.FEATURE_NAMES)].to_numpy("float64"),
        labels=np.asarray(frame[contract.LABEL.name] > 0, dtype=np.int64),
        groups=np.asarray(groups, dtype=np.int64),
    )


def plan_folds(records: Labelled, *, splits: int, repeats: int, seed: int) -> Ints:
    """Return the fold of every record in every repeat: (repeats, n), numbers from 0 to ``splits`` - 1.

    Stratified by label, and equal records are never in different folds. Every family is evaluated on this one plan.

    Raises:
        DataError: a class has fewer distinct records than there are folds.
    """
    for label, title in ((0, "without disease"), (1, "with disease")):
        distinct = len(np.unique(records.groups[records.labels == label]))
        if distinct < splits:
            raise DataError(
                f"too few distinct records {title} to evaluate a model: {distinct}",
                where=f"label {label} of the training set",
                expected=f"at least {splits}, one for each fold",
                do="train on more data",
            )
    plan = np.empty((repeats, len(records)), dtype="int64")
    for repeat in range(repeats):
        folds = StratifiedGroupKFold(splits, shuffle=True, random_state=(seed + repeat) % 2**32)
        for number, (_, test) in enumerate(folds.split(records.features, records.labels, records.groups)):
            plan[repeat, test] = number
    return plan
