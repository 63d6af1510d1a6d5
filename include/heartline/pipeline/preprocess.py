"""The task ``preprocess``: splits the snapshot into training set and hold-out, and plans the shared folds."""

import logging

import pandas as pd

from heartline.errors import DataError, memory_limit
from heartline.pipeline import handovers
from heartline.pipeline.handovers import Prepared, Validated
from heartline.storage import snapshots, splits
from heartline.training import families

log = logging.getLogger(__name__)


@memory_limit("task preprocess")
def preprocess(validated: Validated, *, profile: str, seed: int) -> Prepared:
    """Split the snapshot into training set and hold-out, and plan the folds that all families share.

    Args:
        validated: what ``validate`` returned.
        profile: ``quick`` or ``full``.
        seed: of the folds and of the models.

    Raises:
        OutOfMemoryError: the records do not fit in memory.
        HandoverError: another version of the code wrote ``validated``.
        DataError: too few records of a class, or too few with a value of a column.
    """
    handovers.expect("validate", validated)
    plan = families.profile(profile)
    records = snapshots.read_snapshot(validated["snapshot"])
    try:
        splits.expect_values(records)
        train, holdout = splits.train_test_split(records)
        folds = splits.plan_folds(splits.labels_and_groups(train), splits=plan.splits, repeats=plan.repeats, seed=seed)
    except DataError as error:
        raise _with_row_counts(error, validated) from error
    frame = pd.DataFrame(folds.T, columns=[f"repeat_{number}" for number in range(len(folds))])
    log.info("%d training records, %d held out", len(train), len(holdout))
    return {
        **validated,
        "training": snapshots.write_snapshot(train),
        "holdout": snapshots.write_snapshot(holdout),
        "folds": snapshots.write_snapshot(frame, "folds"),
        "profile": profile,
        "seed": seed,
    }


def _with_row_counts(error: DataError, validated: Validated) -> DataError:
    """Return the error with the counts of quarantined and duplicate rows: usually they explain the missing records."""
    rows, quarantined, duplicates = validated["rows"], validated["quarantined"], validated["duplicates"]
    fix = f"; or correct the rows in quarantine: {validated['quarantine_csv']}" if quarantined else ""
    return DataError(
        error.what,
        where=f"{error.where}; of {rows} rows in the source, {quarantined} are in quarantine and {duplicates} are "
        "duplicates",
        expected=error.expected,
        hint=f"{error.hint}{fix}; nothing was trained",
    )
