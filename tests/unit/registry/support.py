"""Versions with files, as small as ``registry.stored_files`` accepts them."""

import hashlib
import json
from pathlib import Path

import mlflow

from heartline import contract
from heartline.registry import stored_files


def version_files(origin: str) -> dict[str, bytes]:
    """Return the files of a version that says which origin its training data has."""
    model = b"not a real model"
    manifest = {
        "files": {"model.onnx": {"sha256": hashlib.sha256(model).hexdigest(), "bytes": len(model)}},
        "model": {"origin": origin},
    }
    return {"model.onnx": model, "manifest.json": json.dumps(manifest).encode(), "MLmodel": b"flavors: {}\n"}


def create_version(client: mlflow.MlflowClient, folder: Path, origin: str, run_id: str | None = None) -> str:
    """Write such files into a folder, and return the number of a version that holds them."""
    folder.mkdir(exist_ok=True)
    files = version_files(origin)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    tags = {"origin": origin, stored_files.FILES: stored_files.digests(files)}
    return str(client.create_model_version(contract.MODEL_NAME, folder.as_uri(), run_id, tags=tags).version)
