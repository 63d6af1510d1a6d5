"""Train/test split and fold plan of a snapshot.

Both follow from the hashes of the records' features: a record stays on its side, whatever records join it.
"""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from heartline import contract
from heartline.arrays import Floats, Folds, Ints
from heartline.errors import DataError
from heartline.storage.record_identity import feature_hashes, run_begins

HOLDOUT_SHARE = 0.2
CLASSES = ("without disease", "with disease")


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
    held = feature_hashes(frame) < np.uint64(HOLDOUT_SHARE * 2**64)
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
    hashes = feature_hashes(frame)
    order = np.argsort(hashes)
    groups = np.empty(len(frame), dtype=np.int64)
    groups[order] = np.cumsum(run_begins(hashes[order])) - 1
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
