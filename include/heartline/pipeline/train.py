"""The task ``train``: evaluates, fits, packs and logs one family; mapped over the families."""

import hashlib
import platform
from datetime import UTC, datetime

from heartline.errors import memory_limit
from heartline.packaging import export
from heartline.pipeline import candidates, handovers, validation
from heartline.pipeline.candidates import Fitted, ServableBundle, TrainingInputs, Unservable
from heartline.pipeline.handovers import Prepared, Refused, Trained
from heartline.registry import mlflow_registry, runs
from heartline.storage import object_store
from heartline.training import families


@memory_limit("task train")
def train(family: str, prepared: Prepared, *, run: str = "") -> Trained | Refused:
    """Evaluate a family on the shared folds, fit it on the training set, store its bundle and log an MLflow run.

    A family that does not converge or cannot be served does not fail the task: it is refused, and the others continue.

    Args:
        family: a name in ``training.families.FAMILIES``.
        prepared: what ``preprocess`` returned.
        run: Airflow's DAG run id; a tag, nothing depends on it.

    Raises:
        OutOfMemoryError: the records do not fit in memory.
        HandoverError: another version of the code wrote ``prepared``.
        ServiceUnavailableError: the service's environment is missing, so that no bundle can be tested.
        RegistryError: MLflow cannot be reached.
    """
    handovers.expect("preprocess", prepared)
    started = datetime.now(UTC)
    inputs = TrainingInputs.of(prepared)
    fitted = candidates.fit(families.family(family), inputs)
    about = candidates.identity(family, prepared, rows=len(inputs.records))
    evidence = candidates.evidence(fitted, inputs, about)
    packed = candidates.pack(fitted, about, evidence, seed=inputs.seed)
    with candidates.smoke_testing(fitted, packed) as tested:
        figures = candidates.figures(fitted, inputs)  # while the service of the smoke test starts
        built = tested()
    bundle_uri = ""
    if isinstance(built, ServableBundle):
        bundle_uri = object_store.put(built.bundle, "bundles", ".tar")
        evidence["smoke_test"] = {"records": built.smoke_test.records, "max_abs_diff": built.smoke_test.max_abs_diff}
    predictions = candidates.stored_predictions(fitted, inputs, evidence)
    predictions_uri = object_store.put(predictions, "predictions", ".parquet")
    run_id = mlflow_registry.log_run(
        runs.Run(
            # The digest of the result. A recipe does not identify the code that ran it, and a digest of the code would
            # change with each comment, and miss libraries that are not listed.
            key=hashlib.sha256(built.bundle or predictions).hexdigest(),
            title=f"{fitted.recipe.title} · {prepared['profile']}",
            note=candidates.note(fitted, prepared),
            started=started,
            tags=_tags(about, prepared, fitted, built, run),
            parameters=_parameters(fitted, inputs),
            metrics=fitted.evaluation.metrics(),
            files={
                "evaluation.json": export.to_json(evidence),
                "validation.json": object_store.get(prepared["report"]),
                validation.PAGE: object_store.get(prepared["page"]),
                **({"mapping.yaml": object_store.get(prepared["mapping"])} if "mapping" in prepared else {}),
                **{f"pictures/{name}": data for name, data in figures.items()},
            },
            dataset=runs.Dataset(
                name="heart-records",
                uri=prepared["snapshot"],
                source=prepared["source"],
                digest=object_store.digest_of(prepared["snapshot"]),
                rows=prepared["used"],
            ),
            failed=isinstance(built, Unservable),
        )
    )
    roc_auc = fitted.evaluation.out_of_fold["roc_auc"].value
    if isinstance(built, Unservable):
        return {
            "outcome": "refused",
            "family": family,
            "cause": "not converged" if isinstance(built.error, candidates.ConvergenceError) else "not servable",
            "reason": built.error.what,
            "error": str(built.error),
            "predictions": predictions_uri,
            "run_id": run_id,
            "roc_auc": roc_auc,
        }
    return {
        "outcome": "trained",
        "family": family,
        "bundle": bundle_uri,
        "predictions": predictions_uri,
        "run_id": run_id,
        "origin": prepared["origin"],
        "roc_auc": roc_auc,
    }


def _tags(
    about: dict[str, str], prepared: Prepared, fitted: Fitted, built: ServableBundle | Unservable, run: str
) -> dict[str, str]:
    refusal = {runs.REFUSED: str(built.error)} if isinstance(built, Unservable) else {}
    return {
        **candidates.tags(about),
        "airflow_run": run,
        "source": prepared["source"],
        "encoding": prepared["encoding"],
        **_mapping(prepared),
        "validation_run": prepared["validation_run"],
        "python": platform.python_version(),
        "scores": fitted.evaluation.scores_in_words(),
        **refusal,
    }


def _mapping(prepared: Prepared) -> dict[str, str]:
    if "mapping" not in prepared:
        return {}
    return {"mapping": prepared["mapping_title"], "mapping_sha256": object_store.digest_of(prepared["mapping"])}


def _parameters(fitted: Fitted, inputs: TrainingInputs) -> dict[str, object]:
    return {
        **fitted.parameters,
        "family": fitted.recipe.name,
        "profile": inputs.profile.name,
        "splits": inputs.profile.splits,
        "repeats": inputs.profile.repeats,
        "seed": inputs.seed,
        "rows_training": len(inputs.records),
        "rows_holdout": len(inputs.holdout),
        **candidates.environment(),
    }
