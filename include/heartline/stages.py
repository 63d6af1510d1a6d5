"""The six stages of a training run, each one call of the DAG.

A stage takes and returns small dictionaries of URIs and facts, never frames. It can be killed anywhere and run again:
what it writes is named by its content or found again by its key.
"""

import json
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from heartline import (
    bundles,
    candidates,
    contest,
    contract,
    dataset,
    encodings,
    promotion,
    quality,
    registry,
    sources,
    store,
    training,
    validation,
)
from heartline.errors import DataError

log = logging.getLogger(__name__)

PROMOTE_IF_BETTER = "if_better"


def ingest(source: str, *, query: str | None = None) -> dict[str, Any]:
    """Read a source into the store, as it is.

    Args:
        source: ``sample``, ``sample:N``, ``uci``, ``postgres``, or a path or URL of a CSV or Parquet file.
        query: SQL, for ``postgres``.

    Raises:
        SourceError: it cannot be reached or read.
        DataError: it holds no table of records.
    """
    records = sources.read(source, query=query)
    table = records.table
    log.info("%d rows from %s (origin %s)", len(table.frame), records.description, records.origin)
    return {
        "raw": dataset.write_snapshot(table.frame.rename_axis(quality.ROW).reset_index(), dataset.RAW),
        "odd": dataset.write_snapshot(table.odd, dataset.RAW),
        "names": list(table.names),
        "absent": list(table.absent),
        "left_out": list(table.dropped),
        "origin": records.origin,
        "source": records.description,
        "sha256": records.sha256,
    }


def validate(
    ingested: Mapping[str, Any],
    *,
    encoding: str = encodings.AUTO,
    max_quarantine: float = contract.MAX_QUARANTINE_SHARE,
    max_drift: float = contract.MAX_DRIFT,
    run: str = "",
) -> dict[str, Any]:
    """Hold the records against the contract; what passes becomes the run's snapshot.

    Args:
        ingested: what ``ingest`` returned.
        encoding: ``auto``, ``uci`` or ``kaggle``.
        max_quarantine: the share of rows that may be set aside, 0 to 1.
        max_drift: the largest divergence of a column from production's snapshot.
        run: the orchestrator's name for this run: the name of the page in the Data Docs.

    Raises:
        DataError: the records are refused; names expectations, columns, rows and the page.
        RegistryError: MLflow cannot be reached.
    """
    raw = validation.Raw(
        frame=dataset.read_snapshot(ingested["raw"]).set_index(quality.ROW),
        odd=dataset.read_snapshot(ingested["odd"]),
        **{name: ingested[name] for name in ("names", "absent", "left_out", "origin", "source")},
    )
    rules = validation.Rules(encoding, max_quarantine, max_drift)
    validated = validation.validate(raw, rules, run=run)
    report = validated.report
    snapshot = dataset.write_snapshot(validated.checked.records)
    evidence = validation.publish(validated, raw, rules, run=run, snapshot=store.digest_of(snapshot))
    for one in [*report.evidence, *report.notes, *(str(one) for one in report.findings)]:
        log.info("%s", one)
    validation.stop_on(report, source=ingested["source"], page=evidence["data_docs"])
    log.info(
        "%d rows: %d used, %d duplicates, %d in quarantine (%s); %d expectations; %s",
        report.rows,
        report.used,
        report.duplicates,
        report.quarantined,
        evidence["quarantine_csv"],
        report.expectations,
        evidence["data_docs"],
    )
    return {
        **{name: ingested[name] for name in ("origin", "source")},
        **evidence,
        "snapshot": snapshot,
        "encoding": report.encoding,
        **{name: getattr(report, name) for name in ("rows", "used", "duplicates", "quarantined", "expectations")},
    }


def preprocess(validated: Mapping[str, Any], *, profile: str, seed: int) -> dict[str, Any]:
    """Divide the snapshot into training set and hold-out, and plan the folds that all families share.

    Raises:
        DataError: too few records of a class, or with a value of a column.
    """
    plan = training.profile(profile)
    records = dataset.read_snapshot(validated["snapshot"])
    try:
        dataset.expect_values(records)
        train, holdout = dataset.divide(records)
        folds = dataset.plan_folds(dataset.grouped(train), splits=plan.splits, repeats=plan.repeats, seed=seed)
    except DataError as error:
        raise _too_little(error, validated) from error
    frame = pd.DataFrame(folds.T, columns=[f"repeat_{number}" for number in range(len(folds))])
    log.info("%d records to train on, %d held out", len(train), len(holdout))
    return {
        **validated,
        "training": dataset.write_snapshot(train),
        "holdout": dataset.write_snapshot(holdout),
        "folds": dataset.write_snapshot(frame, "folds"),
        "profile": profile,
        "seed": seed,
    }


def train(family: str, prepared: Mapping[str, Any], *, run: str = "") -> dict[str, Any]:
    """Evaluate a family on the shared folds, fit it on the training set, and keep and log its bundle.

    Args:
        family: a name in ``training.FAMILIES``.
        prepared: what ``preprocess`` returned.
        run: the orchestrator's name for this run; a tag, nothing depends on it.

    Raises:
        NoServiceError: the service's own environment is not here, so that nothing can be admitted.
        RegistryError: MLflow cannot be reached.
    """
    return candidates.train(family, prepared, run=run)


def compare(trained: Sequence[Mapping[str, Any]], prepared: Mapping[str, Any], *, run: str = "") -> dict[str, Any]:
    """Compare the families on their shared folds and say which one is the winner, with the reason.

    Args:
        trained: what ``train`` returned, one entry for each family.
        prepared: what ``preprocess`` returned.
        run: the orchestrator's name for this run.

    Raises:
        NoCandidateError: no family can be served.
        ComparisonError: the families were not evaluated on the same records and folds.
        RegistryError: MLflow cannot be reached.
    """
    return {"trained": [dict(one) for one in trained], **contest.compare(trained, prepared, run=run)}


def register(compared: Mapping[str, Any], *, promote: str, run: str = "") -> dict[str, Any]:
    """Register each family that can be served, point ``staging`` at the winner, and ``production`` where the run may.

    Args:
        compared: what ``compare`` returned.
        promote: ``manual`` leaves ``production`` to people; ``if_better`` moves it when the verdict is *better*, and
            production's own recipe is what was beaten.
        run: the orchestrator's name for this run: who moved ``production``, in its history.

    Returns:
        version, family, origin and auc of the winner, None where nobody passes the bars; all versions, the verdict, and
        whether ``production`` was moved, with the reason if it might have been and was not.

    Raises:
        StoreError: a bundle is missing or damaged: then nothing is registered.
        BundleError: one is not what its manifest says: then nothing is registered.
        RegistryError: MLflow cannot be reached.
    """
    served = [one for one in compared["trained"] if "refused" not in one]
    opened = [bundles.open_bundle(store.get(one["bundle"])) for one in served]
    registry.note_moves()
    versions: dict[str, str] = {}
    winner: dict[str, Any] = {"version": None}
    for one, files in zip(served, opened, strict=True):
        about = json.loads(files["manifest.json"])["model"]
        title = training.family(one["family"]).title.lower()
        version = registry.register(
            files,
            run_id=one["run_id"],
            key=store.digest_of(one["bundle"]),
            tags={
                **candidates.tags(about),
                "bundle": store.digest_of(one["bundle"]),
                "cv_roc_auc": f"{one['auc']:.4f}",
            },
            description=f"{one['auc']:.3f} ROC AUC: {title}, profile {about['profile']}, origin {about['origin']}",
        )
        said = {"verdict": compared["verdict"], "reason": compared["reason"]}
        registry.tag_version(version, {**said, "comparison_run": compared["comparison_run"]})
        versions[one["family"]] = version
        if one["family"] == compared["winner"]:
            winner = {"version": version, "origin": about["origin"], "auc": one["auc"]}
    promoted, refused = False, ""
    if winner["version"]:
        registry.point_alias(registry.STAGING, winner["version"])
        if promote == PROMOTE_IF_BETTER and compared["verdict"] == promotion.BETTER:
            refused = compared["held_back"] or registry.move_production(
                winner["version"], by=f"run {run}", expected=compared["production"]
            )
            promoted = not refused
    if refused:
        log.warning("production was not moved: %s", refused)
    log.info("versions %s; staging is version %s (%s)", versions, winner["version"], compared["winner"])
    return {
        "name": contract.MODEL_NAME,
        **winner,
        "family": compared["winner"],
        "versions": versions,
        "verdict": compared["verdict"],
        "reason": compared["reason"],
        "promoted": promoted,
        "not_promoted": refused,
    }


def _too_little(error: DataError, validated: Mapping[str, Any]) -> DataError:
    """Return the error with what became of the source's rows: most often that is where the records went."""
    rows, aside, repeated = (validated[name] for name in ("rows", "quarantined", "duplicates"))
    mend = f"; or mend the rows in quarantine: {validated['quarantine_csv']}" if aside else ""
    return DataError(
        error.what,
        where=f"{error.where}; of {rows} rows in the source {aside} are in quarantine, {repeated} repeat another",
        expected=error.expected,
        do=f"{error.do}{mend}; nothing was trained",
    )
