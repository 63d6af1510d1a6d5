"""Checks what was found again in MLflow by its key, and repairs what was deleted or damaged since it was written."""

import hashlib
import logging
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import mlflow
from mlflow import entities
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from heartline import contract
from heartline.registry import artifact_files, stored_files

REPLACES = "heartline.replaces"  # tag of a version: the versions with the same key that cannot be repaired

Upload = Callable[[str, str], None]
"""Uploads the files of the bundle and of MLflow's flavour for a run id and a logged model's id."""

T = TypeVar("T")
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Registration:
    """A version after ``register``.

    Attributes:
        number: its number.
        repairs: what had to be repaired, one sentence each.
    """

    number: str
    repairs: tuple[str, ...] = ()


def is_deleted(run: entities.Run) -> bool:
    """Return whether a run is in MLflow's trash."""
    return bool(run.info.lifecycle_stage == "deleted")


def restore_run(client: mlflow.MlflowClient, run: entities.Run) -> str:
    """Restore a run from MLflow's trash; return what was done, "" where the run is not deleted."""
    if not is_deleted(run):
        return ""
    client.restore_run(run.info.run_id)
    return _said(f"run {run.info.run_id} was deleted in MLflow and was restored")


def restore_files(client: mlflow.MlflowClient, run: entities.Run, files: Mapping[str, bytes]) -> str:
    """Upload those files of a finished run again that are missing, empty or changed; return what was done.

    Args:
        client: of MLflow.
        run: the run.
        files: what the same work has written now, by path.
    """
    digests = stored_files.recorded(run.data.tags)
    with artifact_files.reader(run.info.artifact_uri) as read:
        damaged = [name for name, data in files.items() if _is_damaged(read(name), data, digests.get(name))]
    if not damaged:
        return ""
    with tempfile.TemporaryDirectory() as folder:
        for name in damaged:
            path = Path(folder, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(files[name])
        client.log_artifacts(run.info.run_id, folder)
    if digests:
        client.set_tag(run.info.run_id, stored_files.FILES, stored_files.digests(files))
    return _said(f"run {run.info.run_id} had lost files, which were uploaded again: {', '.join(damaged)}")


def _is_damaged(found: bytes | None, now: bytes, digest: str | None) -> bool:
    """Return whether a file is not what was written; without a digest (version 0.2 or earlier), missing or empty."""
    if found is None or (now and not found):
        return True
    return digest is not None and hashlib.sha256(found).hexdigest() != digest


def complete_files(
    uri: str, bundle: Mapping[str, bytes], digests: Mapping[str, str], upload: Callable[[], None]
) -> tuple[dict[str, bytes], list[str]]:
    """Upload a model's files unless all are there; return them as they are stored, and the names of the damaged ones.

    Args:
        uri: of the model's files.
        bundle: the bundle's files by name.
        digests: sha256 by name of all files, as far as they are known.
        upload: uploads the bundle's files and those of MLflow's flavour.

    Raises:
        MlflowException: the files are not there after they were uploaded.
    """
    files, damaged = _stored(uri, bundle, digests)
    if not damaged:
        return files, []
    upload()
    files, still = _stored(uri, bundle, {})
    if still:
        raise MlflowException(f"{', '.join(still)} cannot be read back from {uri} after the upload")
    return files, damaged


def _stored(uri: str, bundle: Mapping[str, bytes], digests: Mapping[str, str]) -> tuple[dict[str, bytes], list[str]]:
    """Return all files below a URI, and the names of those that are missing or differ."""
    files = artifact_files.downloaded(uri)
    expected = {**digests, **{name: hashlib.sha256(data).hexdigest() for name, data in bundle.items()}}
    damaged = [
        name for name, digest in sorted(expected.items()) if hashlib.sha256(files.get(name, b"")).hexdigest() != digest
    ]
    if not files.get(stored_files.FLAVOUR) and stored_files.FLAVOUR not in damaged:
        damaged.append(stored_files.FLAVOUR)
    return files, damaged


def usable_version(
    client: mlflow.MlflowClient, versions: Sequence[ModelVersion], bundle: Mapping[str, bytes], upload: Upload
) -> tuple[Registration | None, list[str]]:
    """Return the newest version that is complete or could be repaired, and why those before it could not.

    Args:
        client: of MLflow.
        versions: those with the bundle's key.
        bundle: the bundle's files by name.
        upload: uploads them for a run and a logged model.
    """
    unusable: list[str] = []
    for version in sorted(versions, key=lambda one: int(one.version), reverse=True):
        problem, repairs = _repair_version(client, version, bundle, upload)
        if not problem:
            return Registration(str(version.version), tuple(repairs)), unusable
        unusable.append(f"version {version.version}: {problem}")
    return None, unusable


def _repair_version(
    client: mlflow.MlflowClient, version: ModelVersion, bundle: Mapping[str, bytes], upload: Upload
) -> tuple[str, list[str]]:
    """Return why a version cannot be repaired ("" where it is complete now), and what was repaired."""
    run_id = str(version.run_id)
    run = found(client.get_run, run_id)
    if run is None:
        return "its run was deleted for good", []
    model_id = str(version.source or "").removeprefix("models:/")
    if model_id != version.source and found(client.get_logged_model, model_id) is None:
        return "its logged model was deleted", []
    repairs = [restored] if (restored := restore_run(client, run)) else []
    uri = client.get_model_version_download_uri(contract.MODEL_NAME, version.version)
    digests = stored_files.recorded(version.tags)
    if model_id == version.source:
        damaged = _stored(uri, bundle, digests)[1]
        return ("its files are damaged, and it has no logged model" if damaged else ""), repairs
    files, damaged = complete_files(uri, bundle, digests, lambda: upload(run_id, model_id))
    if damaged or not digests:
        client.set_model_version_tag(
            contract.MODEL_NAME, version.version, stored_files.FILES, stored_files.digests(files)
        )
    if damaged:
        names = ", ".join(damaged)
        repairs.append(_said(f"version {version.version} had lost files, which were uploaded again: {names}"))
    return "", repairs


def found(get: Callable[[str], T], name: str) -> T | None:
    """Return what a method of MLflow's client gets by its name; None where there is nothing of that name."""
    try:
        return get(name)
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        raise


def replacement(client: mlflow.MlflowClient, number: str, replaced: Sequence[str]) -> Registration:
    """Record on a new version which ones it replaces and why, and return it.

    Args:
        client: of MLflow.
        number: the new version's number.
        replaced: versions with the same key that could not be repaired, with the reason.
    """
    if not replaced:
        return Registration(number)
    why = "; ".join(replaced)
    client.set_model_version_tag(contract.MODEL_NAME, number, REPLACES, why)
    return Registration(number, (_said(f"version {number} holds the same model as {why}"),))


def _said(sentence: str) -> str:
    log.warning("%s", sentence)
    return sentence
