"""Reads the files of a run or a version from MLflow's artifact store."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

from heartline.registry.stored_files import Reader


@contextmanager
def reader(uri: str) -> Iterator[Reader]:
    """Download the files below an artifact URI, and open them for reading by name.

    MLflow lists a folder before it downloads one of its files, so all files together take half of the requests.

    Raises:
        MlflowException: the store cannot be reached.
        ImportError: a package that this kind of store needs is not installed.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = _download(uri, name)
        yield lambda path: (folder / path).read_bytes() if (folder / path).is_file() else None


def downloaded(uri: str) -> dict[str, bytes]:
    """Return the files below an artifact URI by path; empty where there is none.

    Raises:
        MlflowException: the store cannot be reached.
        ImportError: a package that this kind of store needs is not installed.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = _download(uri, name)
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def _download(uri: str, target: str) -> Path:
    repository = get_artifact_repository(uri)
    if not repository.list_artifacts():
        return Path(target)  # the log of a first upload would say that there was nothing to download
    return Path(repository.download_artifacts("", target))  # type: ignore[no-untyped-call]
