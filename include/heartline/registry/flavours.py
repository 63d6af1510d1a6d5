"""The MLflow flavours of a version: ``python_function`` on its ONNX model, and ``sklearn`` on its skops file.

Both read the bundle's own files, and neither a pickle.
"""

import platform
from collections.abc import Mapping
from importlib.metadata import version as installed
from pathlib import Path

import mlflow
import mlflow.pyfunc
import mlflow.sklearn
import pandas as pd
from mlflow.models import Model, ModelSignature
from mlflow.types.schema import AnyType, ColSpec, DataType, Schema

from heartline import contract
from heartline.packaging import export, heartline_onnx

PACKAGES = ("mlflow", "numpy", "onnxruntime", "pandas", "scikit-learn", "skops")
CODE = "code"  # folder of the loader, below the version's


def save(bundle: Mapping[str, bytes], target: Path, *, run_id: str, model_id: str) -> None:
    """Write the files with which MLflow loads a version; the caller writes the bundle's own files over them.

    Args:
        bundle: the bundle's files by name.
        target: a folder that does not exist.
        run_id: the run that trained it.
        model_id: of its logged model.
    """
    model = Model(run_id=run_id, model_id=model_id, metadata={"contract_version": contract.VERSION})
    mlflow.sklearn.save_model(
        export.from_skops(bundle["model.skops"]),
        target,
        serialization_format="skops",
        skops_trusted_types=export.trusted_types(),
        mlflow_model=model,
        signature=signature(),
        input_example=input_example(),
        conda_env={
            "name": contract.MODEL_NAME,
            "channels": ["conda-forge"],
            "dependencies": [
                f"python={platform.python_version()}",
                "pip",
                {"pip": [f"{name}=={installed(name)}" for name in PACKAGES]},
            ],
        },
    )
    # Instead of scikit-learn's labels: what the service answers, and as it does, also for missing values.
    loader = Path(heartline_onnx.__file__)
    (target / CODE).mkdir()
    (target / CODE / loader.name).write_bytes(loader.read_bytes())
    mlflow.pyfunc.add_to_model(
        model, loader_module=loader.stem, code=CODE, conda_env="conda.yaml", python_env="python_env.yaml"
    )
    model.save(target / "MLmodel")


def signature() -> ModelSignature:
    """Return the signature: the contract's columns, and a probability.

    The columns have the type ``any``: MLflow refuses whole numbers (int64) for ``double``, and decimal ones for
    ``long``, although 63 and 63.0 are the same value. ``heartline_onnx`` checks the values against the contract.
    """
    any_number = AnyType()  # type: ignore[no-untyped-call]
    return ModelSignature(
        inputs=Schema([ColSpec(any_number, one.name, required=not one.optional) for one in contract.FEATURES]),
        outputs=Schema([ColSpec(DataType.double, heartline_onnx.OUTPUT)]),
    )


def input_example() -> pd.DataFrame:
    """Return two records: the contract's example, and the same without its optional values."""
    complete = {one.name: one.example for one in contract.FEATURES}
    incomplete = complete | {one.name: None for one in contract.FEATURES if one.optional}
    return pd.DataFrame([complete, incomplete], dtype=object)  # not NaN, which is no JSON
