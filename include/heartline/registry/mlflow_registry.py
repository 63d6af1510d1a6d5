"""Runs, versions and aliases in MLflow.

Each run, logged model and version has a key. It is searched for by that key before it is created, so that a task that
was killed and runs again leaves one run, one logged model and one version. What is found is checked, and repaired where
it was deleted or damaged since (``repair``).
"""

import json
import logging
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import mlflow
from mlflow import entities
from mlflow.entities import (
    DatasetInput,
    InputTag,
    LoggedModelOutput,
    LoggedModelStatus,
    Metric,
    Param,
    RunStatus,
    RunTag,
    SourceType,
    ViewType,
)
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import MLFLOW_RUN_NOTE, MLFLOW_SOURCE_NAME, MLFLOW_SOURCE_TYPE, MLFLOW_USER

from heartline import addresses, contract
from heartline.errors import RegistryError
from heartline.registry import flavours, repair, runs, stored_files
from heartline.registry.mlflow_errors import DeletedExperimentError, lost_race, reaching_mlflow
from heartline.registry.production import alias_history, alias_moves, look_history, registered_model
from heartline.registry.repair import Registration
from heartline.registry.runs import EXPERIMENT, REFUSED, Dataset, Run

KEY = "heartline.key"
DATASET_DIGEST = 36  # characters that MLflow keeps of a digest; a tag of the input and its URI hold all 64
DATASET_SHA256 = "heartline.sha256"
COMPARISON = "comparison"  # tag: address of the page of the latest comparison
_FORMER_SCORE = "cv_roc_auc"  # up to 0.2: the mean over the folds, under the name of another score
_OUR_DESCRIPTION = re.compile(r"ROC AUC \d|\d\.\d{3} ROC AUC: ")  # of today, and up to 0.2
_LINK = "[Comparison with the other families]("
STAGING, PRODUCTION = registered_model.STAGING, registered_model.PRODUCTION
_ORIGIN = {  # the columns Source and Created by
    MLFLOW_SOURCE_NAME: runs.SOURCE,
    MLFLOW_SOURCE_TYPE: SourceType.to_string(SourceType.JOB),
    MLFLOW_USER: runs.USER,
}
_EXPERIMENT_KIND = "mlflow.experimentKind"  # without it, MLflow's UI guesses, and shows pages for GenAI
FINISHED, FAILED = RunStatus.to_string(RunStatus.FINISHED), RunStatus.to_string(RunStatus.FAILED)


log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Version:
    """A version of the registered model.

    Attributes:
        number: its number in MLflow.
        tags: its tags.
    """

    number: str
    tags: Mapping[str, str]


def log_run(run: Run) -> str:
    """Log a run, or continue the one that has the same key, and return its id.

    A run that was refused before and is not refused now loses its tag ``refused``. A finished run stays unchanged, as a
    version may come from it: a later refusal of the same work is a new run. A deleted run is restored, and files that
    it has lost are uploaded again.

    Raises:
        RegistryError: MLflow cannot be reached or refuses.
    """
    with reaching_mlflow(f"log the run {run.title}"):
        client = mlflow.MlflowClient()
        experiment = _experiment(client, run.experiment)
        status = FAILED if run.failed else FINISHED
        logged = _earlier(client, experiment, run)
        if logged:
            _renew_refusal(client, logged, run)
            if logged.info.status == status:
                repair.restore_files(client, logged, run.files)
                return str(logged.info.run_id)
        tags = {
            **run.tags,
            **_ORIGIN,
            KEY: run.key,
            MLFLOW_RUN_NOTE: run.note,
            stored_files.FILES: stored_files.digests(run.files),
        }
        started = int(run.started.timestamp() * 1000) if run.started else None
        logged = logged or client.create_run(experiment, started, tags, run.title)
        run_id = str(logged.info.run_id)
        # the time is the start of the run, so that logging twice writes the same points and not more of them
        start = logged.info.start_time
        client.log_batch(
            run_id,
            metrics=[Metric(name, value, start, 0) for name, value in run.metrics.items()],
            params=[Param(name, str(value)) for name, value in run.parameters.items()],
            tags=[RunTag(name, value) for name, value in tags.items()],
        )
        if run.dataset:
            _log_dataset(client, run_id, run.dataset)
        with tempfile.TemporaryDirectory() as folder:
            _write(Path(folder), run.files)
            client.log_artifacts(run_id, folder)
        client.set_terminated(run_id, status)
        log.info("MLflow run %s: %s", run.title, addresses.mlflow_run(experiment, run_id))
        return run_id


def _log_dataset(client: mlflow.MlflowClient, run_id: str, dataset: Dataset) -> None:
    """Log the data of a run. The families log the same ones at the same time, and MLflow refuses one of them."""
    try:
        client.log_inputs(run_id, [_input(dataset)])
    except MlflowException as error:
        if not lost_race(error):
            raise
        client.log_inputs(run_id, [_input(dataset)])  # now it finds the row


def register(
    bundle: Mapping[str, bytes],
    *,
    run_id: str,
    key: str,
    tags: Mapping[str, str],
    described: Mapping[str, str] | None = None,
) -> Registration:
    """Register a bundle as a version, unless a version has the same key.

    A version with the same key is checked, and repaired where its run was deleted or its files were. If it cannot be
    repaired, a new version is registered in its place.

    Args:
        bundle: the bundle's files by name.
        run_id: the run that trained it.
        key: sha256 of the bundle; the same key is the same version.
        tags: of the version and its logged model: family, origin, snapshot and so on.
        described: further tags of a new version, those of ``describe_version``: one request instead of two for each.

    Raises:
        RegistryError: MLflow cannot be reached or refuses.
    """
    with reaching_mlflow("register a version"):
        client = mlflow.MlflowClient()
        upload = partial(_upload, client, bundle)
        found = client.search_model_versions(f"name = '{contract.MODEL_NAME}' and tags.`{KEY}` = '{key}'")
        kept, replaced = repair.usable_version(client, found, bundle, upload)
        if kept:
            return kept
        model_id, files = _logged_model(client, bundle, upload, run_id=run_id, key=key, tags=tags)
        _ensure_registered_model(client)
        created = client.create_model_version(
            contract.MODEL_NAME,
            source=f"models:/{model_id}",
            run_id=run_id,
            model_id=model_id,
            tags={**(described or {}), **tags, KEY: key, stored_files.FILES: stored_files.digests(files)},
        )
        return repair.replacement(client, str(created.version), replaced)


def link_comparison(run_ids: Sequence[str], comparison_run: str) -> None:
    """Add a link to the comparison's page to the descriptions and tags of the runs that took part.

    Raises:
        RegistryError: MLflow cannot be reached or refuses.
    """
    with reaching_mlflow("link the comparison"):
        client = mlflow.MlflowClient()
        tags = _comparison_tags(client, comparison_run)
        for run_id in run_ids:
            note = client.get_run(run_id).data.tags.get(MLFLOW_RUN_NOTE, "")
            linked = {**tags, MLFLOW_RUN_NOTE: with_link(note, tags[COMPARISON])}
            client.log_batch(run_id, tags=[RunTag(name, value) for name, value in linked.items()])


def with_link(text: str, page: str) -> str:
    """Return a description, Markdown, that ends with a link to a comparison's page; an earlier link is replaced."""
    kept = [line for line in text.splitlines() if not line.startswith(_LINK)]
    return "\n".join(kept).rstrip() + f"\n\n{_LINK}{page})"


def _comparison_tags(client: mlflow.MlflowClient, comparison_run: str) -> dict[str, str]:
    """Return the tags of what took part in a comparison: the id of its run, and the address of its page."""
    page = addresses.mlflow_run(_experiment(client, runs.COMPARISON_EXPERIMENT), comparison_run, runs.COMPARISON_PAGE)
    return {"comparison_run": comparison_run, COMPARISON: page}


def comparison_tags(comparison_run: str) -> dict[str, str]:
    """Return the tags of what took part in a comparison: the id of its run, and the address of its page.

    Raises:
        RegistryError: MLflow cannot be reached.
    """
    with reaching_mlflow("look up the comparison"):
        return _comparison_tags(mlflow.MlflowClient(), comparison_run)


def describe_version(version: str, *, tags: Mapping[str, str], description: str, comparison_run: str) -> None:
    """Set tags and description of a version, with a link to the comparison; a user's own description stays.

    Args:
        version: its number.
        tags: to add or replace.
        description: one line.
        comparison_run: id of the run that holds the comparison's page.

    Raises:
        RegistryError: there is no such version, or MLflow cannot be reached.
    """
    with reaching_mlflow(f"describe version {version}"):
        client = mlflow.MlflowClient()
        found = client.get_model_version(contract.MODEL_NAME, version)
        compared = _comparison_tags(client, comparison_run)
        for name, value in {**tags, **compared}.items():
            if found.tags.get(name) != value:
                client.set_model_version_tag(contract.MODEL_NAME, version, name, value)
        if _FORMER_SCORE in found.tags:
            client.delete_model_version_tag(contract.MODEL_NAME, version, _FORMER_SCORE)
        if not found.description or _OUR_DESCRIPTION.match(found.description):
            text = with_link(description, compared[COMPARISON])
            client.update_model_version(contract.MODEL_NAME, version, text)


def stage(version: str) -> None:
    """Point ``staging`` at a version, under the lock of all movers.

    Raises:
        RegistryError: there is no such version, its files cannot be downloaded, or MLflow cannot be reached.
    """
    with reaching_mlflow(f"point alias {STAGING} at version {version}"):
        model = _model()
        with model.lock(f"staging of version {version}"):
            stored = model.examine(version)
            if stored.damage:
                raise RegistryError(
                    f"version {version} cannot be downloaded: {stored.damage}",
                    where=f"MLFLOW_TRACKING_URI {mlflow.get_tracking_uri()}",
                    expected="the files that were registered",
                    hint=stored.hint,
                )
            model.set_staging(version)


def aliased(alias: str) -> Version | None:
    """Return the version that an alias points at, or None where it points at none.

    Raises:
        RegistryError: MLflow cannot be reached.
    """
    with reaching_mlflow(f"look up alias {alias}"):
        client = mlflow.MlflowClient()
        models = client.search_registered_models(f"name = '{contract.MODEL_NAME}'")
        if not models or alias not in models[0].aliases:
            return None
        found = client.get_model_version(contract.MODEL_NAME, models[0].aliases[alias])
        return Version(str(found.version), dict(found.tags))


def move_production(
    version: str, *, by: str, how: str = alias_history.RUN, expected: str | None = None, reason: str = ""
) -> str:
    """Point ``production`` at a version, and record the move.

    The rules are those of ``alias_moves.move``.

    Args:
        version: its number.
        by: who moves it, for the history.
        how: the kind of move, for the history.
        expected: the version in production when the move was decided, "" for none; None to accept any.
        reason: why, for the ledger; "" for none.

    Returns:
        why the move was refused; "" if production points at the version now.

    Raises:
        RegistryError: there is no such version, or MLflow cannot be reached.
    """
    with reaching_mlflow(f"point alias {PRODUCTION} at version {version}"):
        return alias_moves.move(_model(), version, by=by, how=how, expected=expected, reason=reason).refused


def record_external_moves() -> list[alias_history.Move]:
    """Record a move of ``production`` that was made in MLflow's UI, and return all moves, oldest first.

    Raises:
        RegistryError: MLflow cannot be reached.
    """
    with reaching_mlflow(f"read the history of alias {PRODUCTION}"):
        return alias_moves.record_external_moves(_model())[1]


def lost_production() -> str:
    """Return what was in production, where the alias is missing although something was; "" otherwise.

    Raises:
        RegistryError: MLflow cannot be reached.
    """
    with reaching_mlflow(f"read the history of alias {PRODUCTION}"):
        model = _model()
        production, moves = alias_moves.record_external_moves(model)
        return alias_moves.lost_production(production, moves, None if production else model.served())


def looks() -> list[look_history.RecordedLook]:
    """Return the looks that comparisons have taken, oldest first.

    Raises:
        RegistryError: MLflow cannot be reached.
    """
    with reaching_mlflow("read the looks of comparisons"):
        return look_history.read(_model().history())


def record_look(look: look_history.RecordedLook, *, after: Sequence[look_history.RecordedLook]) -> bool:
    """Record a look after the looks that were read before; return False if another one was recorded since.

    Raises:
        RegistryError: MLflow cannot be reached, or the lock of all movers could not be had.
    """
    with reaching_mlflow("record the look of a comparison"):
        return look_history.add(_model(), look, after=after)


def _model() -> registered_model.RegisteredModel:
    return registered_model.RegisteredModel(mlflow.MlflowClient())


def _experiment(client: mlflow.MlflowClient, name: str = EXPERIMENT) -> str:
    tags = {MLFLOW_RUN_NOTE: runs.DESCRIPTIONS.get(name, ""), _EXPERIMENT_KIND: "custom_model_development"}
    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            return str(client.create_experiment(name, tags=tags))
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        found = client.get_experiment_by_name(name)  # another task made it in between
    if found is None or found.lifecycle_stage != "active":
        raise DeletedExperimentError(name, found.experiment_id if found else "ID")
    for key, value in tags.items():
        if key not in found.tags:  # made by an earlier version, or by hand; a user's own text stays
            client.set_experiment_tag(found.experiment_id, key, value)
    return str(found.experiment_id)


def _earlier(client: mlflow.MlflowClient, experiment: str, run: Run) -> entities.Run | None:
    """Return the run with the same key: a finished one unless this work is refused, else an unfinished one.

    A deleted run counts where there is no other, and is restored.
    """
    found = client.search_runs([experiment], f"tags.`{KEY}` = '{run.key}'", run_view_type=ViewType.ALL)
    ordered = sorted(found, key=repair.is_deleted)
    finished = [one for one in ordered if one.info.status == FINISHED and not run.failed]
    earlier = next(iter([*finished, *(one for one in ordered if one.info.status != FINISHED)]), None)
    if earlier:
        repair.restore_run(client, earlier)
    return earlier


def _renew_refusal(client: mlflow.MlflowClient, logged: entities.Run, run: Run) -> None:
    """Set the tag ``refused`` of an existing run to this refusal, or remove it if the work is not refused any more."""
    before, now = logged.data.tags.get(REFUSED), run.tags.get(REFUSED)
    if now is None and before is not None:
        client.delete_tag(logged.info.run_id, REFUSED)
    elif now is not None and now != before:
        client.set_tag(logged.info.run_id, REFUSED, now)


def _ensure_registered_model(client: mlflow.MlflowClient) -> None:
    try:
        client.create_registered_model(
            contract.MODEL_NAME, description="Predicts heart disease; trained and registered by Heartline."
        )
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _logged_model(
    client: mlflow.MlflowClient,
    bundle: Mapping[str, bytes],
    upload: repair.Upload,
    *,
    run_id: str,
    key: str,
    tags: Mapping[str, str],
) -> tuple[str, dict[str, bytes]]:
    """Return the id of the logged model with this key and its files; it is created where there is none."""
    experiment = _experiment(client)
    found = client.search_logged_models([experiment], f"tags.`{KEY}` = '{key}'", max_results=1)
    name = f"{contract.MODEL_NAME}-{tags['family']}".replace("_", "-")
    run = client.get_run(run_id)
    model = (
        found[0]
        if found
        else client.create_logged_model(experiment, name, run_id, {**tags, KEY: key}, run.data.params, "classifier")
    )
    files = repair.complete_files(model.artifact_location, bundle, {}, partial(upload, run_id, model.model_id))[0]
    _copy_metrics(client, run, model.model_id)
    linked = run.outputs
    if model.model_id not in {one.model_id for one in (linked.model_outputs if linked else [])}:
        client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=0)])  # MLflow refuses a second link
    if model.status != LoggedModelStatus.READY:
        client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)
    return str(model.model_id), files


def _upload(client: mlflow.MlflowClient, bundle: Mapping[str, bytes], run_id: str, model_id: str) -> None:
    """Upload the files of a logged model, over those that are there."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "model"
        flavours.save(bundle, target, run_id=run_id, model_id=model_id)
        _write(target, bundle)
        client.log_model_artifacts(model_id, str(target))


def _copy_metrics(client: mlflow.MlflowClient, run: entities.Run, model_id: str) -> None:
    """Log a run's metrics for its model, too, with the data set; again is the same points and not more of them."""
    datasets = [one.dataset for one in (run.inputs.dataset_inputs if run.inputs else [])]
    name, digest = (datasets[0].name, datasets[0].digest) if datasets else (None, None)
    client.log_batch(
        run.info.run_id,
        metrics=[
            Metric(key, value, run.info.start_time, 0, model_id, name, digest)
            for key, value in run.data.metrics.items()
        ],
    )


def _input(dataset: Dataset) -> DatasetInput:
    scheme = urlsplit(dataset.uri).scheme
    shown = entities.Dataset(
        name=dataset.name,
        digest=dataset.digest[:DATASET_DIGEST],
        # mlflow.data names its source types after the URI schemes, and reads only the URI
        source_type="local" if scheme == "file" else scheme,
        source=json.dumps({"uri": dataset.uri, "source": dataset.source}),
        schema=json.dumps({"mlflow_colspec": [{"name": one.name, "type": one.dtype} for one in contract.COLUMNS]}),
        profile=json.dumps({"num_rows": dataset.rows}),
    )
    return DatasetInput(shown, [InputTag("mlflow.data.context", "training"), InputTag(DATASET_SHA256, dataset.digest)])


def _write(folder: Path, files: Mapping[str, bytes]) -> None:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
