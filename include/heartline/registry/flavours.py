"""The MLflow flavours of a version: ``python_function`` on its ONNX model, and ``sklearn`` on its skops file.

Both read the bundle's own files, and neither a pickle.
"""

import json
import platform
from collections.abc import Mapping
from importlib.metadata import version as installed
from pathlib import Path

import mlflow
import mlflow.pyfunc
import pandas as pd
import yaml
from mlflow.models import Model, ModelSignature
from mlflow.types.schema import AnyType, ColSpec, DataType, Schema

from heartline import contract
from heartline.packaging import export, heartline_onnx

PACKAGES = ("mlflow", "numpy", "onnxruntime", "pandas", "scikit-learn", "skops")
BUILDERS = ("pip", "setuptools", "wheel")
CODE = "code"  # folder of the loader, below the version's
SKOPS = "model.skops"
CONDA, PYTHON_ENV, REQUIREMENTS = "conda.yaml", "python_env.yaml", "requirements.txt"
EXAMPLE, SERVING_EXAMPLE = "input_example.json", "serving_input_example.json"


def save(bundle: Mapping[str, bytes], target: Path, *, run_id: str, model_id: str) -> None:
    """Write the files with which MLflow loads a version; the caller writes the bundle's own files beside them.

    Args:
        bundle: the bundle's files by name.
        target: a folder that does not exist.
        run_id: the run that trained it.
        model_id: of its logged model.
    """
    loader = Path(heartline_onnx.__file__)
    (target / CODE).mkdir(parents=True)
    (target / CODE / loader.name).write_bytes(loader.read_bytes())
    for name, text in {**_environment(), **_examples()}.items():
        (target / name).write_text(text)
    # As ``mlflow.sklearn.save_model`` does, but that reads, checks and writes the whole model to make these files.
    model = Model(
        run_id=run_id,
        model_id=model_id,
        metadata={"contract_version": contract.VERSION},
        signature=signature(),
        saved_input_example_info={
            "artifact_path": EXAMPLE,
            "pandas_orient": "split",
            "serving_input_path": SERVING_EXAMPLE,
            "type": "dataframe",
        },
        model_size_bytes=sum(map(len, bundle.values())),
    )
    model.add_flavor(
        "sklearn",
        pickled_model=SKOPS,
        sklearn_version=installed("scikit-learn"),
        serialization_format="skops",
        code=None,
        skops_trusted_types=export.trusted_types(),
    )
    # Instead of scikit-learn's labels: what the service answers, and as it does, also for missing values.
    mlflow.pyfunc.add_to_model(model, loader_module=loader.stem, code=CODE, conda_env=CONDA, python_env=PYTHON_ENV)
    model.save(target / "MLmodel")


def _environment() -> dict[str, str]:
    """Return the files by which MLflow installs what a version needs."""
    packages = [f"{name}=={installed(name)}" for name in PACKAGES]
    python = platform.python_version()
    conda = {
        "name": contract.MODEL_NAME,
        "channels": ["conda-forge"],
        "dependencies": [f"python={python}", "pip", {"pip": packages}],
    }
    virtualenv = {"python": python, "build_dependencies": list(BUILDERS), "dependencies": [f"-r {REQUIREMENTS}"]}
    return {
        CONDA: yaml.safe_dump(conda, sort_keys=True),
        PYTHON_ENV: yaml.safe_dump(virtualenv, sort_keys=False),
        REQUIREMENTS: "\n".join(packages),
    }


def _examples() -> dict[str, str]:
    """Return the input example as a frame for ``predict``, and as the body of a request to ``mlflow models serve``."""
    split = input_example().to_dict(orient="split", index=False)
    return {EXAMPLE: json.dumps(split), SERVING_EXAMPLE: json.dumps({"dataframe_split": split}, indent=2)}


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
