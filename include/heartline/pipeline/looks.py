"""Which look a comparison is: counts its new records and records it in MLflow, before its result is shown."""

import hashlib
import json
import logging
from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np

from heartline import origins
from heartline.arrays import Hashes
from heartline.comparison import looks
from heartline.comparison.compare import OutOfFoldPredictions
from heartline.comparison.looks import Look, NewRecords
from heartline.evaluation import bootstrap
from heartline.pipeline.handovers import LookTaken
from heartline.pipeline.model_comparison import ComparisonResult
from heartline.registry import mlflow_registry
from heartline.registry.production.look_history import RecordedLook
from heartline.storage import object_store, record_identity, snapshots
from heartline.storage.object_store import DamagedObjectError

log = logging.getLogger(__name__)


def take(
    outcome: ComparisonResult,
    predictions: OutOfFoldPredictions,
    *,
    training: str,
    digests: Sequence[str],
    origin: str,
    run: str,
) -> Look:
    """Return which look a comparison is, and record it in MLflow if it is one.

    The same comparison (training set, predictions and incumbent) is the same look: a task that runs again finds it.
    Looks on the synthetic sample are counted apart: they say nothing about patients.

    Args:
        outcome: of the comparison.
        predictions: of one of the families, for the labels and groups of the training set.
        training: URI of the training set.
        digests: of the families' stored predictions.
        origin: kind of source of the training set.
        run: Airflow's DAG run id.

    Raises:
        RegistryError: MLflow or the lock cannot be reached.
        StoreError: the store cannot be reached.
    """
    why = _why_none(outcome, predictions)
    if why:
        return Look(None, None, why)
    digest = object_store.digest_of(training)
    about = json.dumps([digest, sorted(digests), outcome.verdict.incumbent])
    key = hashlib.sha256(about.encode()).hexdigest()
    while True:
        earlier = mlflow_registry.looks()
        found = next((one for one in earlier if one.key == key), None)
        if found:
            return _look(found)
        now = datetime.now(UTC)
        counted = [one for one in earlier if (one.origin == origins.SAMPLE) == (origin == origins.SAMPLE)]
        look, records = _decided(counted, training, digest, now)
        if look.number is None or look.level is None:
            return look
        entry = RecordedLook(
            when=now,
            key=key,
            run=run,
            digest=digest,
            training=training,
            records=records,
            number=look.number,
            level=look.level,
            p_value=min(looks.p_values(outcome.comparisons).values()),
            verdict=outcome.verdict.verdict,
            **({"new": look.new.count, "needed": look.new.needed} if look.new else {}),
            since=look.new.since if look.new else "",
            note=look.new.note if look.new else "",
            origin=origin,
        )
        if mlflow_registry.record_look(entry, after=earlier):
            return look
        log.info("another comparison took a look at the same time; this one is decided again")


def _why_none(outcome: ComparisonResult, predictions: OutOfFoldPredictions) -> str:
    """Return why a comparison is no look, whatever was looked at before; "" where it may be one."""
    if not outcome.comparisons:
        return "no other family took part"
    if outcome.held_back:
        return "it is not about the model in production"
    without, with_disease = (len(one) for one in bootstrap.strata(predictions.labels, predictions.groups))
    return looks.too_few(without, with_disease)


def _decided(earlier: Sequence[RecordedLook], training: str, digest: str, now: datetime) -> tuple[Look, int]:
    """Return the look that a comparison is after the earlier ones, and the number of its distinct records."""
    number = looks.number([one.when for one in earlier], now)
    same = next((one for one in reversed(earlier) if one.digest == digest), None)
    if same:
        why = f"its training set is that of {_name(same)}"
        return Look(None, None, why, NewRecords(0, looks.needed(same.records), _name(same))), same.records
    today = _hashes(training)
    if not earlier:
        return Look(number, looks.level(number)), len(today)
    new = _new_records(today, earlier, now)
    if new.count < new.needed:
        why = f"{new.count:,} new training records since {new.since}, the next look needs {new.needed:,}"
        return Look(None, None, why, new), len(today)
    return Look(number, looks.level(number), new=new), len(today)


def _new_records(today: Hashes, earlier: Sequence[RecordedLook], now: datetime) -> NewRecords:
    """Count the records that no look of the last 365 days had: two sets in turn are no new records."""
    last, left, note = earlier[-1], today, ""
    needed = looks.needed(last.records)
    for one in reversed(earlier):
        if len(left) < needed or (one is not last and now - one.when >= looks.WINDOW):
            break
        try:
            left = left[~np.isin(left, _hashes(object_store.address(one.digest, "snapshots", ".parquet")))]
        except DamagedObjectError as error:
            log.warning("the training set of %s cannot be read: %s", _name(one), error.what)
            note = note or f"the training set of {_name(one)} cannot be read, so its records count as new"
    return NewRecords(len(left), needed, _name(last), note)


def _hashes(uri: str) -> Hashes:
    """Return the distinct records of a training set, by their features: a corrected label makes no record new."""
    return np.unique(record_identity.feature_hashes(snapshots.read_snapshot(uri)))


def _name(look: RecordedLook) -> str:
    run = f", {look.run}" if look.run else ""
    return f"the look of {look.when:%Y-%m-%d %H:%M} UTC{run}"


def _look(found: RecordedLook) -> Look:
    new = None
    if found.new is not None and found.needed is not None:
        new = NewRecords(found.new, found.needed, found.since, found.note)
    return Look(found.number, found.level, new=new)


def handover(look: Look, outcome: ComparisonResult) -> LookTaken:
    """Return the look for the hand-over and for comparison.json."""
    p_values = looks.p_values(outcome.comparisons)
    return {
        "number": look.number,
        "level": look.level,
        "p_values": p_values,
        "new_records": look.new.count if look.new else None,
        "needed_records": look.new.needed if look.new else None,
        "note": looks.in_words(look, p_values),
    }
