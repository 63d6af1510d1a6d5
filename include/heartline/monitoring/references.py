"""The reference of a version: the records and out-of-fold predictions of its training, read from the store.

A version names its snapshot and, from release 0.6 on, its stored predictions by their digests. The predictions of an
earlier version are found in the store by the evaluation that they carry. What is gone is said, and not replaced by
something that looks like it.
"""

import json
import logging
import posixpath
from collections.abc import Iterator, Mapping
from typing import Any

import fsspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from heartline import contract
from heartline.errors import HeartlineError, PermanentError
from heartline.monitoring.inputs import Floats, Integers, Reference
from heartline.registry import versions
from heartline.registry.versions import StoredModel
from heartline.storage import object_store, snapshots, splits

PREDICTIONS = "predictions"
"""Tag of a version: digest of its stored out-of-fold predictions."""

_EVIDENCE = b"heartline.evaluation"
_KIND, _SUFFIX = "predictions", ".parquet"
NO_RECORDS = "the training records are gone from the store, so drift is measured against this version's first records"
NO_PREDICTIONS = (
    "the out-of-fold predictions of the training are gone, so the Brier score of the reference is that of "
    "evaluation.json, and the drift of the score is measured against this version's first predictions"
)

log = logging.getLogger(__name__)


class NoReferenceError(PermanentError):
    """A version has nothing that it could be compared with."""


def of(version: str, digest: str) -> Reference:
    """Return the reference of a version.

    Args:
        version: its number.
        digest: sha256 of its bundle's manifest, as the prediction log has it.

    Raises:
        NoReferenceError: the version was deleted or replaced, or no Brier score is stored with it.
        RegistryError: MLflow cannot be reached.
        StoreError: the store cannot be read.
    """
    stored = versions.find(version)
    if stored is None or stored.digest != digest:
        raise NoReferenceError(
            f"version {version} was deleted or has other files now",
            where=f"bundle {digest[:12]}…",
            expected="the version that answered",
            hint="nothing: its predictions stay in the log, and are not monitored",
        )
    brier = _brier(stored)
    missing: list[str] = []
    features, labels = _records(stored, missing)
    probabilities = _probabilities(stored, labels, missing)
    if probabilities is None and brier is None:
        raise NoReferenceError(
            f"version {version} has no Brier score to be compared with",
            where="evaluation.json of the version, and the store's predictions",
            expected="the Brier score out of fold",
            hint="train again: the next version has it",
        )
    stored_brier = brier if probabilities is None else None
    if probabilities is None:
        probabilities = np.full(len(labels), np.nan)
    return Reference(
        version=version,
        digest=digest,
        snapshot=stored.tags.get("snapshot", ""),
        features=features,
        probabilities=probabilities,
        labels=labels,
        brier=stored_brier,
        missing=tuple(missing),
    )


def _brier(stored: StoredModel) -> float | None:
    try:
        return float(stored.evaluation["out_of_fold"]["brier"]["value"])
    except (KeyError, TypeError, ValueError):
        return None


def _records(stored: StoredModel, missing: list[str]) -> tuple[Floats, Integers]:
    """Return features (n, k) and labels (n,) of the training set, in its order; n is 0 where they are gone."""
    try:
        frame = snapshots.read_snapshot(object_store.address(stored.tags.get("snapshot", ""), "snapshots", ".parquet"))
        training = splits.to_labelled(splits.train_test_split(frame)[0])
    except (object_store.DamagedObjectError, pa.ArrowInvalid, KeyError) as error:
        return _nothing(error, missing)
    except object_store.StoreError as error:
        if stored.tags.get("snapshot"):
            raise
        return _nothing(error, missing)
    except HeartlineError as error:  # an early snapshot that is split in another way today
        return _nothing(error, missing)
    return training.features.astype(np.float64), np.asarray(training.labels, np.int64)


def _nothing(error: Exception, missing: list[str]) -> tuple[Floats, Integers]:
    log.warning("%s: %s", NO_RECORDS, error)
    missing.append(NO_RECORDS)
    return np.empty((0, len(contract.FEATURE_NAMES))), np.empty(0, np.int64)


def _probabilities(stored: StoredModel, labels: Integers, missing: list[str]) -> Floats | None:
    """Return the out-of-fold predictions (n,) in the order of the labels; None where there are none that fit."""
    for table in _stored_predictions(stored):
        frame: pd.DataFrame = table.to_pandas()
        same = len(frame) == len(labels) and bool((frame["label"].to_numpy() == labels).all())
        if same or not len(labels):
            found: Floats = frame["probability"].to_numpy(np.float64)
            # without the records there is no row that a prediction could belong to: only its Brier score counts
            return found if len(labels) else None
    missing.append(NO_PREDICTIONS)
    return None


def _stored_predictions(stored: StoredModel) -> Iterator[pa.Table]:
    """Yield the stored predictions of a version: that which its tag names, else those with its evaluation."""
    if digest := stored.tags.get(PREDICTIONS, ""):
        try:
            yield pq.read_table(pa.BufferReader(object_store.get(object_store.address(digest, _KIND, _SUFFIX))))
        except (object_store.DamagedObjectError, pa.ArrowInvalid) as error:
            log.warning("the stored predictions cannot be used: %s", error)
        return
    for uri in _listed():
        try:
            table = pq.read_table(pa.BufferReader(object_store.get(uri)))
            evidence = json.loads((table.schema.metadata or {})[_EVIDENCE])
        except (object_store.StoreError, pa.ArrowInvalid, KeyError, ValueError):
            continue  # another form, or damaged: not ours to judge
        if _same(evidence, stored.evaluation):
            yield table


def _listed() -> list[str]:
    """Return the URIs of all stored predictions."""
    folder = posixpath.join(object_store.default_uri().rstrip("/"), _KIND)
    try:
        fs, path = fsspec.core.url_to_fs(folder)
        names = [posixpath.basename(str(one)) for one in fs.ls(path, detail=False)]
    except OSError:
        return []
    return [f"{folder}/{name}" for name in sorted(names) if name.endswith(_SUFFIX)]


def _same(evidence: Mapping[str, Any], evaluation: Mapping[str, Any]) -> bool:
    return bool(evaluation.get("about")) and all(
        evidence.get(name) == evaluation.get(name) for name in ("about", "out_of_fold")
    )
