"""What the prediction log holds of one person: found, exported and erased, in the database and on disk."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from serving.model.records import Record
from serving.prediction_log.database import LogDatabase
from serving.prediction_log.entries import Batch, LoggedModel, Part, read_batch
from serving.prediction_log.spill import SUFFIX, lines_of, rewrite

SEARCH_SECONDS = 600.0  # a record is searched in all rows

Stored = dict[str, Any]  # a prediction with its model and its outcomes, as they are stored


@dataclass(frozen=True)
class Person:
    """Whose predictions are meant.

    Attributes:
        ids: of predictions, in the form in which they are stored.
        record: all predictions of exactly this record; a null value is the same as a missing one.
    """

    ids: frozenset[str] = frozenset()
    record: Record | None = None

    def is_meant(self, prediction_id: str, features: dict[str, Any]) -> bool:
        """Return whether a prediction is one of this person."""
        return prediction_id in self.ids or (self.record is not None and _known(features) == _known(self.record))


class PersonalData(LogDatabase):
    """The database of the prediction log, for the search of one person's predictions.

    Args:
        url: connection URL of libpq, of the role that owns the database.
    """

    def __init__(self, url: str) -> None:
        super().__init__(url, SEARCH_SECONDS)

    def rows_of(self, person: Person) -> list[Stored]:
        """Return the predictions of a person, the oldest first.

        Raises:
            DatabaseError: the query failed.
        """
        rows = self._run(lambda: self._in_transaction(_SELECT, person))
        return [msgspec.json.decode(text) for (text,) in rows]

    def erase(self, person: Person) -> tuple[int, int]:
        """Delete the predictions of a person with their outcomes, and return the numbers of both.

        Raises:
            DatabaseError: nothing was deleted.
        """
        predictions, outcomes = self._run(lambda: self._in_transaction(_ERASE, person))[0]
        return int(predictions), int(outcomes)

    def _in_transaction(self, statement: str, person: Person) -> list[tuple[Any, ...]]:
        record = None if person.record is None else json.dumps(person.record)
        self._execute("BEGIN")
        rows: list[tuple[Any, ...]] = self._execute_long(
            statement, SEARCH_SECONDS, sorted(person.ids), record
        ).fetchall()
        self._execute("COMMIT")
        return rows


def find_spilled(folder: Path, person: Person) -> Iterator[Stored]:
    """Yield the predictions of a person that are on disk."""
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        for data in lines_of(path):
            batch = read_batch(data)
            for part in batch.decoded():
                for row in _rows_of(part, person):
                    yield _stored(part, row, batch.model)


def erase_spilled(folder: Path, person: Person) -> tuple[int, list[Path]]:
    """Remove the predictions of a person from the files that no running worker owns.

    Returns:
        The number of removed predictions, and the files with further ones, which a running worker owns.
    """
    erased, owned = 0, []
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        here = sum(len(_rows_of(part, person)) for data in lines_of(path) for part in read_batch(data).decoded())
        if here and rewrite(path, lambda data: _without(data, person)):
            erased += here
        elif here:
            owned.append(path)
    return erased, owned


def _without(data: bytes, person: Person) -> tuple[bytes, int]:
    """Return a batch without the predictions of a person, and the number of the others."""
    batch = read_batch(data)
    kept: list[Part] = []
    for part in batch.decoded():
        start = 0
        for row in [*_rows_of(part, person), len(part)]:
            if row > start:
                kept.append(part.slice(start, row))
            start = row + 1
    return msgspec.json.encode(Batch.of(batch.model, kept)), sum(map(len, kept))


def _rows_of(part: Part, person: Person) -> list[int]:
    pairs = zip(part.prediction_id, part.features, strict=True)
    return [row for row, (name, features) in enumerate(pairs) if person.is_meant(name, features)]


def _stored(part: Part, row: int, model: LoggedModel) -> Stored:
    prediction = msgspec.to_builtins(part.entry(row, model.key))
    return {"prediction": prediction, "model": msgspec.to_builtins(model), "outcomes": [], "on_disk": True}


def _known(record: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in record.items() if value is not None}


_WHERE = """prediction_id = ANY(%s::uuid[]) OR jsonb_strip_nulls(features) = jsonb_strip_nulls(%s::jsonb)"""
_SELECT = f"""SELECT json_build_object('prediction', to_json(p), 'model', to_json(m), 'outcomes', coalesce((
        SELECT json_agg(to_json(o) ORDER BY o.revision) FROM outcome AS o
        WHERE o.prediction_id = p.prediction_id), '[]'::json))::text
    FROM prediction AS p JOIN model AS m ON m.key = p.model_key
    WHERE {_WHERE} ORDER BY answered, prediction_id"""  # noqa: S608 - no text from outside
_ERASE = f"""WITH erased AS (DELETE FROM prediction WHERE {_WHERE} RETURNING prediction_id)
    SELECT (SELECT count(*) FROM erased),
        (SELECT count(*) FROM outcome WHERE prediction_id IN (SELECT prediction_id FROM erased))"""  # noqa: S608
