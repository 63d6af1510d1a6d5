"""The six stages of a training run, each one call of the DAG.

A stage takes and returns small dictionaries of URIs and facts, never frames. It can be killed anywhere and run again:
what it writes is named by its content or found again by its key.
"""

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import sklearn

from heartline import (
    comparison,
    contract,
    dataset,
    encodings,
    evaluation,
    export,
    promotion,
    quality,
    registry,
    sources,
    store,
    training,
    validation,
)

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
        max_drift: the largest divergence of a column from production's training data.
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
        DataError: too few records of a class.
    """
    plan = training.profile(profile)
    train, holdout = dataset.divide(dataset.read_snapshot(validated["snapshot"]))
    folds = dataset.plan_folds(dataset.grouped(train), splits=plan.splits, repeats=plan.repeats, seed=seed)
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
        ExportError: the ONNX export does not answer as the model does.
        RegistryError: MLflow cannot be reached.
    """
    recipe = training.family(family)
    profile, seed = training.profile(prepared["profile"]), int(prepared["seed"])
    records = dataset.labelled(dataset.read_snapshot(prepared["training"]))
    holdout = dataset.labelled(dataset.read_snapshot(prepared["holdout"]))
    folds = dataset.read_snapshot(prepared["folds"]).to_numpy().T

    log.info("%s: %d folds, %d times", recipe.title, profile.splits, profile.repeats)
    cv = evaluation.cross_validate(family, records, folds, profile=profile, seed=seed)
    model = training.fit(family, records, profile=profile, seed=seed)
    held_out = evaluation.scores(holdout.labels, training.probability(model, holdout.features))
    metrics = evaluation.summary(cv, records, held_out)
    log.info("%s: ROC AUC %.3f ± %.3f", recipe.title, metrics["cv_roc_auc"], metrics["cv_roc_auc_sd"])

    about = _about(family, prepared)
    evidence = {
        "about": about,
        "metrics": metrics,
        "fold_aucs": cv.fold_aucs.tolist(),
        "parameters": recipe.parameters(profile),
        "rows": {"training": len(records), "holdout": len(holdout)},
    }
    bundle = export.build_bundle(model, about=about, evaluation=evidence, seed=seed)
    uri = store.put(bundle, "bundles", ".tar")
    run_id = registry.log_run(
        registry.Run(
            key=about["recipe"],
            title=f"{family} · {prepared['profile']}",
            tags={
                **_tags(about),
                "airflow_run": run,
                "source": prepared["source"],
                "encoding": prepared["encoding"],
                "validation_run": prepared["validation_run"],
            },
            parameters={
                **recipe.parameters(profile),
                "family": family,
                "profile": profile.name,
                "splits": profile.splits,
                "repeats": profile.repeats,
                "seed": seed,
                "rows_training": len(records),
                "rows_holdout": len(holdout),
            },
            metrics=metrics,
            files={
                "evaluation.json": export.to_json(evidence),
                "validation.json": store.get(prepared["report"]),
                validation.PAGE: store.get(prepared["page"]),
            },
        )
    )
    return {"family": family, "bundle": uri, "run_id": run_id, "auc": metrics["cv_roc_auc"]}


def compare(trained: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Compare the families on their shared folds and say which one is the winner, with the reason.

    Args:
        trained: what ``train`` returned, one entry for each family.

    Raises:
        RegistryError: MLflow cannot be reached.
    """
    evidence = {
        one["family"]: json.loads(export.unpack(store.get(one["bundle"]))["evaluation.json"]) for one in trained
    }
    shared = {(one["about"]["snapshot"], one["about"]["folds"]) for one in evidence.values()}
    if len(shared) != 1:
        raise ValueError(f"families were evaluated on different snapshots or folds: {sorted(shared)}")
    production = registry.aliased(registry.PRODUCTION)
    incumbent = promotion.choose_incumbent(
        {name: training.family(name).simplicity for name in evidence},
        production.tags.get("family") if production else None,
    )
    splits = training.profile(evidence[incumbent]["about"]["profile"]).splits
    aucs = {name: np.array(one["fold_aucs"]) for name, one in evidence.items()}
    differences = [
        comparison.paired_difference((name, aucs[name]), (incumbent, aucs[incumbent]), splits=splits)
        for name in sorted(aucs)
        if name != incumbent
    ]
    verdict = promotion.decide(incumbent, differences)
    log.info("%s: %s", verdict.verdict, verdict.reason)
    return {"trained": [dict(one) for one in trained], **vars(verdict)}


def register(compared: Mapping[str, Any], *, promote: str) -> dict[str, Any]:
    """Register every family's bundle, point ``staging`` at the winner, and ``production`` where the run may.

    Args:
        compared: what ``compare`` returned.
        promote: ``manual`` leaves ``production`` to people; ``if_better`` moves it when the verdict is *better*.

    Raises:
        RegistryError: MLflow cannot be reached.
    """
    versions: dict[str, str] = {}
    winner: dict[str, Any] = {}
    for one in compared["trained"]:
        files = export.unpack(store.get(one["bundle"]))
        about = json.loads(files["manifest.json"])["model"]
        tags = {**_tags(about), "bundle": store.digest_of(one["bundle"]), "cv_roc_auc": f"{one['auc']:.4f}"}
        title = training.family(one["family"]).title
        version = registry.register(
            files,
            run_id=one["run_id"],
            key=about["recipe"],
            tags=tags,
            description=f"{title}, ROC AUC {one['auc']:.3f} ({about['profile']} evaluation), origin {about['origin']}",
        )
        registry.tag_version(version, {"verdict": compared["verdict"], "reason": compared["reason"]})
        versions[one["family"]] = version
        if one["family"] == compared["winner"]:
            winner = {"version": version, "origin": about["origin"], "auc": one["auc"]}
    registry.point_alias(registry.STAGING, winner["version"])
    promoted = promote == PROMOTE_IF_BETTER and compared["verdict"] == promotion.BETTER
    if promoted:
        registry.point_alias(registry.PRODUCTION, winner["version"])
    log.info("versions %s; staging is version %s (%s)", versions, winner["version"], compared["winner"])
    return {
        "name": contract.MODEL_NAME,
        **winner,
        "family": compared["winner"],
        "versions": versions,
        "verdict": compared["verdict"],
        "reason": compared["reason"],
        "promoted": promoted,
    }


def _about(family: str, prepared: Mapping[str, Any]) -> dict[str, str]:
    """Return what identifies a model: equal here means the same recipe on the same records."""
    about = {
        "name": contract.MODEL_NAME,
        "family": family,
        "origin": prepared["origin"],
        "snapshot": store.digest_of(prepared["snapshot"]),
        "folds": store.digest_of(prepared["folds"]),
        "profile": prepared["profile"],
        "seed": str(prepared["seed"]),
        "contract": contract.digest(),
        "scikit_learn": sklearn.__version__,
        "parameters": json.dumps(training.family(family).parameters(training.profile(prepared["profile"]))),
    }
    return {**about, "recipe": hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()}


def _tags(about: Mapping[str, str]) -> dict[str, str]:
    names = ("family", "origin", "snapshot", "profile")
    return {**{name: about[name] for name in names}, "contract_version": contract.VERSION}
