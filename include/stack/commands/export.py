"""`heartline export`: writes the training and test rows of a registered version as CSV files."""

import posixpath
import tempfile
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
from pyarrow import csv

from heartline import addresses, contract
from heartline.storage import snapshots, splits
from stack.clients.mlflow import PRODUCTION, Registry
from stack.errors import UsageError
from stack.processes.definitions import SCHEDULER
from stack.processes.lifecycle import Stack
from stack.settings import MODEL

TARGET = "has_heart_disease"  # the name of the label in the responses of the service


def export(stack: Stack, folder: Path, version: str | None) -> dict[str, Any]:
    """Write ``X_train.csv``, ``X_test.csv``, ``y_train.csv`` and ``y_test.csv`` of a version.

    Args:
        stack: a running stack.
        folder: a new or empty folder.
        version: a registered version; None for the one in production.

    Returns:
        The folder, version, origin, snapshot, contract version, and the row counts.

    Raises:
        UsageError: the folder is not empty, or there is no such version.
        UnhealthyError: MLflow does not answer.
        StoreError: the snapshot cannot be read.
        OSError: the folder cannot be written.
    """
    folder = folder.expanduser().absolute()
    _refuse_existing_files(folder)
    version, tags = _version(Registry(stack.settings.mlflow_url), version)
    train, test = splits.train_test_split(snapshots.read_snapshot(_snapshot_uri(stack, tags["snapshot"])))
    folder.mkdir(parents=True, exist_ok=True)
    # The files are moved into the folder when all are complete, so that a partial export is never mistaken for one.
    with tempfile.TemporaryDirectory(dir=folder, prefix=".export-") as partial:
        for half, frame in (("train", train), ("test", test)):
            _write(_features(frame), Path(partial, f"X_{half}.csv"))
            _write(_target(frame), Path(partial, f"y_{half}.csv"))
        for path in sorted(Path(partial).iterdir()):
            path.rename(folder / path.name)
    return {
        "folder": str(folder),
        "version": version,
        "origin": tags.get("origin"),
        "snapshot": tags["snapshot"],
        "contract": contract.VERSION,
        "train": _counts(train),
        "test": _counts(test),
    }


def _refuse_existing_files(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        problem = "is not a folder"
    elif folder.exists() and any(folder.iterdir()):
        problem = "is not empty"
    else:
        return
    raise UsageError(
        f"the folder for the export {problem}",
        where=str(folder),
        expected="a new or an empty folder, so that no other export is overwritten",
        hint="name another folder",
    )


def _version(registry: Registry, version: str | None) -> tuple[str, dict[str, str]]:
    """Return the version and its tags, after checking that this checkout can reproduce its rows."""
    if version is None:
        version = registry.at(PRODUCTION)
        if version is None:
            raise UsageError(
                "there is no version to export",
                where=f"alias {PRODUCTION} of {addresses.model()}",
                expected="a version in production",
                hint="./heartline promote, or name a version with --version",
            )
    tags = registry.version(version) if version.isdigit() else None
    if tags is None or "snapshot" not in tags:
        raise UsageError(
            f"the model {MODEL} has no version {version!r}",
            where=addresses.model(),
            expected="the number of a version that a training run registered",
            hint="choose one that MLflow lists, or omit it to export the one in production",
        )
    if tags.get("contract_version") != contract.VERSION:
        raise UsageError(
            f"version {version} was trained under another contract: {tags.get('contract_version')}",
            where=f"tag contract_version of version {version} of {addresses.model()}",
            expected=f"{contract.VERSION}, because another contract may split the records differently",
            hint="run the command in the checkout that trained the version, or train again",
        )
    return version, tags


def _snapshot_uri(stack: Stack, digest: str) -> str:
    settings = next(one.settings for one in stack.definitions() if one.name == SCHEDULER)
    return posixpath.join(settings["HEARTLINE_STORE"].rstrip("/"), "snapshots", f"{digest}.parquet")


def _features(frame: pd.DataFrame) -> pa.Table:
    """Return the features, whole numbers as integers, so that the CSV shows no fractions."""
    table = pa.Table.from_pandas(frame[list(contract.FEATURE_NAMES)], preserve_index=False)
    whole = {column.name for column in contract.FEATURES if column.whole}
    return table.cast(
        pa.schema([field.with_type(pa.int64()) if field.name in whole else field for field in table.schema])
    )


def _target(frame: pd.DataFrame) -> pa.Table:
    return pa.table({TARGET: pa.array(splits.labels_and_groups(frame).labels)})


def _write(table: pa.Table, path: Path) -> None:
    csv.write_csv(table, path, csv.WriteOptions(quoting_header="none"))


def _counts(frame: pd.DataFrame) -> dict[str, int]:
    return {"rows": len(frame), TARGET: int((frame[contract.LABEL.name] > 0).sum())}
