"""The model that scores: a version's verified ONNX, with the contract and the threshold that it carries."""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from heartline.arrays import Flags
from heartline.errors import RegistryRefusedError
from heartline.packaging.bundle import pack, unpack
from heartline.scoring.record_contract import RecordContract

MANIFEST = "manifest.json"
NEEDED = ("contract.json", "model.onnx")
TOLERANCE = 1e-5  # by which a float32 sum over a forest's trees may leave 0 to 1
INPUT, OUTPUT = "record", "probabilities"
_ROWS = 8192  # scored at a time


@dataclass(frozen=True)
class About:
    """What a result says of the model.

    Attributes:
        version: the registered version.
        digest: sha256 of the bundle's manifest, by which the service and approvals name the bundle.
        snapshot: digest of the training data.
        family: of the model.
        contract: version of its contract.
        threshold: at or above which a probability is heart disease.
    """

    version: str
    digest: str
    snapshot: str
    family: str
    contract: str
    threshold: float


def packed(files: Mapping[str, bytes]) -> bytes:
    """Return what scoring needs of a version's files as one archive.

    Raises:
        RegistryRefusedError: a file is missing, or differs from the manifest.
    """
    _verify(files)
    return pack({name: files[name] for name in (MANIFEST, *NEEDED)})


class ScoringModel:
    """A model whose files were verified.

    Args:
        files: of the version, by name.
        version: its number.

    Raises:
        RegistryRefusedError: a file is missing or differs from the manifest, or the model cannot be loaded.
    """

    def __init__(self, files: Mapping[str, bytes], version: str) -> None:
        about = _verify(files)["model"]
        self.contract = RecordContract(json.loads(files["contract.json"]))
        self.about = About(
            version=version,
            digest=hashlib.sha256(files[MANIFEST]).hexdigest(),
            snapshot=str(about["snapshot"]),
            family=str(about["family"]),
            contract=self.contract.version,
            threshold=float(about["threshold"]),
        )
        self._session = _session(files["model.onnx"])

    @classmethod
    def unpacked(cls, data: bytes, version: str) -> "ScoringModel":
        """Return the model in the archive that ``packed`` made."""
        return cls(unpack(data), version)

    def probabilities(self, matrix: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the probability of each row (n, features), float32 (n,): the bits of the service's answers.

        Raises:
            RegistryRefusedError: the model returns a value that is not a probability.
        """
        found = np.empty(len(matrix), np.float32)
        for start in range(0, len(matrix), _ROWS):
            rows = matrix[start : start + _ROWS]
            # one row alone takes another path through ONNX, with another last bit; the service pairs it, too
            asked = np.repeat(rows, 2, axis=0) if len(rows) == 1 else rows
            found[start : start + len(rows)] = self._session.run([OUTPUT], {INPUT: asked})[0][: len(rows), 1]
        if not bool(np.all((found >= -TOLERANCE) & (found <= 1 + TOLERANCE))):
            raise _refused("the model returns a value that is not a probability", "model.onnx")
        return found.clip(0, 1)

    def positive(self, probabilities: NDArray[np.float32]) -> Flags:
        """Return whether each probability is heart disease."""
        found: Flags = probabilities >= self.about.threshold
        return found


def _verify(files: Mapping[str, bytes]) -> dict[str, Any]:
    """Return the manifest after comparing the needed files with it."""
    try:
        manifest: dict[str, Any] = json.loads(files[MANIFEST])
        expected = {name: str(manifest["files"][name]["sha256"]) for name in NEEDED}
        for name in ("snapshot", "family", "threshold"):
            manifest["model"][name]
    except KeyError as error:
        raise _refused(f"{error.args[0]} is missing", MANIFEST) from None
    except (TypeError, ValueError):
        raise _refused(f"{MANIFEST} cannot be read", MANIFEST) from None
    for name, digest in expected.items():
        if name not in files:
            raise _refused(f"{name} is missing", name)
        if hashlib.sha256(files[name]).hexdigest() != digest:
            raise _refused(f"{name} differs from its digest in {MANIFEST}", name)
    return manifest


def _session(data: bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # as the service; chunks are the parallelism
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # no file beside the verified one is read
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", os.devnull)
    try:
        return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime has many exception types
        first = str(error).partition("\n")[0]
        raise _refused(f"the model cannot be loaded: {first}", "model.onnx") from None


def _refused(what: str, name: str) -> RegistryRefusedError:
    return RegistryRefusedError(
        what,
        where=f"{name} of the version",
        expected="the files that were registered, each with its digest in the manifest",
        hint="score with another version, or train again, which repairs it",
    )
