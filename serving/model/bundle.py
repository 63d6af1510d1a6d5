"""The bundle of a registered version: verified against its manifest, loaded, and tested with its reference records."""

import hashlib
import os
import re
import threading
import time
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
import onnxruntime
from msgspec import Meta
from numpy.typing import NDArray

from serving.model import evaluation
from serving.model.evaluation import Evaluation
from serving.model.records import Contract, ContractError, Matrix, Record

MANIFEST = "manifest.json"
# A manifest may list more files. Except for the evaluation, they are neither fetched nor opened here.
REQUIRED = ("contract.json", "model.onnx", "reference.json")
# Bytes of each required file, which is held in memory, and numbers of what is in them. Real ones have 2 kB of contract,
# 10 kB of reference, and up to 100 MB of model.
FILE_BYTES = {"contract.json": 1024 * 1024, "model.onnx": 512 * 1024 * 1024, "reference.json": 4 * 1024 * 1024}
MANIFEST_FILES = 1_000
REFERENCE_RECORDS = 1_000
CONTRACT_FIELDS = 1_000
PROBE_TIMEOUT_SECONDS = 30.0  # for the predictions of all reference records
TOLERANCE = 1e-5  # between a probability and its reference
FAST_PATH_SECONDS, FAST_PATH_TRIES = 0.001, 5  # CPU time of one record; another process may slow down some of the tries
INPUT, OUTPUT = "record", "probabilities"
SAFE_PATH = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)*")


class BundleError(Exception):
    """A bundle that must not be served; the text is the reason."""


class FileEntry(msgspec.Struct, frozen=True):
    """The entry of one file in a manifest."""

    sha256: str
    bytes: Annotated[int, Meta(ge=0)]


class About(msgspec.Struct, frozen=True):
    """The description of the model in a manifest."""

    name: str
    family: str
    origin: str
    snapshot: str
    contract_version: str
    threshold: Annotated[float, Meta(ge=0, le=1)]


class Manifest(msgspec.Struct, frozen=True):
    """The list of a bundle's files, format 1."""

    format: Literal[1]
    files: Annotated[dict[str, FileEntry], Meta(max_length=MANIFEST_FILES)]
    model: About


class Reference(msgspec.Struct, frozen=True):
    """Records, and the probability that the model must return for each."""

    records: Annotated[
        list[Annotated[dict[str, Any], Meta(max_length=CONTRACT_FIELDS)]],
        Meta(min_length=1, max_length=REFERENCE_RECORDS),
    ]
    probabilities: Annotated[list[float], Meta(max_length=REFERENCE_RECORDS)]


def parse_manifest(data: bytes) -> Manifest:
    """Return the manifest in ``data``.

    Raises:
        BundleError: the data is not a manifest, a required file is missing or too large, or a path is outside of the
            bundle.
    """
    try:
        manifest = msgspec.json.decode(data, type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BundleError(f"{MANIFEST} is not a manifest of format 1: {error}") from error
    for name in manifest.files:
        if not SAFE_PATH.fullmatch(name):
            raise BundleError(f"{MANIFEST} lists {name!r}, which is not a path inside the bundle")
    for name in REQUIRED:
        if name not in manifest.files:
            raise BundleError(f"{MANIFEST} does not list {name}")
        if (size := manifest.files[name].bytes) > FILE_BYTES[name]:
            raise BundleError(f"{MANIFEST} says that {name} has {size} bytes; at most {FILE_BYTES[name]} are fetched")
    return manifest


def digest_of(data: bytes) -> str:
    """Return the sha256 of ``data`` in hexadecimal. The digest of the manifest is the address of a bundle."""
    return hashlib.sha256(data).hexdigest()


def files_to_read(manifest: Manifest) -> tuple[str, ...]:
    """Return the names of the files that serving reads: the required ones, and the evaluation if there is one."""
    entry = manifest.files.get(evaluation.FILE)
    return (*REQUIRED, evaluation.FILE) if entry and entry.bytes <= evaluation.FILE_BYTES else REQUIRED


def read_verified(folder: Path, digest: str) -> dict[str, bytes]:
    """Return the manifest of the bundle in ``folder`` and the files that serving reads, by name.

    The returned bytes are the verified ones: no file is read a second time. The evaluation may be missing.

    Raises:
        BundleError: a required file is missing, or a file differs from the manifest.
    """
    files = {MANIFEST: _read(folder / MANIFEST)}
    if digest_of(files[MANIFEST]) != digest:
        raise BundleError(f"digest of {MANIFEST} differs")
    manifest = parse_manifest(files[MANIFEST])
    for name in files_to_read(manifest):
        # earlier services did not fetch evaluations: their caches lack the file
        if name in REQUIRED or (folder / name).exists():
            files[name] = read_file(folder, name, manifest.files[name])
    return files


def read_file(folder: Path, name: str, entry: FileEntry) -> bytes:
    """Return the content of the file ``name`` in ``folder``, verified against ``entry``.

    Raises:
        BundleError: the file is missing or differs.
    """
    if _size(folder / name) != entry.bytes:
        raise BundleError(f"size of {name} differs")
    data = _read(folder / name)
    if digest_of(data) != entry.sha256:
        raise BundleError(f"digest of {name} differs")
    return data


def read_folder(folder: Path) -> dict[str, bytes]:
    """Return the result of ``read_verified`` for a bundle whose digest is not known in advance.

    Raises:
        BundleError: a file is missing or differs from the manifest.
    """
    return read_verified(folder, digest_of(_read(folder / MANIFEST)))


class Model:
    """A model that passed all checks: its session, its contract and its description.

    Create it in the worker process: an onnxruntime session does not survive a fork.

    Args:
        files: verified files by name.

    Raises:
        BundleError: it cannot be loaded, or its predictions differ from its reference.
    """

    def __init__(self, files: dict[str, bytes]) -> None:
        manifest = parse_manifest(files[MANIFEST])
        self.about = manifest.model
        self.evaluation = _evaluation(files, manifest)
        self.digest = digest_of(files[MANIFEST])
        self.contract = _contract(files["contract.json"])
        if self.contract.version != self.about.contract_version:
            raise BundleError(f"contract.json and {MANIFEST} name different versions of the contract")
        self._session = _session(files["model.onnx"])
        self._check_signature()
        self._probe(files["reference.json"])
        self.suits_fast_path = self._is_fast()

    def probabilities(self, matrix: Matrix) -> NDArray[np.float32]:
        """Return P(disease) of each row of ``matrix`` (n, features), float32 (n,).

        Raises:
            BundleError: a value is not a probability.
        """
        return self._run(matrix, None)

    def _run(self, matrix: Matrix, options: onnxruntime.RunOptions | None) -> NDArray[np.float32]:
        # a single row takes another path through ONNX, with another last bit than the same row in a list
        asked = matrix.repeat(2, axis=0) if len(matrix) == 1 else matrix
        found: NDArray[np.float32] = self._session.run([OUTPUT], {INPUT: asked}, options)[0][:, 1]
        if len(found) != len(asked):
            raise BundleError(f"model.onnx returns {len(found)} predictions for {len(asked)} records")
        found = found[: len(matrix)]
        if not bool(np.all((found >= 0) & (found <= 1))):
            # the float32 sum over a forest's trees may exceed 1 (by 3.6e-6 for 329 trees) or fall below 0
            if not bool(np.all((found >= -TOLERANCE) & (found <= 1 + TOLERANCE))):
                raise BundleError("model.onnx returns a value that is not a probability")
            return found.clip(0, 1)
        return found

    def _is_fast(self) -> bool:
        """Return whether one record takes so little CPU time that the event loop of a worker can run the model."""
        for _ in range(FAST_PATH_TRIES):
            start = time.thread_time()
            self.probabilities(self.reference[:1])
            if time.thread_time() - start <= FAST_PATH_SECONDS:
                return True
        return False

    def _check_signature(self) -> None:
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        width = len(self.contract.features)
        if [(i.name, i.type, i.shape[1:]) for i in inputs] != [(INPUT, "tensor(float)", [width])]:
            raise BundleError(f"model.onnx does not take one float matrix {INPUT!r} of {width} columns")
        if isinstance(inputs[0].shape[0], int):
            raise BundleError(f"model.onnx takes {inputs[0].shape[0]} records at a time, not any number")
        if (OUTPUT, "tensor(float)") not in [(o.name, o.type) for o in outputs]:
            raise BundleError(f"model.onnx has no float output {OUTPUT!r}")

    def _probe(self, data: bytes) -> None:
        try:
            reference = msgspec.json.decode(data, type=Reference)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise BundleError(f"reference.json is not a list of records and probabilities: {error}") from error
        if len(reference.records) != len(reference.probabilities):
            raise BundleError("reference.json does not have one probability for each record")
        for position, record in enumerate(reference.records):
            if errors := self.contract.errors(record, f"/records/{position}"):
                raise BundleError(f"reference.json has a record that violates the contract: {errors[0].pointer}")
        self.reference = self.contract.matrix(reference.records)
        probabilities = self._run_limited(reference.records)
        worst = float(np.abs(probabilities - np.array(reference.probabilities)).max())
        if not worst <= TOLERANCE:
            raise BundleError(f"a prediction differs from reference.json by {worst:.2g}, more than {TOLERANCE:g}")
        # a model that cannot impute the optional fields would fail on the first request without them
        optional = dict.fromkeys(self.contract.optional)
        self._run_limited([{**record, **optional} for record in reference.records])

    def _run_limited(self, records: list[Record]) -> NDArray[np.float32]:
        options = onnxruntime.RunOptions()
        timer = threading.Timer(PROBE_TIMEOUT_SECONDS, setattr, (options, "terminate", True))
        timer.daemon = True
        timer.start()
        try:
            return self._run(self.contract.matrix(records), options)
        except BundleError:
            raise
        except Exception as error:  # onnxruntime has many exception types
            if options.terminate:
                raise BundleError(f"model.onnx does not finish within {PROBE_TIMEOUT_SECONDS:g} seconds") from error
            raise BundleError(f"model.onnx cannot be run: {_first_line(error)}") from error
        finally:
            timer.cancel()


def _session(data: bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # the request threads are the parallelism
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # a model may refer to external files; none of them is verified, so the folder to look in does not exist
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", os.devnull)
    try:
        return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime has many exception types
        raise BundleError(f"model.onnx cannot be loaded: {_first_line(error)}") from error


def _contract(data: bytes) -> Contract:
    try:
        contract = Contract(msgspec.json.decode(data, type=dict[str, Any]))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ContractError) as error:
        raise BundleError(f"contract.json is not a contract: {error}") from error
    if (fields := len(contract.properties)) > CONTRACT_FIELDS:
        raise BundleError(f"contract.json has {fields} fields; at most {CONTRACT_FIELDS} are supported")
    return contract


def _evaluation(files: dict[str, bytes], manifest: Manifest) -> Evaluation:
    name = evaluation.FILE
    if name in files:
        return evaluation.read(files[name])
    if name not in manifest.files:
        return Evaluation(reason=f"{MANIFEST} does not list {name}")
    size = manifest.files[name].bytes
    if size > evaluation.FILE_BYTES:
        return Evaluation(
            reason=f"{MANIFEST} says that {name} has {size} bytes; at most {evaluation.FILE_BYTES} are read"
        )
    return Evaluation(reason=f"{name} is missing", pending=True)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError as error:
        raise BundleError(f"{path.name} is missing") from error


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise BundleError(f"{path.name} is missing") from error


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
