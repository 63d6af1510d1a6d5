"""The task ``preprocess``: splits the snapshot into training set and hold-out, and plans the shared folds."""

import logging
from collections.abc import Mapping
from typing import Any

import pandas as pd

from heartline.errors import DataError
from heartline.storage import snapshots, splits
from heartline.training import families

log = logging.getLogger(__name__)


def preprocess(validated: Mapping[str, Any], *, profile: str, seed: int) -> dict[str, Any]:
    """Divide the snapshot into training set and hold-out, and plan the folds that all families share.

    Raises:
        DataError: too few records of a class, or with a value of a column.
    """
    plan = families.profile(profile)
    records = snapshots.read_snapshot(validated["snapshot"])
    try:
        splits.expect_values(records)
        train, holdout = splits.train_test_split(records)
        folds = splits.plan_folds(splits.labels_and_groups(train), splits=plan.splits, repeats=plan.repeats, seed=seed)
    except DataError as error:
        raise _too_little(error, validated) from error
    frame = pd.DataFrame(folds.T, columns=[f"repeat_{number}" for number in range(len(folds))])
    log.info("%d records to train on, %d held out", len(train), len(holdout))
    return {
        **validated,
        "training": snapshots.write_snapshot(train),
        "holdout": snapshots.write_snapshot(holdout),
        "folds": snapshots.write_snapshot(frame, "folds"),
        "profile": profile,
        "seed": seed,
    }


def _too_little(error: DataError, validated: Mapping[str, Any]) -> DataError:
    """Return the error with what became of the source's rows: most often that is where the records went."""
    rows, aside, repeated = (validated[name] for name in ("rows", "quarantined", "duplicates"))
    mend = f"; or mend the rows in quarantine: {validated['quarantine_csv']}" if aside else ""
    return DataError(
        error.what,
        where=f"{error.where}; of {rows} rows in the source {aside} are in quarantine, {repeated} repeat another",
        expected=error.expected,
        hint=f"{error.hint}{mend}; nothing was trained",
    )
