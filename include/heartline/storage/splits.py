"""Train/test split and fold plan of a snapshot.

Both depend on the key of a record's group and on no other record, so new records move none to the other side of the
split, and none to another fold.
"""

from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from heartline import contract
from heartline.arrays import Flags, Floats, Folds, Hashes, Ints, Positions
from heartline.errors import DataError
from heartline.storage import near_duplicates
from heartline.storage.record_identity import PATIENT, feature_hashes, mixed, run_begins

HOLDOUT_SHARE = 0.2
GROUP = "group"  # column with the key of each record's group, where near duplicates are grouped
# The folds inside a training part must not repeat the outer ones: one of them would be empty.
OUTER, INNER = 0x6F75746572, 0x696E6E6572
MIN_FOLDS = 2  # of a repeat, with records of both classes
_BLOCK = 1 << 20  # records whose folds are computed at a time
MANY = 30_000  # with more records than this, what takes memory or time in proportion is done more economically
CLASSES = ("without disease", "with disease")


@dataclass(frozen=True)
class LabelledDataset:
    """Features, labels and groups for training and evaluation.

    Attributes:
        features: (n, 13) in the contract's order, missing values as NaN.
        labels: (n,) 1 for heart disease, else 0.
        groups: (n,) group number; records of one patient are in the same group. Without a patient key these are records
            with equal features, and near duplicates where they are certain.
        keys: (n,) key of the group, which decides the folds. It does not depend on other records. By default the
            group's number.
    """

    features: Floats
    labels: Ints
    groups: Ints
    keys: Hashes = field(default_factory=lambda: np.empty(0, dtype=np.uint64))

    def __post_init__(self) -> None:
        """Use the groups' numbers as keys, if none were given."""
        if len(self.keys) != len(self.groups):
            object.__setattr__(self, "keys", self.groups.astype(np.uint64))

    def __len__(self) -> int:
        """Return the number of records."""
        return len(self.labels)

    def take(self, rows: Positions | Flags) -> "LabelledDataset":
        """Return some of the records: m positions, or (n,) flags."""
        return LabelledDataset(self.features[rows], self.labels[rows], self.groups[rows], self.keys[rows])


def expect_values(frame: pd.DataFrame) -> None:
    """Raise if too many of the used records lack a value in the same column.

    The checkpoint counts missing values over all rows of the source. If many of them are quarantined, the remaining
    records can have more missing values than allowed, and a column without any value cannot be imputed.

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
                hint="train on records with this value",
            )


def train_test_split(frame: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Split records into a training set and a hold-out of about 20 %.

    A record is held out if the key of its group is below a fixed threshold: that of its patient, else the hash of its
    features. So new records or a corrected label never move it, and records of one patient, or with equal features, are
    on the same side. Near duplicates are too where they are certain (``with_groups``).

    Args:
        frame: (n, ≥14) canonical records.

    Returns:
        the training set and the hold-out, both canonical, with ``GROUP`` if ``with_groups`` adds it.

    Raises:
        DataError: one of the two has no record of a class.
    """
    frame = with_groups(frame)
    in_holdout = group_keys(frame) < np.uint64(HOLDOUT_SHARE * 2**64)
    train, holdout = frame[~in_holdout].reset_index(drop=True), frame[in_holdout].reset_index(drop=True)
    for side, records in (("training set", train), ("hold-out", holdout)):
        for title, present in zip(CLASSES, _present(records), strict=True):
            if not present:
                raise DataError(
                    f"the {side} has no record {title}",
                    where=f"the split of {len(frame)} records: {len(train)} for training, {len(holdout)} held out",
                    expected="records with and without disease on both sides",
                    hint="train on more data: this happens only if a class has very few records",
                )
    return train, holdout


def with_groups(frame: pd.DataFrame) -> pd.DataFrame:
    """Return records with the column ``GROUP`` where near duplicates are certain; otherwise the frame itself.

    With a patient key, the key decides which records belong together.

    Args:
        frame: (n, ≥14) canonical records.
    """
    if GROUP in frame or PATIENT in frame:
        return frame
    found = near_duplicates.find(frame)
    if not found.certain:
        return frame
    return frame.assign(**{GROUP: near_duplicates.grouped(feature_hashes(frame), found.pairs)})


def group_keys(frame: pd.DataFrame) -> Hashes:
    """Return the key (n,) of each record's group: ``GROUP``, else its patient's, else the hash of its features.

    A record without a patient whose features are those of a patient's record belongs to that patient's group.
    """
    if GROUP in frame:
        return frame[GROUP].to_numpy("uint64")
    if PATIENT not in frame:
        return feature_hashes(frame)
    patients = frame[PATIENT].to_numpy("uint64")
    known = patients != 0
    return patients if known.all() else _with_equal_features(patients, known, feature_hashes(frame))


def _with_equal_features(patients: Hashes, known: Flags, features: Hashes) -> Hashes:
    """Return the keys (n,) of the patients; of a record without one, that of a record with equal features, else them.

    Args:
        patients: (n,) keys.
        known: (n,) whether a record has a key.
        features: (n,) hashes of the features.
    """
    keys = np.where(known, patients, features)
    if not known.any():
        return keys
    order = np.lexsort((patients[known], features[known]))  # of several patients the one with the smallest key
    ordered = features[known][order]
    others = features[~known]
    places = np.minimum(np.searchsorted(ordered, others), len(ordered) - 1)
    keys[~known] = np.where(ordered[places] == others, patients[known][order][places], others)
    return keys


def seen(frame: pd.DataFrame, trained: pd.DataFrame) -> Flags:
    """Return which records (n,) a model knows: by their features or their patient, or as one of a group with such.

    Args:
        frame: (n, ≥14) canonical records.
        trained: (m, ≥14) canonical records that the model was trained on.
    """
    known = np.isin(feature_hashes(frame), feature_hashes(trained))
    if PATIENT in frame and PATIENT in trained:
        patients = frame[PATIENT].to_numpy("uint64")
        known |= np.isin(patients, trained[PATIENT].to_numpy("uint64")) & (patients != 0)
    keys = group_keys(with_groups(frame))
    found: Flags = np.isin(keys, keys[known])
    return found


def _present(frame: pd.DataFrame) -> tuple[bool, bool]:
    positive = frame[contract.LABEL.name] > 0
    return bool((~positive).any()), bool(positive.any())


def to_labelled(frame: pd.DataFrame) -> LabelledDataset:
    """Return features, labels and groups of canonical records.

    Features of more than ``MANY`` records are float32, as those that the service gives to a model. That halves the
    memory of training; of the contract's values only the last bits of a fraction differ.
    """
    features = np.empty((len(frame), len(contract.FEATURES)), "float32" if len(frame) > MANY else "float64")
    for position, name in enumerate(contract.FEATURE_NAMES):
        features[:, position] = frame[name]
    return replace(labels_and_groups(frame), features=features)


def labels_and_groups(frame: pd.DataFrame) -> LabelledDataset:
    """Return labels and groups of canonical records, and features (n, 0).

    A fold plan needs no features: this takes a fraction of the time and memory of ``to_labelled``.
    """
    keys = group_keys(frame)
    order = np.argsort(keys)
    groups = np.empty(len(frame), dtype=np.int64)
    groups[order] = np.cumsum(run_begins(keys[order])) - 1
    return LabelledDataset(
        features=np.empty((len(frame), 0)),
        labels=np.asarray(frame[contract.LABEL.name] > 0, dtype=np.int64),
        groups=groups,
        keys=keys,
    )


def plan_folds(records: LabelledDataset, *, splits: int, repeats: int, seed: int) -> Folds:
    """Return the fold of every record in every repeat: (repeats, n), numbers from 0 to ``splits`` - 1.

    The fold depends on the key of the record's group, the seed and the repeat only, as in ``hashed_folds``: folds are
    not stratified, and their sizes differ. A fold may hold no record of a class, or no record at all. All model
    families are evaluated on the same plan.

    Raises:
        DataError: a class has fewer distinct records than there are folds, or fewer than two folds of a repeat hold
            records of both classes. So each fold's training part has both.
    """
    positive = np.bincount(records.groups, weights=records.labels) > 0
    for label, title in enumerate(CLASSES):
        distinct = int((positive == bool(label)).sum())
        if distinct < splits:
            raise DataError(
                f"too few distinct records {title} to evaluate a model: {distinct}",
                where=f"label {label} of the training set",
                expected=f"at least {splits}, one for each fold",
                hint="train on more data",
            )
    plan = hashed_folds(records.keys, splits=splits, repeats=repeats, seed=seed)
    sides = [records.labels == label for label in range(len(CLASSES))]
    for number, folds in enumerate(plan, 1):
        held = np.logical_and(*(np.bincount(folds[side], minlength=splits) > 0 for side in sides))
        if held.sum() < MIN_FOLDS:
            raise DataError(
                f"only {held.sum()} of {splits} folds holds records of both classes",
                where=f"repeat {number} of the fold plan of {len(records)} records, with the seed {seed}",
                expected=f"at least {MIN_FOLDS}, so that each model is fitted and scored on both classes",
                hint="train on more data, or set another seed",
            )
    return plan


def hashed_folds(keys: Hashes, *, splits: int, repeats: int, seed: int, salt: int = OUTER) -> Folds:
    """Return the fold of every key in every repeat: (repeats, n), numbers from 0 to ``splits`` - 1.

    A fold number is a hash (SplitMix64) of the key, the seed, the repeat and the salt, multiplied into the range
    (Lemire 2019, "Fast random integer generation in an interval", ACM Transactions on Modeling and Computer Simulation
    29). Other keys play no part: adding, removing or reordering records changes the fold of no other record.

    Args:
        keys: (n,) keys of the records' groups.
        splits: folds in a repeat, at most 127.
        repeats: of the plan, each with other folds.
        seed: another seed gives other folds.
        salt: ``INNER`` for folds within a training part, so that they do not depend on the outer ones.
    """
    plan = np.empty((repeats, len(keys)), dtype=np.int8)
    for repeat in range(repeats):
        stream = mixed(mixed(mixed(np.zeros(1, np.uint64), salt), seed), repeat)
        for start in range(0, len(keys), _BLOCK):
            hashes = mixed(keys[start : start + _BLOCK], stream)
            plan[repeat, start : start + _BLOCK] = (hashes >> np.uint64(32)) * np.uint64(splits) >> np.uint64(32)
    return plan
