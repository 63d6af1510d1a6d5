"""The rows of the output: one for each row of the input, with its answer or the reason why it was refused."""

import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from heartline.scoring.model import ScoringModel
from heartline.scoring.reading.batches import Batch
from heartline.scoring.reading.layout import Layout
from heartline.scoring.record_contract import Error, sentence


@dataclass
class Counts:
    """What a chunk or a run has scored.

    Attributes:
        rows: all rows.
        refused: rows that were refused.
        positive: rows that are heart disease.
        reasons: how many rows were refused for each reason, such as ``age: the field is missing``.
    """

    rows: int = 0
    refused: int = 0
    positive: int = 0
    reasons: Counter[str] = field(default_factory=Counter)

    def add(self, other: "Counts") -> None:
        """Add what was counted elsewhere."""
        self.rows += other.rows
        self.refused += other.refused
        self.positive += other.positive
        self.reasons.update(other.reasons)


def score(batch: Batch, model: ScoringModel, layout: Layout, counts: Counts) -> pa.Table:
    """Return the output's rows for rows of the input, in their order, and count them."""
    checked = model.contract.check(batch.fields, batch.read, batch.unknown)
    accepted = np.flatnonzero(~checked.refused)
    matrix = checked.matrix if len(accepted) == batch.read else checked.matrix[accepted]
    probabilities = model.probabilities(matrix)
    positive = model.positive(probabilities)
    places, patterns = model.contract.imputed(matrix)
    errors = checked.errors
    if batch.good is not None:
        accepted = batch.good[accepted]
        errors = {int(batch.good[position]): found for position, found in errors.items()} | dict(batch.malformed)
    counts.rows += batch.count
    counts.refused += len(errors)
    counts.positive += int(positive.sum())
    for found in errors.values():
        counts.reasons[sentence(found)] += 1
    spread = _Spread(accepted, batch.count)
    about = model.about
    columns = {
        "row": batch.row_numbers(),
        **{name: _own(cells, batch) for (_, name), cells in zip(layout.keys, batch.keys, strict=True)},
        "probability": spread.of(pa.array(probabilities)),
        "has_heart_disease": spread.of(pa.array(positive)),
        "imputed": spread.of(pa.DictionaryArray.from_arrays(pa.array(places), pa.array(patterns, pa.string()))),
        "version": _constant(about.version, batch.count),
        "snapshot": _constant(about.snapshot, batch.count),
        "reason": _texts(errors, batch.count, sentence),
        "errors": _texts(errors, batch.count, lambda one: json.dumps(one, ensure_ascii=False)),
    }
    return pa.table(columns)


class _Spread:
    """Puts values of some rows at their positions among all rows; the others are null."""

    def __init__(self, positions: np.ndarray, count: int) -> None:
        self._places = None
        if len(positions) != count:
            places = np.full(count, -1, np.int64)
            places[positions] = np.arange(len(positions))
            self._places = pa.array(places, mask=places < 0)

    def of(self, values: pa.Array) -> pa.Array:
        return values if self._places is None else values.take(self._places)


def _own(cells: pa.Array, batch: Batch) -> pa.Array:
    return cells if batch.good is None else _Spread(batch.good, batch.count).of(cells)


def _constant(text: str, count: int) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(count, np.int32)), pa.array([text]))


def _texts(errors: Mapping[int, list[Error]], count: int, text: Callable[[list[Error]], str]) -> pa.Array:
    if not errors:
        return pa.nulls(count, pa.string())
    positions = np.array(sorted(errors), np.int64)
    values = pa.array([text(errors[position]) for position in positions.tolist()], pa.string())
    return _Spread(positions, count).of(values)


def plain(table: pa.Table) -> pa.Table:
    """Return rows whose columns can be written as CSV: no dictionaries, and nested values as JSON."""
    columns = []
    for name in table.column_names:
        column = table[name]
        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        if pa.types.is_nested(column.type) or pa.types.is_binary(column.type):
            column = pa.chunked_array([pa.array([None if one is None else str(one) for one in column.to_pylist()])])
        columns.append(column)
    return pa.table(columns, names=table.column_names)


def empty(layout: Layout, model: ScoringModel) -> pa.Table:
    """Return the output of an input without rows."""
    nothing = pa.array([], pa.string())
    return score(Batch(1, 0, {}, [nothing for _ in layout.keys]), model, layout, Counts())
