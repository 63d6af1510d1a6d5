"""A version as MLflow's ``python_function``: the bundle's ONNX model behind ``predict(frame)``.

The registry copies this file into each version, below ``code/``, and MLflow imports it from there. So it needs MLflow,
numpy, pandas and onnxruntime, but neither scikit-learn nor Heartline, and nothing is unpickled.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pandas as pd

OUTPUT = "probability"
SHOWN_ROWS = 3


class OnnxModel:
    """The model of a bundle, with the checks of its contract.

    Args:
        onnx_model: the bundle's ``model.onnx``: input ``record`` float32 (n, 13), output ``probabilities`` (n, 2).
        contract: the bundle's ``contract.json``.
    """

    def __init__(self, onnx_model: bytes, contract: Mapping[str, Any]) -> None:
        self._session = onnxruntime.InferenceSession(onnx_model, providers=["CPUExecutionProvider"])
        self._contract = contract

    def predict(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Return the probability of heart disease for each record.

        Args:
            frame: n records with the contract's columns, whole or decimal numbers. An optional column may be missing,
                and so may its values.

        Returns:
            The column ``probability``, float64 (n,), with the index of ``frame``.

        Raises:
            ValueError: a column is missing, or a value is not allowed by the contract.
        """
        matrix = np.column_stack([self._column(frame, name) for name in self._contract["x-features"]])
        if not len(matrix):
            return pd.DataFrame({OUTPUT: np.empty(0)}, index=frame.index)
        found = self._session.run(["probabilities"], {"record": matrix.astype(np.float32)})[0]
        return pd.DataFrame({OUTPUT: found[:, 1].astype(np.float64)}, index=frame.index)

    def _column(self, frame: pd.DataFrame, name: str) -> np.ndarray[Any, np.dtype[np.float64]]:
        field = self._contract["properties"][name]
        if name not in frame.columns:
            if name in self._contract["required"]:
                raise ValueError(f"the column {name} is missing")
            return np.full(len(frame), np.nan)
        bad = [not _is_number(value) for value in frame[name]]
        values = np.array(
            [np.nan if no or pd.isna(one) else float(one) for no, one in zip(bad, frame[name], strict=True)]
        )
        refused = np.array(bad, dtype=bool) | ~_allowed(values, field)
        if refused.any():
            rows = ", ".join(str(row) for row in np.flatnonzero(refused)[:SHOWN_ROWS])
            raise ValueError(
                f"the column {name} has {int(refused.sum())} values that the contract does not allow "
                f"(rows {rows} from 0); expected {_described(field)}"
            )
        return values


def _is_number(value: object) -> bool:
    missing = value is None or value is pd.NA
    return missing or (
        isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool | np.bool_)
    )


def _allowed(
    values: np.ndarray[Any, np.dtype[np.float64]], field: Mapping[str, Any]
) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Return for each value whether the contract's ``field`` allows it; NaN stands for a missing value."""
    missing = np.isnan(values)
    if "enum" in field:
        codes = [float(code) for code in field["enum"] if code is not None]
        return np.where(missing, None in field["enum"], np.isin(values, codes)).astype(bool)
    inside = (values >= field["minimum"]) & (values <= field["maximum"])
    if "integer" in field["type"]:
        inside &= values == np.round(values)
    return np.where(missing, "null" in field["type"], inside).astype(bool)


def _described(field: Mapping[str, Any]) -> str:
    if "enum" in field:
        text = "one of " + ", ".join(str(code) for code in field["enum"] if code is not None)
        return f"{text}, or no value" if None in field["enum"] else text
    kind = "a whole number" if "integer" in field["type"] else "a number"
    text = f"{kind} from {field['minimum']} to {field['maximum']}"
    return f"{text}, or no value" if "null" in field["type"] else text


def _load_pyfunc(path: str) -> OnnxModel:
    """Return the model in the folder of a version; MLflow calls this.

    Raises:
        ValueError: a file differs from its digest in the manifest.
    """
    folder = Path(path)
    manifest = json.loads((folder / "manifest.json").read_bytes())
    files = {name: (folder / name).read_bytes() for name in ("model.onnx", "contract.json")}
    for name, data in files.items():
        if hashlib.sha256(data).hexdigest() != manifest["files"][name]["sha256"]:
            raise ValueError(f"{name} differs from its digest in manifest.json: download the version again")
    return OnnxModel(files["model.onnx"], json.loads(files["contract.json"]))
