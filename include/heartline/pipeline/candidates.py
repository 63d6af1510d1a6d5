"""One family's training: its evaluation, its pictures, its bundle, and whether the service can serve that."""

import hashlib
import json
import logging
import platform
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version as installed
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.pipeline import Pipeline

from heartline import contract
from heartline.arrays import Ints
from heartline.comparison.candidates import Candidate
from heartline.comparison.compare import OutOfFoldPredictions
from heartline.errors import HeartlineError
from heartline.evaluation import cross_validation, metrics
from heartline.evaluation.cross_validation import CrossValidation, Evaluation
from heartline.packaging import export, smoke_test
from heartline.pipeline import validation
from heartline.registry import mlflow_registry, runs
from heartline.reports import model_figures
from heartline.storage import object_store, snapshots, splits
from heartline.storage.splits import LabelledDataset
from heartline.training import families

log = logging.getLogger(__name__)

ENVIRONMENT = ("scikit-learn", "numpy", "scipy", "skl2onnx", "onnxruntime", "skops")


class ConvergenceError(HeartlineError):
    """A family did not converge: its numbers are of models that were cut off on their way."""


@dataclass(frozen=True, eq=False)
class TrainingInputs:
    """What every family is trained and judged on.

    Attributes:
        records: the training set.
        holdout: records that nothing is fitted or chosen on.
        folds: (repeats, n) the shared fold plan.
        profile: of hyperparameters and folds.
        seed: of the models' own randomness.
    """

    records: LabelledDataset
    holdout: LabelledDataset
    folds: Ints
    profile: families.Profile
    seed: int

    @classmethod
    def of(cls, prepared: Mapping[str, Any]) -> "TrainingInputs":
        """Read what the stage ``preprocess`` prepared.

        Raises:
            StoreError: it is missing or damaged.
        """
        return cls(
            records=splits.to_labelled(snapshots.read_snapshot(prepared["training"])),
            holdout=splits.to_labelled(snapshots.read_snapshot(prepared["holdout"])),
            folds=snapshots.read_snapshot(prepared["folds"]).to_numpy("int64").T,
            profile=families.profile(prepared["profile"]),
            seed=int(prepared["seed"]),
        )


def train(family: str, prepared: Mapping[str, Any], *, run: str) -> dict[str, Any]:
    """Evaluate a family on the shared folds, fit it on the training set, and keep and log what came of it.

    Args:
        family: a name in ``training.families.FAMILIES``.
        prepared: what the stage ``preprocess`` returned.
        run: the orchestrator's name for this run; a tag, nothing depends on it.

    Returns:
        family, bundle, answers, run_id and auc; for a family that did not converge or cannot be served, ``refused``
        says why, and there is no bundle; ``unconverged`` is the first line of that in the one case.

    Raises:
        ServiceUnavailableError: the service is not installed here, so no bundle can be tested.
        RegistryError: MLflow cannot be reached.
    """
    begun = datetime.now(UTC)
    recipe = families.family(family)
    inputs = TrainingInputs.of(prepared)
    profile, seed = inputs.profile, inputs.seed
    log.info("%s: %d folds, %d times", recipe.title, profile.splits, profile.repeats)
    cv = cross_validation.cross_validate(family, inputs.records, inputs.folds, profile=profile, seed=seed)
    model = families.fit(family, inputs.records, profile=profile, seed=seed)
    held_out = families.probability(model, inputs.holdout.features)
    found = cross_validation.evaluate(cv, inputs.records, inputs.holdout, held_out, seed=seed)
    log.info("%s: ROC AUC %s out of fold, %s held out", recipe.title, *(one["roc_auc"] for one in _both(found)))

    about = identity(family, prepared, rows=len(inputs.records))
    # the recipe as it is applied to so many records: some of it, such as what a tree sees, depends on their number
    parameters = {**recipe.parameters(profile, len(inputs.records)), **families.chosen_parameters(family, model)}
    evidence = {
        "about": about,
        **found.as_dict(),
        "converged": families.converged(model),
        "parameters": parameters,
        "rows": {"training": len(inputs.records), "holdout": len(inputs.holdout)},
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # of refits that intervals are made of
        pictures = model_figures.draw(
            model_figures.Evidence.of(recipe.title, model, inputs.records, (cv, found), profile=profile.name, seed=seed)
        )
    outcome: dict[str, Any] = {"family": family, "auc": found.fold_auc_mean}
    bundle = None
    try:
        _expect_convergence(recipe, model, cv)
        bundle = export.build_bundle(model, about=about, evaluation=evidence, seed=seed)
        result = smoke_test.run(bundle)
        outcome["bundle"] = object_store.put(bundle, "bundles", ".tar")
        evidence["smoke_test"] = {"records": result.records, "max_abs_diff": result.max_abs_diff}
    except smoke_test.ServiceUnavailableError:
        raise  # says nothing about the family
    except (ConvergenceError, export.ExportError, smoke_test.SmokeTestError) as error:
        outcome["refused"] = str(error)
        if isinstance(error, ConvergenceError):
            outcome["unconverged"] = error.what
        log.error("%s is not registered: %s", recipe.title, error)
    predictions = export.to_json(_predictions(cv, inputs.records, evidence))
    outcome["answers"] = object_store.put(predictions, "answers", ".json")
    outcome["run_id"] = mlflow_registry.log_run(
        runs.Run(
            # What came of it, with the recipe in it: a recipe alone does not say what our code made of it. A digest of
            # the code would, but it also takes an edited comment for another model, and misses a library not listed.
            key=hashlib.sha256(bundle or predictions).hexdigest(),
            title=f"{recipe.title} · {prepared['profile']}",
            note=_note(found, prepared),
            begun=begun,
            tags={
                **tags(about),
                "airflow_run": run,
                "source": prepared["source"],
                "encoding": prepared["encoding"],
                "validation_run": prepared["validation_run"],
                "python": platform.python_version(),
                **({runs.REFUSED: outcome["refused"]} if "refused" in outcome else {}),
            },
            parameters={
                **parameters,
                "family": family,
                "profile": profile.name,
                "splits": profile.splits,
                "repeats": profile.repeats,
                "seed": seed,
                "rows_training": len(inputs.records),
                "rows_holdout": len(inputs.holdout),
                **environment(),
            },
            metrics=found.metrics(),
            files={
                "evaluation.json": export.to_json(evidence),
                "validation.json": object_store.get(prepared["report"]),
                validation.PAGE: object_store.get(prepared["page"]),
                **{f"pictures/{name}": data for name, data in pictures.items()},
            },
            dataset=runs.Dataset(
                name="heart-records",
                uri=prepared["snapshot"],
                source=prepared["source"],
                digest=object_store.digest_of(prepared["snapshot"]),
                rows=prepared["used"],
            ),
            failed="refused" in outcome,
        )
    )
    return outcome


def _expect_convergence(recipe: families.Family, model: Pipeline, cv: CrossValidation) -> None:
    """Refuse a family whose final model was cut off, or most of the models that its numbers are about.

    A few folds are another matter: they cost the family some of its score, which the comparison then shows.
    """
    folds = len(cv.fold_aucs)
    final, most = families.converged(model), 2 * cv.unconverged > folds
    if final and not most:
        return
    cut_off = [
        *([] if final else ["its final model"]),
        *([f"{cv.unconverged} of {folds} folds"] if cv.unconverged else []),
    ]
    raise ConvergenceError(
        f"{' and '.join(cut_off)} did not converge",
        where=f"family {recipe.name}",
        expected="a final model and at least half of the folds that stop before their iterations are used up",
        hint=f"allow more iterations, or fewer extremes in its search space, in the entry of {recipe.name} in "
        "training.families.FAMILIES",
    )


def read(trained: Mapping[str, Any]) -> Candidate:
    """Return what is known of a family after its training.

    Args:
        trained: what ``train`` returned.

    Raises:
        StoreError: it is missing or damaged.
    """
    kept = json.loads(object_store.get(trained["answers"]))
    evidence = kept["evidence"]
    predictions = OutOfFoldPredictions(
        name=trained["family"],
        probabilities=np.array(kept["probabilities"]),
        labels=np.array(kept["labels"], dtype=np.int64),
        groups=np.array(kept["groups"], dtype=np.int64),
        fold_aucs=np.array(kept["fold_aucs"]),
        basis={name: evidence["about"][name] for name in ("snapshot", "folds", "contract")},
    )
    name = trained["family"]
    return Candidate(
        name,
        families.family(name).title,
        predictions,
        Evaluation.from_dict(evidence),
        parameters=evidence["parameters"],
    )


def environment() -> dict[str, str]:
    """Return the versions that a model's bytes depend on, named as parameters are."""
    # Python's minor: a patch release changes no number, and a parameter of a run cannot be changed after its upgrade
    python = ".".join(platform.python_version_tuple()[:2])
    return {"python": python, **{name.replace("-", "_"): installed(name) for name in ENVIRONMENT}}


def identity(family: str, prepared: Mapping[str, Any], *, rows: int) -> dict[str, str]:
    """Return what identifies a recipe: equal here means that the same is asked for, on the same records.

    Args:
        family: a name in ``training.families.FAMILIES``.
        prepared: what the stage ``preprocess`` returned.
        rows: number of training records.
    """
    about = {
        "name": contract.MODEL_NAME,
        "family": family,
        "origin": prepared["origin"],
        "snapshot": object_store.digest_of(prepared["snapshot"]),
        "folds": object_store.digest_of(prepared["folds"]),
        "profile": prepared["profile"],
        "seed": str(prepared["seed"]),
        "contract": contract.digest(),
        **environment(),
        "parameters": json.dumps(families.candidates(family, families.profile(prepared["profile"]), rows)),
    }
    return {**about, "recipe": hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()}


def tags(about: Mapping[str, str]) -> dict[str, str]:
    """Return what a run and a version say about their model."""
    names = ("family", "origin", "snapshot", "profile", "parameters")
    return {**{name: about[name] for name in names}, "contract_version": contract.VERSION}


def _note(found: Evaluation, prepared: Mapping[str, Any]) -> str:
    """Return, in Markdown, what MLflow shows at the head of a run."""
    rows = [(metrics.TITLES[name], *(one[name] for one in _both(found))) for name in ("roc_auc", "brier", "recall")]
    table = "\n".join(f"| {title} | {fold} | {held} |" for title, fold, held in rows)
    said = f"{prepared['used']} records from `{prepared['source']}`, {prepared['profile']} evaluation."
    return f"{said}\n\n| | out of fold | held out |\n| --- | --- | --- |\n{table}"


def _both(found: Evaluation) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    return found.out_of_fold, found.holdout


def _predictions(cv: CrossValidation, records: LabelledDataset, evidence: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "probabilities": cv.averaged.tolist(),
        "labels": records.labels.tolist(),
        "groups": records.groups.tolist(),
        "fold_aucs": cv.fold_aucs.tolist(),
        "evidence": dict(evidence),
    }
