"""Exports a fitted pipeline into a bundle with everything that the service needs.

A bundle holds ``model.skops``, ``model.onnx``, ``contract.json``, ``reference.json``, ``evaluation.json`` and
``manifest.json`` with the sha256 of each. The same pipeline gives the same bytes.
"""

import hashlib
import io
import json
import math
import re
import zipfile
from collections.abc import KeysView, Mapping
from copy import copy
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime
import skl2onnx
import skops.io
from skl2onnx.common.data_types import FloatTensorType
from sklearn.pipeline import Pipeline
from skops.io._utils import SaveContext, get_state
from skops.io.exceptions import UntrustedTypesFoundException

from heartline import contract
from heartline.arrays import Floats
from heartline.errors import HeartlineError
from heartline.packaging import bundle
from heartline.training import families

if TYPE_CHECKING:
    from onnx import GraphProto

ONNX_OPSET = 18
TOLERANCE = 1e-5
PARITY_ROWS = 4096
REFERENCE_ROWS = 32
# Types in every pipeline of ours in addition to those that skops trusts; a family names further ones.
TRUSTED_TYPES = ("numpy.dtype", "sklearn.tree._tree.Tree")

_DIGITS = re.compile(r"\d+")


class ExportError(HeartlineError):
    """The predictions of an export differ from the model's, or the model cannot be stored."""


def build_bundle(pipeline: Pipeline, *, about: Mapping[str, Any], evaluation: Mapping[str, Any], seed: int) -> bytes:
    """Return the bundle of a fitted pipeline as a tar archive.

    Args:
        pipeline: fitted on (n, 13) features.
        about: name, family, origin and snapshot of the model.
        evaluation: its scores.
        seed: of the rows on which the export is compared with the pipeline.

    Raises:
        ExportError: predictions of the ONNX model or of the stored pipeline differ from the pipeline's, or the stored
            pipeline cannot be read.
    """
    onnx_model = to_onnx(pipeline)
    stored = to_skops(pipeline)
    rows = legal_rows(PARITY_ROWS, seed)
    check_parity(pipeline, onnx_model, rows)
    reference = rows[:REFERENCE_ROWS]
    probabilities = families.probability(pipeline, reference)
    check_stored(probabilities, stored, reference)
    files = {
        "contract.json": to_json(contract.json_schema()),
        "evaluation.json": to_json(evaluation),
        "model.onnx": onnx_model,
        "model.skops": stored,
        "reference.json": to_json(
            {
                "records": [_record(row) for row in reference],
                "probabilities": probabilities.tolist(),
            }
        ),
    }
    manifest = {
        "format": 1,
        "files": {
            name: {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)} for name, data in files.items()
        },
        "model": {**about, "contract_version": contract.VERSION, "threshold": contract.THRESHOLD},
    }
    return bundle.pack({**files, "manifest.json": to_json(manifest)})


def to_onnx(pipeline: Pipeline) -> bytes:
    """Return the pipeline as ONNX: input ``record`` float32 (n, 13), output ``probabilities`` float32 (n, 2).

    The same pipeline gives the same bytes. skl2onnx puts a counter into names that continues from one export of a
    process to the next, so names are renumbered. It also lists the operator sets in the order of a Python set, so they
    are sorted.
    """
    pipeline = _without_parts(pipeline)
    model = skl2onnx.to_onnx(
        pipeline,
        initial_types=[("record", FloatTensorType([None, len(contract.FEATURES)]))],
        options={id(pipeline): {"zipmap": False}},
        target_opset=ONNX_OPSET,
    )
    opsets = sorted(model.opset_import, key=lambda one: one.domain)
    del model.opset_import[:]
    model.opset_import.extend(opsets)
    kept = {one.name: one.name for one in (*model.graph.input, *model.graph.output)}
    _number_names(model.graph, {"": "", **kept})  # an empty name stands for an omitted input
    return bytes(model.SerializeToString())


def _without_parts(pipeline: Pipeline) -> Pipeline:
    """Return a pipeline in which skl2onnx does not search a forest's trees and their samples for names of options.

    That would take it longer than the conversion. It searches lists, not arrays, and the conversion reads both alike.
    """
    model = copy(pipeline[-1])
    if isinstance(getattr(model, "estimators_", None), list):
        model.estimators_ = np.array(model.estimators_, dtype=object)
        vars(model).pop("_n_samples", None)  # without it, there are no ``estimators_samples_``
    return Pipeline([*pipeline.steps[:-1], (pipeline.steps[-1][0], model)])


def to_skops(pipeline: Pipeline) -> bytes:
    """Return the pipeline in the skops format, the same bytes for the same pipeline.

    skops names objects by their memory address and writes time stamps into the archive. Both are replaced by values
    that depend on the content only. ``skops.io.dumps`` also indents its JSON, which takes Python longer than all the
    rest: here skops collects the state, by functions that are not public, and it is written without. ``check_stored``
    reads the result with the public ``skops.io.loads``.
    """
    files = _Files()
    context = SaveContext(zip_file=files)
    state = {**get_state(pipeline, context), "protocol": context.protocol, "_skops_version": skops.__version__}
    schema = json.dumps(state)
    numbers: dict[str, str] = {}

    def renumber(match: re.Match[str]) -> str:
        return match[1] + numbers.setdefault(match[2], str(len(numbers) + 1))

    def rename(match: re.Match[str]) -> str:
        return f'{match[1]}"{_renamed(match[2], numbers)}"'

    schema = re.sub(r'("__id__": )(\d+)', renumber, schema)
    schema = re.sub(r'("file": )"([^"]*)"', rename, schema)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as target:
        for name in sorted(files, key=lambda name: int(numbers.get(name.split(".")[0], 0))):
            target.writestr(zipfile.ZipInfo(_renamed(name, numbers)), files[name], zipfile.ZIP_DEFLATED)
        target.writestr(zipfile.ZipInfo("schema.json"), schema, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


class _Files(dict[str, bytes]):
    """What skops calls of a ``ZipFile``, for files that are kept in memory."""

    def writestr(self, name: str, data: bytes | memoryview) -> None:
        """Keep a file."""
        self[name] = bytes(data)

    def namelist(self) -> KeysView[str]:
        """Return the files' names."""
        return self.keys()


def trusted_types() -> list[str]:
    """Return the types that our pipelines contain in addition to those that skops trusts; never taken from a file."""
    return sorted({*TRUSTED_TYPES, *(name for family in families.FAMILIES.values() for name in family.trusted)})


def from_skops(data: bytes) -> Pipeline:
    """Return the pipeline in ``data``; only expected types are instantiated.

    Raises:
        ExportError: it contains another type.
    """
    trusted = trusted_types()
    try:
        return skops.io.loads(data, trusted=trusted)
    except UntrustedTypesFoundException as error:
        raise ExportError(
            f"the stored pipeline was not loaded: {str(error).splitlines()[0].rstrip('.')}",
            where="model.skops",
            expected=f"only the types that skops trusts and {', '.join(trusted)}",
            hint="if a family needs these types, add them to its entry in training.families.FAMILIES; else do not "
            "load this file",
        ) from error


def check_stored(probabilities: Floats, stored: bytes, rows: Floats) -> None:
    """Load a stored pipeline and compare its predictions for (n, 13) rows with the original's: (n,).

    Raises:
        ExportError: it cannot be loaded, or its predictions differ, even in the last bit.
    """
    predictions = families.probability(from_skops(stored), rows)
    if not np.array_equal(predictions, probabilities):
        raise ExportError(
            "the predictions of the stored pipeline differ from the model's",
            where="model.skops",
            expected=f"equal probabilities, to the last bit, for each of {len(rows)} legal rows",
            hint="look for a step of the pipeline that skops stores incompletely",
        )


def legal_rows(count: int, seed: int) -> Floats:
    """Return ``count`` random rows that the contract allows, (count, 13), some optional values missing.

    They are drawn uniformly from the possible ranges. Most are unlike any patient's, so they reach parts of the model
    that real records do not.
    """
    random = np.random.default_rng(seed)
    rows = np.empty((count, len(contract.FEATURES)))
    for position, column in enumerate(contract.FEATURES):
        if column.codes:
            values = random.choice(np.array(list(column.codes), "float64"), count)
        elif column.whole:
            values = random.integers(int(column.minimum), int(column.maximum) + 1, count).astype("float64")
        else:
            values = random.integers(int(column.minimum * 10), int(column.maximum * 10) + 1, count) / 10
        if column.optional:
            values = np.where(random.random(count) < 0.1, np.nan, values)
        rows[:, position] = values
    return rows


def check_parity(pipeline: Pipeline, onnx_model: bytes, rows: Floats) -> None:
    """Compare both models on ``rows``: probabilities may differ by 1e-5, labels must be equal.

    Raises:
        ExportError: they differ.
    """
    session = onnxruntime.InferenceSession(onnx_model, providers=["CPUExecutionProvider"])
    exported = session.run(["probabilities"], {"record": rows.astype("float32")})[0][:, 1]
    expected = families.probability(pipeline, rows)
    differences = np.abs(exported - expected)
    # At the threshold a difference in the last bit changes the label; that does not make it another model.
    decided = np.abs(expected - contract.THRESHOLD) > TOLERANCE
    flipped = decided & ((exported >= contract.THRESHOLD) != (expected >= contract.THRESHOLD))
    if differences.max() > TOLERANCE or flipped.any():
        worst = int(differences.argmax())
        raise ExportError(
            f"probabilities of the ONNX export differ from the model's by up to {differences.max():.2g}, "
            f"{int(flipped.sum())} labels differ",
            where=f"row {_record(rows[worst])}",
            expected=f"differences of at most {TOLERANCE:g}, and equal labels, for each of {len(rows)} legal rows",
            hint="look for a step of the pipeline that is not exact in float32",
        )


def to_json(value: Any) -> bytes:
    """Return ``value`` as indented JSON with sorted keys."""
    return json.dumps(value, indent=1, sort_keys=True, allow_nan=False).encode() + b"\n"


def _number_names(graph: "GraphProto", names: dict[str, str]) -> None:
    """Number the names in a graph and its subgraphs in order of appearance; ``names`` maps old names to new ones."""

    def new(name: str) -> str:
        return names.setdefault(name, f"{_DIGITS.sub('', name)}_{len(names)}")

    for one in (*graph.input, *graph.initializer, *graph.value_info, *graph.output):
        one.name = new(one.name)
    for node in graph.node:
        node.name = new(node.name)
        node.input[:], node.output[:] = [new(name) for name in node.input], [new(name) for name in node.output]
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                _number_names(inner, names)


def _renamed(name: str, numbers: Mapping[str, str]) -> str:
    stem, dot, suffix = name.partition(".")
    return numbers.get(stem, stem) + dot + suffix


def _record(row: Floats) -> dict[str, float | int | None]:
    values: dict[str, float | int | None] = {}
    for column, value in zip(contract.FEATURES, row.tolist(), strict=True):
        values[column.name] = None if math.isnan(value) else int(value) if column.whole else value
    return values
