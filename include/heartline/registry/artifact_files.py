"""Reads the files of a run or a version from MLflow's artifact store."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mlflow import artifacts
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

from heartline.registry.stored_files import Reader


def listed(uri: str) -> dict[str, int]:
    """Return the size in bytes of each file below an artifact URI, by path; empty where there is none.

    Raises:
        MlflowException: the store cannot be reached.
        ImportError: a package that this kind of store needs is not installed.
    """
    repository = get_artifact_repository(uri)
    found, folders = {}, [""]
    while folders:
        for entry in repository.list_artifacts(folders.pop() or None):
            if entry.is_dir:
                folders.append(entry.path)
            else:
                found[entry.path] = int(entry.file_size or 0)
    return found


@contextmanager
def reader(uri: str) -> Iterator[Reader]:
    """Open the files below an artifact URI for reading by name.

    Raises:
        MlflowException: the store cannot be reached.
        ImportError: a package that this kind of store needs is not installed.
    """
    names = listed(uri)
    with tempfile.TemporaryDirectory() as folder:

        def read(name: str) -> bytes | None:
            if name not in names:
                return None
            return Path(artifacts.download_artifacts(artifact_uri=f"{uri}/{name}", dst_path=folder)).read_bytes()

        yield read
