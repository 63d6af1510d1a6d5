"""The steps of ``train``: fit and evaluate a family, identify its recipe, and build a bundle for the service.

``read`` returns to ``compare`` what these steps stored.
"""

import hashlib
import io
import json
import logging
import math
import platform
import warnings
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version as installed
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from sklearn.exceptions import ConvergenceWarning
from sklearn.pipeline import Pipeline

from heartline import contract, visible
from heartline.arrays import Folds
from heartline.comparison.candidates import Candidate
from heartline.comparison.compare import OutOfFoldPredictions
from heartline.errors import HandoverError, HeartlineError
from heartline.evaluation import cross_validation, metrics
from heartline.evaluation.cross_validation import CrossValidation, Evaluation
from heartline.packaging import export, smoke_test
from heartline.pipeline.handovers import Prepared, Refused, Trained
from heartline.reports import model_figures
from heartline.storage import object_store, snapshots, splits
from heartline.storage.splits import LabelledDataset
from heartline.training import families

log = logging.getLogger(__name__)

_COLUMNS = ("probability", "label", "group")  # of the stored predictions
_EVIDENCE = b"heartline.evaluation"

ENVIRONMENT = ("scikit-learn", "numpy", "scipy", "skl2onnx", "onnxruntime", "skops")


class ConvergenceError(HeartlineError):
    """A family did not converge: its scores belong to models whose fit was cut off."""


@dataclass(frozen=True, eq=False)
class TrainingInputs:
    """What every family is trained and evaluated on.

    Attributes:
        records: the training set, n records.
        holdout: records that nothing is fitted or chosen on.
        folds: (repeats, n) the shared fold plan.
        profile: of hyperparameters and folds.
        seed: of the models' own randomness.
    """

    records: LabelledDataset
    holdout: LabelledDataset
    folds: Folds
    profile: families.Profile
    seed: int

    @classmethod
    def of(cls, prepared: Prepared) -> "TrainingInputs":
        """Read what ``preprocess`` stored.

        Raises:
            StoreError: an object is missing or damaged.
        """
        return cls(
            records=splits.to_labelled(snapshots.read_snapshot(prepared["training"])),
            holdout=splits.to_labelled(snapshots.read_snapshot(prepared["holdout"])),
            folds=snapshots.read_snapshot(prepared["folds"]).to_numpy("int8").T,
            profile=families.profile(prepared["profile"]),
            seed=prepared["seed"],
        )


@dataclass(frozen=True, eq=False)
class Fitted:
    """A family after its fit.

    Attributes:
        recipe: the family.
        model: fitted on the training set.
        parameters: hyperparameters of ``model``. Some depend on the number of training records.
        cv: out-of-fold predictions on the shared folds.
        evaluation: scores with intervals, out of fold and on the hold-out.
    """

    recipe: families.Family
    model: Pipeline
    parameters: Mapping[str, object]
    cv: CrossValidation
    evaluation: Evaluation


@dataclass(frozen=True)
class ServableBundle:
    """A bundle that passed the smoke test.

    Attributes:
        bundle: a tar archive.
        smoke_test: the result of the smoke test.
    """

    bundle: bytes
    smoke_test: smoke_test.SmokeTestResult


@dataclass(frozen=True)
class Unservable:
    """A family that did not converge, or whose bundle cannot be built or served.

    Attributes:
        bundle: the archive; None where it was not built.
        error: why the family is refused.
    """

    bundle: bytes | None
    error: HeartlineError


def fit(recipe: families.Family, inputs: TrainingInputs) -> Fitted:
    """Evaluate a family on the shared folds and fit it on the training set."""
    profile, records, seed = inputs.profile, inputs.records, inputs.seed
    log.info("%s: %d folds, %d repeats", recipe.title, profile.splits, profile.repeats)

    def of_all() -> Pipeline:
        return families.fit(recipe.name, records, profile=profile, seed=seed)

    # Of many records it is not needed for the folds, and would only take memory meanwhile.
    final = of_all() if len(records) <= cross_validation.CHECKED_ROWS else None
    cv = cross_validation.cross_validate(recipe.name, records, inputs.folds, profile=profile, seed=seed, final=final)
    model = of_all() if final is None else final
    on_holdout = families.probability(model, inputs.holdout.features)
    evaluation = cross_validation.evaluate(cv, records, inputs.holdout, on_holdout, seed=seed)
    log.info(
        "%s: ROC AUC %s out of fold, %s on the hold-out",
        recipe.title,
        evaluation.out_of_fold["roc_auc"],
        evaluation.holdout["roc_auc"],
    )
    parameters = {**recipe.parameters(profile, len(records)), **families.chosen_parameters(recipe.name, model)}
    return Fitted(recipe, model, parameters, cv, evaluation)


def evidence(fitted: Fitted, inputs: TrainingInputs, about: Mapping[str, str]) -> dict[str, object]:
    """Return the content of ``evaluation.json``.

    Args:
        fitted: the family after its fit.
        inputs: what it was fitted on.
        about: what ``identity`` returned.
    """
    return {
        "about": about,
        **fitted.evaluation.as_dict(),
        "converged": families.converged(fitted.model),
        "parameters": fitted.parameters,
        "rows": {"training": len(inputs.records), "holdout": len(inputs.holdout)},
    }


def figures(fitted: Fitted, inputs: TrainingInputs) -> dict[str, bytes]:
    """Return the family's figures by file name."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # of the refits behind the odds ratios' intervals
        return model_figures.draw(
            model_figures.FigureData.of(
                fitted.recipe.title,
                fitted.model,
                inputs.records,
                (fitted.cv, fitted.evaluation),
                profile=inputs.profile.name,
                seed=inputs.seed,
            )
        )


def pack(fitted: Fitted, about: Mapping[str, str], evidence: Mapping[str, object], *, seed: int) -> bytes | Unservable:
    """Build the family's bundle.

    Args:
        fitted: the family after its fit.
        about: what ``identity`` returned.
        evidence: the content of ``evaluation.json``.
        seed: of the records that the export is checked with.
    """
    try:
        _expect_convergence(fitted)
        return export.build_bundle(fitted.model, about=about, evaluation=evidence, seed=seed)
    except (ConvergenceError, export.ExportError) as error:
        return _refused(fitted, None, error)


@contextmanager
def smoke_testing(fitted: Fitted, packed: bytes | Unservable) -> Iterator[Callable[[], ServableBundle | Unservable]]:
    """Run the smoke test beside the body of the ``with`` statement, and yield what waits for its result.

    The test takes more than a second, most of which its service needs to start. However the body ends, the test has
    ended after it.

    Args:
        fitted: the family after its fit.
        packed: what ``pack`` returned; a family that is refused already is not tested.

    Raises:
        ServiceUnavailableError: by the yielded function: the service's environment is missing. That says nothing about
            the family.
    """
    if isinstance(packed, Unservable):
        yield lambda: packed
        return

    def result() -> ServableBundle | Unservable:
        try:
            return ServableBundle(packed, test.result())
        except smoke_test.ServiceUnavailableError:
            raise
        except smoke_test.SmokeTestError as error:
            return _refused(fitted, packed, error)

    with ThreadPoolExecutor(1, "smoke-test") as pool:
        test = pool.submit(smoke_test.run, packed)
        yield result


def _refused(fitted: Fitted, bundle: bytes | None, error: HeartlineError) -> Unservable:
    log.error("%s is not registered: %s", fitted.recipe.title, error)
    return Unservable(bundle, error)


def _expect_convergence(fitted: Fitted) -> None:
    """Refuse a family whose final model did not converge, or most of whose folds did not.

    A few folds that did not converge lower the family's score, and the comparison shows that.
    """
    folds, unconverged = len(fitted.cv.fold_aucs), fitted.cv.unconverged
    final = families.converged(fitted.model)
    if final and 2 * unconverged <= folds:
        return
    cut_off = [
        *([] if final else ["its final model"]),
        *([f"{unconverged} of {folds} folds"] if unconverged else []),
    ]
    name = fitted.recipe.name
    raise ConvergenceError(
        f"{' and '.join(cut_off)} did not converge",
        where=f"family {name}",
        expected="convergence of the final model and of at least half of the folds",
        hint=f"allow more iterations, or remove extreme values from its search space, in the entry of {name} in "
        "training.families.FAMILIES",
    )


def read(trained: Trained) -> Candidate:
    """Return the stored predictions and evaluation of a family.

    Args:
        trained: what ``train`` returned.

    Raises:
        StoreError: the object is missing or damaged.
        HandoverError: another version of the code wrote it.
    """
    table, evidence = _stored(trained)
    columns = {name: table.column(name).to_numpy() for name in _COLUMNS}
    name = trained["family"]
    predictions = OutOfFoldPredictions(
        name=name,
        probabilities=columns["probability"],
        labels=columns["label"].astype(np.int64),
        groups=columns["group"],
        fold_aucs=np.array(evidence["fold_aucs"], dtype=np.float64),
        basis={key: evidence["about"][key] for key in ("snapshot", "folds", "contract")},
    )
    return Candidate(
        name,
        families.family(name).title,
        predictions,
        Evaluation.from_dict(evidence),
        parameters=evidence["parameters"],
    )


def read_evidence(trained: Trained | Refused) -> dict[str, Any]:
    """Return the content of a family's ``evaluation.json``, and its ROC AUC within each fold (``fold_aucs``).

    Raises:
        StoreError: the object is missing or damaged.
        HandoverError: another version of the code wrote it.
    """
    return _stored(trained)[1]


def _stored(trained: Trained | Refused) -> tuple[pa.Table, dict[str, Any]]:
    data = object_store.get(trained["predictions"])
    try:
        table = pq.read_table(pa.BufferReader(data))
        evidence: dict[str, Any] = json.loads((table.schema.metadata or {})[_EVIDENCE])
    except (pa.ArrowInvalid, KeyError) as error:
        raise HandoverError(
            "the stored predictions have another form than this version of Heartline reads",
            where=trained["predictions"],
            expected=f"Parquet with the columns {', '.join(_COLUMNS)} and the evaluation in its metadata",
            hint="another version of Heartline started this run: trigger a new run instead of clearing its tasks",
        ) from error
    return table, evidence


def stored_predictions(fitted: Fitted, inputs: TrainingInputs, evidence: Mapping[str, object]) -> bytes:
    """Return what ``read`` needs of a family as Parquet: a row for each training record, the evaluation as metadata."""
    aucs = [None if math.isnan(auc) else auc for auc in fitted.cv.fold_aucs.tolist()]
    arrays = (fitted.cv.averaged, inputs.records.labels.astype("int8"), inputs.records.groups)
    table = pa.table(dict(zip(_COLUMNS, arrays, strict=True)))
    table = table.replace_schema_metadata({_EVIDENCE: export.to_json({**evidence, "fold_aucs": aucs})})
    buffer = io.BytesIO()
    # Nearly every probability occurs once, so a dictionary of them would only cost time.
    pq.write_table(table, buffer, compression="zstd", use_dictionary=["label"])
    return buffer.getvalue()


def environment() -> dict[str, str]:
    """Return the versions of Python and the libraries that a model's bytes depend on, by parameter name."""
    # Python without its patch release, which changes no number: MLflow refuses to change a parameter of a run
    python = ".".join(platform.python_version_tuple()[:2])
    return {"python": python, **{name.replace("-", "_"): installed(name) for name in ENVIRONMENT}}


def identity(family: str, prepared: Prepared, *, rows: int) -> dict[str, str]:
    """Return what identifies a recipe and its data: equal values ask for the same model.

    Args:
        family: a name in ``training.families.FAMILIES``.
        prepared: what ``preprocess`` returned.
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
        "parameters": json.dumps(families.hyperparameter_sets(family, families.profile(prepared["profile"]), rows)),
    }
    return {**about, "recipe": hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()}


def tags(about: Mapping[str, str]) -> dict[str, str]:
    """Return the tags that a run and a version have in common."""
    names = ("family", "origin", "snapshot", "profile", "parameters")
    return {**{name: about[name] for name in names}, "contract_version": contract.VERSION}


def note(fitted: Fitted, prepared: Prepared) -> str:
    """Return the description of a family's MLflow run, Markdown."""
    scores = (fitted.evaluation.out_of_fold, fitted.evaluation.holdout)
    rows = [(metrics.TITLES[name], *(one[name] for one in scores)) for name in metrics.MAIN]
    table = "\n".join(f"| {title} | {fold} | {holdout} |" for title, fold, holdout in rows)
    source = visible.markdown_code(prepared["source"])
    data = f"{prepared['used']} records from {source}, {prepared['profile']} evaluation."
    return f"{data}\n\n| | out of fold | hold-out |\n| --- | --- | --- |\n{table}"
