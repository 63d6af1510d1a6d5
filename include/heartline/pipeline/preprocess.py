"""The task ``preprocess``: splits the snapshot into training set and hold-out, and plans the shared folds."""

import logging
from collections.abc import Sequence

import pandas as pd

from heartline.errors import DataError, memory_limit
from heartline.parameters import training as parameters
from heartline.pipeline import handovers, unchanged
from heartline.pipeline.handovers import ForFamily, Prepared, Validated
from heartline.storage import snapshots, splits
from heartline.training import families as known
from heartline.training.family_names import FAMILY_NAMES

log = logging.getLogger(__name__)


def for_each_family(
    validated: Validated,
    *,
    families: Sequence[str],
    profile: str,
    seed: int,
    promotion: str,
    until: str = parameters.STAGES[-1],
    force: bool = False,
) -> list[ForFamily]:
    """Do what ``preprocess`` does, and end the run where there is nothing new.

    Args:
        validated: what ``validate`` returned.
        families: names of the families to train.
        profile: ``quick`` or ``full``.
        seed: of the folds and of the models.
        promotion: one of ``comparison.verdict.PROMOTION_MODES``.
        until: the last task of the run.
        force: whether the run goes on where there is nothing new.

    Returns:
        an entry for each family; the task ``train`` is mapped over them.

    Raises:
        OutOfMemoryError: the records do not fit in memory.
        HandoverError: another version of the code wrote ``validated``.
        DataError: too few records of a class, or too few with a value of a column.
        RegistryError: MLflow cannot be reached.
    """
    prepared = preprocess(validated, profile=profile, seed=seed, families=families)
    handovers.end_after(prepared, "preprocess", until)
    if "ends" not in prepared and not force:
        found = unchanged.find(prepared, promotion=promotion)
        if found:
            prepared["registered"] = found
            prepared["note"] = prepared["ends"] = found["note"]
    return [{"family": name, "prepared": prepared} for name in prepared["families"]]


@memory_limit("task preprocess")
def preprocess(validated: Validated, *, profile: str, seed: int, families: Sequence[str] = FAMILY_NAMES) -> Prepared:
    """Split the snapshot into training set and hold-out, and plan the folds that all families share.

    Args:
        validated: what ``validate`` returned.
        profile: ``quick`` or ``full``.
        seed: of the folds and of the models.
        families: names of the families to train.

    Raises:
        OutOfMemoryError: the records do not fit in memory.
        HandoverError: another version of the code wrote ``validated``.
        DataError: too few records of a class, or too few with a value of a column.
    """
    handovers.expect("validate", validated)
    plan = known.profile(profile)
    records = snapshots.read_snapshot(validated["snapshot"])
    try:
        splits.expect_values(records)
        train, holdout = splits.train_test_split(records)
        folds = splits.plan_folds(splits.labels_and_groups(train), splits=plan.splits, repeats=plan.repeats, seed=seed)
    except DataError as error:
        raise _with_row_counts(error, validated) from error
    frame = pd.DataFrame(folds.T, columns=[f"repeat_{number}" for number in range(len(folds))])
    log.info("%d training records, %d held out", len(train), len(holdout))
    prepared: Prepared = {
        # mypy would have the fields that may be absent set here
        **validated,  # type: ignore[typeddict-item]
        "training": snapshots.write_snapshot(train),
        "holdout": snapshots.write_snapshot(holdout),
        "folds": snapshots.write_snapshot(frame, "folds"),
        "profile": profile,
        "seed": seed,
        "families": [name for name in FAMILY_NAMES if name in families],
        "note": f"{len(train):,} training records and {len(holdout):,} held out, of {validated['used']:,}",
    }
    prepared.pop("assets", None)
    prepared["fingerprint"] = unchanged.fingerprint(prepared)
    return prepared


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
