"""The bundle of a registered version: verified against its manifest, loaded, and asked its reference records."""

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
# What serving cannot do without. A manifest may list more: beside the evaluation, none of it is fetched or opened here.
REQUIRED = ("contract.json", "model.onnx", "reference.json")
FILE_BYTES = 512 * 1024 * 1024  # of each of them, which is held in memory
PROBE_SECONDS = 30.0  # for all answers to the reference records: no request has waited for a slower model
TOLERANCE = 1e-5  # between an answer and what it should be
QUICK_SECONDS, QUICK_TRIES = 0.001, 5  # of CPU; a busy machine may take some of the tries longer
INPUT, OUTPUT = "record", "probabilities"
PLAIN_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)*")


class BundleError(Exception):
    """A bundle that must not serve; the text is the reason."""


class FileEntry(msgspec.Struct, frozen=True):
    """What a manifest says of one file."""

    sha256: str
    bytes: Annotated[int, Meta(ge=0)]


class About(msgspec.Struct, frozen=True):
    """What a manifest says of the model itself."""

    name: str
    family: str
    origin: str
    snapshot: str
    contract_version: str
    threshold: Annotated[float, Meta(ge=0, le=1)]


class Manifest(msgspec.Struct, frozen=True):
    """The list of a bundle's files, format 1."""

    format: Literal[1]
    files: dict[str, FileEntry]
    model: About


class Reference(msgspec.Struct, frozen=True):
    """Records, and the probability that the model must give each of them."""

    records: Annotated[list[dict[str, Any]], Meta(min_length=1)]
    probabilities: list[float]


def parse_manifest(data: bytes) -> Manifest:
    """Return the manifest in ``data``.

    Raises:
        BundleError: it is not a manifest, lacks a required file or has one that is too large, or names a path outside
            the bundle.
    """
    try:
        manifest = msgspec.json.decode(data, type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BundleError(f"{MANIFEST} is not a manifest of format 1: {error}") from error
    for name in manifest.files:
        if not PLAIN_NAME.fullmatch(name):
            raise BundleError(f"{MANIFEST} lists {name!r}, which is not a path inside the bundle")
    for name in REQUIRED:
        if name not in manifest.files:
            raise BundleError(f"{MANIFEST} does not list {name}")
        if manifest.files[name].bytes > FILE_BYTES:
            size = manifest.files[name].bytes
            raise BundleError(f"{MANIFEST} gives {name} {size} bytes; at most {FILE_BYTES} are fetched")
    return manifest


def digest_of(data: bytes) -> str:
    """Return the sha256 of ``data`` in hexadecimal. That of its manifest is the address of a bundle."""
    return hashlib.sha256(data).hexdigest()


def wanted(manifest: Manifest) -> tuple[str, ...]:
    """Return the names of the files that serving reads: the required ones, and the evaluation where there is one."""
    entry = manifest.files.get(evaluation.FILE)
    return (*REQUIRED, evaluation.FILE) if entry and entry.bytes <= evaluation.FILE_BYTES else REQUIRED


def read_verified(folder: Path, digest: str) -> dict[str, bytes]:
    """Return the manifest and the files that serving reads of the bundle in ``folder``, by name.

    The bytes returned are those that were checked: nothing is read a second time. The evaluation may be missing.

    Raises:
        BundleError: a required file is missing, or a file is not what the manifest says.
    """
    files = {MANIFEST: _read(folder / MANIFEST)}
    if digest_of(files[MANIFEST]) != digest:
        raise BundleError(f"digest of {MANIFEST} differs")
    manifest = parse_manifest(files[MANIFEST])
    for name in wanted(manifest):
        # a service that did not read evaluations left them out of its cache
        if name in REQUIRED or (folder / name).exists():
            files[name] = read_file(folder, name, manifest.files[name])
    return files


def read_file(folder: Path, name: str, entry: FileEntry) -> bytes:
    """Return the file ``name`` in ``folder``, which is as ``entry`` says.

    Raises:
        BundleError: it is missing, or something else.
    """
    if _size(folder / name) != entry.bytes:
        raise BundleError(f"size of {name} differs")
    data = _read(folder / name)
    if digest_of(data) != entry.sha256:
        raise BundleError(f"digest of {name} differs")
    return data


def read_folder(folder: Path) -> dict[str, bytes]:
    """Return what ``read_verified`` does, of a bundle whose address nobody has said.

    Raises:
        BundleError: a file is missing, or is not what the manifest says.
    """
    return read_verified(folder, digest_of(_read(folder / MANIFEST)))


class Model:
    """A model that may serve: its session, its contract, and what its manifest says of it.

    Make it in the process that serves: an onnxruntime session does not survive a fork.

    Args:
        files: verified files by name.

    Raises:
        BundleError: it cannot be loaded, or does not answer as its reference says.
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
        self.quick = self._is_quick()

    def probabilities(self, matrix: Matrix) -> NDArray[np.float32]:
        """Return P(disease) of each row of ``matrix``, float32 (n,).

        Raises:
            BundleError: an answer is not a probability.
        """
        return self._answer(matrix, None)

    def _answer(self, matrix: Matrix, options: onnxruntime.RunOptions | None) -> NDArray[np.float32]:
        found: NDArray[np.float32] = self._session.run([OUTPUT], {INPUT: matrix}, options)[0][:, 1]
        if len(found) != len(matrix):
            raise BundleError(f"model.onnx gives {len(found)} answers to {len(matrix)} records")
        if not bool(np.all((found >= 0) & (found <= 1))):
            # the shares of a forest's trees, added up in float32, may pass 1 (by 3.6e-6 for 329 trees) and miss 0
            if not bool(np.all((found >= -TOLERANCE) & (found <= 1 + TOLERANCE))):
                raise BundleError("model.onnx gives something that is not a probability")
            return found.clip(0, 1)
        return found

    def _is_quick(self) -> bool:
        """Return whether an answer to one record takes so little that nobody notices who waits for it."""
        for _ in range(QUICK_TRIES):
            begun = time.thread_time()
            self.probabilities(self.reference[:1])
            if time.thread_time() - begun <= QUICK_SECONDS:
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
            raise BundleError(f"reference.json is no list of records and probabilities: {error}") from error
        if len(reference.records) != len(reference.probabilities):
            raise BundleError("reference.json does not hold one probability for each record")
        for position, record in enumerate(reference.records):
            if errors := self.contract.errors(record, f"/records/{position}"):
                raise BundleError(f"reference.json has a record against the contract: {errors[0].pointer}")
        self.reference = self.contract.matrix(reference.records)
        answers = self._try(reference.records)
        worst = float(np.abs(answers - np.array(reference.probabilities)).max())
        if not worst <= TOLERANCE:
            raise BundleError(f"an answer is {worst:.2g} away from reference.json, more than {TOLERANCE:g}")
        # a model that cannot fill in what its contract lets be missing would fail on the first such request
        optional = dict.fromkeys(self.contract.optional)
        self._try([{**record, **optional} for record in reference.records])

    def _try(self, records: list[Record]) -> NDArray[np.float32]:
        options = onnxruntime.RunOptions()
        clock = threading.Timer(PROBE_SECONDS, setattr, (options, "terminate", True))
        clock.daemon = True
        clock.start()
        try:
            return self._answer(self.contract.matrix(records), options)
        except BundleError:
            raise
        except Exception as error:  # onnxruntime raises many types of its own
            if options.terminate:
                raise BundleError(f"model.onnx does not answer within {PROBE_SECONDS:g} seconds") from error
            raise BundleError(f"model.onnx cannot be run: {_first_line(error)}") from error
        finally:
            clock.cancel()


def _session(data: bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # the request threads are the parallelism
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # a model may name files of its own, relative to here: none of them was verified, so there is nothing to find
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", os.devnull)
    try:
        return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises many types of its own
        raise BundleError(f"model.onnx cannot be loaded: {_first_line(error)}") from error


def _contract(data: bytes) -> Contract:
    try:
        return Contract(msgspec.json.decode(data, type=dict[str, Any]))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ContractError) as error:
        raise BundleError(f"contract.json is no contract: {error}") from error


def _evaluation(files: dict[str, bytes], manifest: Manifest) -> Evaluation:
    name = evaluation.FILE
    if name in files:
        return evaluation.read(files[name])
    if name not in manifest.files:
        return Evaluation(reason=f"{MANIFEST} does not list {name}")
    size = manifest.files[name].bytes
    if size > evaluation.FILE_BYTES:
        return Evaluation(reason=f"{MANIFEST} gives {name} {size} bytes; at most {evaluation.FILE_BYTES} are read")
    return Evaluation(reason=f"{name} is missing", awaited=True)


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
