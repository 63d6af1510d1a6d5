"""The model registry: the only module that talks to MLflow.

Everything is found again by a key before it is made, so a task that was killed and runs again leaves one run, one
logged model and one version.
"""

import json
import platform
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version as installed
from pathlib import Path
from urllib.parse import urlsplit

import mlflow
import mlflow.sklearn
import requests
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
)
from mlflow.exceptions import MlflowException
from mlflow.models import Model
from mlflow.utils.mlflow_tags import MLFLOW_RUN_NOTE
from sklearn.pipeline import Pipeline

from heartline import contract
from heartline.errors import RegistryError
from heartline.packaging import export
from heartline.registry import alias_history
from heartline.registry.runs import EXPERIMENT, REFUSED, Dataset, Run

KEY = "heartline.key"
DATASET_DIGEST = 36  # characters that MLflow keeps of one; the whole sha256 is a tag of the input, and in its URI
DATASET_SHA256 = "heartline.sha256"
STAGING = "staging"
PRODUCTION = "production"
FINISHED, FAILED = RunStatus.to_string(RunStatus.FINISHED), RunStatus.to_string(RunStatus.FAILED)


@dataclass(frozen=True)
class Version:
    """A version of the registered model.

    Attributes:
        number: its number, as MLflow counts.
        tags: what was recorded of it.
    """

    number: str
    tags: Mapping[str, str]


class RegisteredModel:
    """The registered model, as ``alias_history`` reads and moves it.

    Args:
        client: a client of the registry.
        alias: the alias that is moved.
    """

    def __init__(self, client: mlflow.MlflowClient, alias: str) -> None:
        self._client = client
        self._alias = alias

    def look(self) -> tuple[str, Mapping[str, str]]:
        """Return the version that the alias is at ("" for none), and the model's tags."""
        found = self._client.search_registered_models(f"name = '{contract.MODEL_NAME}'")
        return (str(found[0].aliases.get(self._alias, "")), dict(found[0].tags)) if found else ("", {})

    def origin(self, version: str) -> str:
        """Return where a version's training data came from, "" where that is not known."""
        return str(self._client.get_model_version(contract.MODEL_NAME, version).tags.get("origin", ""))

    def point(self, version: str) -> None:
        """Point the alias at a version, in one step."""
        self._client.set_registered_model_alias(contract.MODEL_NAME, self._alias, version)

    def note(self, key: str, value: str) -> None:
        """Set a tag of the model."""
        self._client.set_registered_model_tag(contract.MODEL_NAME, key, value)


def log_run(run: Run) -> str:
    """Log a piece of work to its run, found by key or made, and return the run's id.

    A run that was refused before and is not now does not say so any more. One that is finished stays as it is, for a
    version may come from it: a later refusal of the same work is a run of its own.

    Raises:
        RegistryError: MLflow cannot be reached or refuses.
    """
    with _reaching_mlflow(f"log the run {run.title}"):
        client = mlflow.MlflowClient()
        experiment = _experiment(client, run.experiment)
        status = FAILED if run.failed else FINISHED
        logged = _earlier(client, experiment, run)
        if logged:
            _renew_refusal(client, logged, run)
            if logged.info.status == status:
                return str(logged.info.run_id)
        tags = {**run.tags, KEY: run.key, MLFLOW_RUN_NOTE: run.note}
        begun = int(run.begun.timestamp() * 1000) if run.begun else None
        logged = logged or client.create_run(experiment, begun, tags, run.title)
        run_id = str(logged.info.run_id)
        # the run's own start as the time: logging twice writes the same points, not more of them
        start = logged.info.start_time
        client.log_batch(
            run_id,
            metrics=[Metric(name, value, start, 0) for name, value in run.metrics.items()],
            params=[Param(name, str(value)) for name, value in run.parameters.items()],
            tags=[RunTag(name, value) for name, value in tags.items()],
        )
        if run.dataset:
            client.log_inputs(run_id, [_input(run.dataset)])
        with tempfile.TemporaryDirectory() as folder:
            _write(Path(folder), run.files)
            client.log_artifacts(run_id, folder)
        client.set_terminated(run_id, status)
        return run_id


def register(bundle: Mapping[str, bytes], *, run_id: str, key: str, tags: Mapping[str, str], description: str) -> str:
    """Register a bundle as a version, found by key or made, and return the version's number.

    Args:
        bundle: its files by name.
        run_id: the run that trained it.
        key: its sha256, and so its recipe, snapshot and bytes; the same key is the same version.
        tags: family, origin, snapshot and so on.
        description: one line for people.

    Raises:
        RegistryError: MLflow cannot be reached or refuses.
    """
    with _reaching_mlflow("register a version"):
        client = mlflow.MlflowClient()
        found = client.search_model_versions(f"name = '{contract.MODEL_NAME}' and tags.`{KEY}` = '{key}'")
        if found:
            return str(found[0].version)
        model_id = _logged_model(client, bundle, run_id=run_id, key=key, tags=tags)
        _ensure_registered_model(client)
        created = client.create_model_version(
            contract.MODEL_NAME,
            source=f"models:/{model_id}",
            run_id=run_id,
            model_id=model_id,
            tags={**tags, KEY: key},
            description=description,
        )
        return str(created.version)


def tag_version(version: str, tags: Mapping[str, str]) -> None:
    """Set tags on a version.

    Raises:
        RegistryError: there is no such version, or MLflow cannot be reached.
    """
    with _reaching_mlflow(f"tag version {version}"):
        client = mlflow.MlflowClient()
        for name, value in tags.items():
            client.set_model_version_tag(contract.MODEL_NAME, version, name, value)


def point_alias(alias: str, version: str) -> None:
    """Point ``alias`` at ``version``; it is moved in one step and never absent in between.

    Raises:
        RegistryError: there is no such version, or MLflow cannot be reached.
    """
    with _reaching_mlflow(f"point alias {alias} at version {version}"):
        mlflow.MlflowClient().set_registered_model_alias(contract.MODEL_NAME, alias, version)


def aliased(alias: str) -> Version | None:
    """Return the version that ``alias`` points at, or None where the alias was never set.

    Raises:
        RegistryError: MLflow cannot be reached.
    """
    with _reaching_mlflow(f"look up alias {alias}"):
        client = mlflow.MlflowClient()
        models = client.search_registered_models(f"name = '{contract.MODEL_NAME}'")
        if not models or alias not in models[0].aliases:
            return None
        found = client.get_model_version(contract.MODEL_NAME, models[0].aliases[alias])
        return Version(str(found.version), dict(found.tags))


def move_production(version: str, *, by: str, how: str = alias_history.RUN, expected: str | None = None) -> str:
    """Point ``production`` at ``version`` and note who did, and return why not, "" where production is at it now.

    A model trained on the sample does not replace one trained on real data, and nothing replaces a version that was put
    there after the decision: what is there is read again as the last thing before the write (see ``history.move``).

    Args:
        version: its number.
        by: who moves it.
        how: what the history says of it.
        expected: the version that production was at when this was decided, "" for none; None: wherever it is.

    Raises:
        RegistryError: there is no such version, or MLflow cannot be reached.
    """
    with _reaching_mlflow(f"point alias {PRODUCTION} at version {version}"):
        return alias_history.move(_model(), version, by=by, how=how, now=datetime.now(UTC), expected=expected).refused


def note_moves() -> list[alias_history.Move]:
    """Note a move of ``production`` that was made in MLflow's UI, and return all moves, oldest first.

    Raises:
        RegistryError: MLflow cannot be reached.
    """
    with _reaching_mlflow(f"read the history of alias {PRODUCTION}"):
        return alias_history.catch_up(_model(), datetime.now(UTC))[1]


def _model() -> RegisteredModel:
    return RegisteredModel(mlflow.MlflowClient(), PRODUCTION)


def _experiment(client: mlflow.MlflowClient, name: str = EXPERIMENT) -> str:
    try:
        return str(client.create_experiment(name))
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    found = client.get_experiment_by_name(name)
    if found is None or found.lifecycle_stage != "active":
        raise MlflowException(f"experiment {name} was deleted: restore it in MLflow's UI")
    return str(found.experiment_id)


def _earlier(client: mlflow.MlflowClient, experiment: str, run: Run) -> entities.Run | None:
    """Return the run that a piece of work is logged to again: a finished one, save for a refusal; else another."""
    found = client.search_runs([experiment], f"tags.`{KEY}` = '{run.key}'")
    finished = [one for one in found if one.info.status == FINISHED and not run.failed]
    return next(iter([*finished, *(one for one in found if one.info.status != FINISHED)]), None)


def _renew_refusal(client: mlflow.MlflowClient, logged: entities.Run, run: Run) -> None:
    """Let a run that is found again say why it is refused now, or no more that it was: a tag outlives what set it."""
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
    client: mlflow.MlflowClient, bundle: Mapping[str, bytes], *, run_id: str, key: str, tags: Mapping[str, str]
) -> str:
    experiment = _experiment(client)
    found = client.search_logged_models([experiment], f"tags.`{KEY}` = '{key}'", max_results=1)
    if found and found[0].status == LoggedModelStatus.READY:
        return str(found[0].model_id)
    name = f"{contract.MODEL_NAME}-{tags['family']}".replace("_", "-")
    model = found[0] if found else client.create_logged_model(experiment, name, run_id, tags={**tags, KEY: key})
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "model"
        _save_flavour(export.from_skops(bundle["model.skops"]), target, run_id=run_id, model_id=model.model_id)
        _write(target, bundle)
        client.log_model_artifacts(model.model_id, str(target))
    linked = client.get_run(run_id).outputs
    if model.model_id not in {one.model_id for one in (linked.model_outputs if linked else [])}:
        client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=0)])  # MLflow refuses to link them twice
    # the last of all: what is ready is found again as it is
    client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)
    return str(model.model_id)


def _save_flavour(pipeline: Pipeline, target: Path, *, run_id: str, model_id: str) -> None:
    """Write what MLflow needs to load the model by itself; its copy of the pipeline gives way to the bundle's."""
    mlflow.sklearn.save_model(
        pipeline,
        target,
        serialization_format="skops",
        skops_trusted_types=list(export.trusted_types()),
        mlflow_model=Model(run_id=run_id, model_id=model_id),
        conda_env={
            "name": contract.MODEL_NAME,
            "channels": ["conda-forge"],
            "dependencies": [
                f"python={platform.python_version()}",
                "pip",
                {"pip": [f"{name}=={installed(name)}" for name in ("mlflow", "numpy", "scikit-learn", "skops")]},
            ],
        },
    )


def _input(dataset: Dataset) -> DatasetInput:
    scheme = urlsplit(dataset.uri).scheme
    shown = entities.Dataset(
        name=dataset.name,
        digest=dataset.digest[:DATASET_DIGEST],
        # mlflow.data has a type for each scheme that it can read, named after it; it looks at the URI alone
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


@contextmanager
def _reaching_mlflow(doing: str) -> Iterator[None]:
    try:
        yield
    except (MlflowException, requests.RequestException) as error:
        raise _mlflow_error(doing, error) from error


def _mlflow_error(doing: str, error: Exception) -> RegistryError:
    """Return the error for a request that MLflow refused or did not answer; ``doing`` says which, as an infinitive."""
    said = str(error).splitlines()[0][:300] if str(error) else type(error).__name__
    expected, hint = (
        "an MLflow server that answers",
        "see that MLflow and its database run (./heartline status); the task is retried by itself",
    )
    if getattr(error, "error_code", "") == "RESOURCE_DOES_NOT_EXIST":
        expected, hint = "that it is there", "see in MLflow's UI whether it was deleted; if so, train again"
    return RegistryError(
        f"MLflow did not let us {doing}: {said}",
        where=f"MLFLOW_TRACKING_URI {mlflow.get_tracking_uri()}",
        expected=expected,
        hint=hint,
    )
