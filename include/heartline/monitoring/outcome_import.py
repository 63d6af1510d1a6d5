"""Reads outcomes from a file, an address or a database, as a training reads its source, and adds them to the log.

Columns: ``prediction_id``, ``outcome`` (0 or 1) or ``num`` (0 to 4), ``observed_at``, and if known ``source``. What is
known already is not added again. Rows that cannot be used are reported by their numbers, without their
values; the others are added.
"""

import csv
import datetime
import io
import itertools
import logging
import re
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import pandas as pd

from heartline import visible
from heartline.errors import DataError, ParameterError, SourceRefusedError
from heartline.ingestion import source_catalog, sources
from heartline.ingestion.access import files, http, sql, uploads
from heartline.ingestion.formats import archives, csv_text, table_formats
from heartline.monitoring.prediction_log import NewOutcome, PredictionLog
from heartline.storage import object_store

PREDICTION_ID, OUTCOME, NUM, OBSERVED_AT, SOURCE = "prediction_id", "outcome", "num", "observed_at", "source"
COLUMNS = (PREDICTION_ID, OUTCOME, NUM, OBSERVED_AT, SOURCE)
TABLE = "outcomes"
DEFAULT_QUERY = f"SELECT * FROM {TABLE}"  # noqa: S608
EXPECTED = f"the columns {PREDICTION_ID}, {OBSERVED_AT}, {OUTCOME} or {NUM}, and if known {SOURCE}"
KIND = "outcomes"
UNKNOWN = "no prediction has this id"
MALFORMED = "the row has another number of fields than the header"
LONGEST_SOURCE = 100  # characters, as in POST /outcomes
LATEST = datetime.timedelta(days=1)  # by which an observation may be ahead of the clock, which has no time zone here
_TABLE = re.compile(r"postgres:((?:[a-z_][a-z0-9_]{0,50}\.)?[a-z_][a-z0-9_]{0,50})")
_BATCH = 10_000
_TRUE, _FALSE = {"1", "true", "1.0"}, {"0", "false", "0.0"}

_ROW = "row"  # of a batch: the numbers of its rows

# the numbers of the rows, and the cells by column, None for a missing one; or malformed rows
_Batch = dict[str, list[Any]] | list[csv_text.Malformed]

Item = TypeVar("Item")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Imported:
    """What came of an import.

    Attributes:
        rows: of the source.
        added: outcomes that are new, corrections among them.
        known: rows that the log has already.
        refused: how many rows were refused for each reason.
        file: URI of the CSV with the numbers of the refused rows and the reasons; "" where there is none. It holds no
            id: one that the log does not know may have been erased.
    """

    rows: int
    added: int
    known: int
    refused: Mapping[str, int]
    file: str


@dataclass(frozen=True)
class _Row:
    """A row of the source: its number from 1, and what it says or why it is refused."""

    number: int
    found: NewOutcome | str


def run(
    source: str,
    *,
    now: datetime.datetime,
    query: str | None = None,
    settings: sources.Settings | None = None,
    prediction_log: PredictionLog | None = None,
) -> Imported:
    """Add the outcomes of a source to the log; those of one prediction in the order in which they were observed.

    Args:
        source: the path or address of a table, ``postgres``, or ``postgres:TABLE``.
        now: the time, with a time zone; later observations are refused.
        query: SQL for ``postgres``; by default all rows of the table ``outcomes``.
        settings: how sources are reached; by default those of the environment.
        prediction_log: where the outcomes belong; by default that of the environment.

    Raises:
        ParameterError: there is no such source, or it takes no query.
        SourceError: it cannot be reached or read.
        DataError: it is no table of outcomes.
        MonitoringError: the database of the log does not answer. What was added before stays; again adds the rest.
        StoreError: the refused rows cannot be stored.
    """
    settings = settings or sources.Settings.from_environment()
    target = prediction_log or PredictionLog()
    refused: list[tuple[int, str]] = []
    wanted: list[NewOutcome] = []
    rows = added = 0
    for batch in _batches(_rows(source.strip(), query, settings, now)):
        rows += len(batch)
        refused += [(one.number, one.found) for one in batch if isinstance(one.found, str)]
        usable = [(one.number, one.found) for one in batch if not isinstance(one.found, str)]
        known = target.known([found.prediction_id for _, found in usable]) if usable else set()
        refused += [(number, UNKNOWN) for number, found in usable if found.prediction_id not in known]
        wanted += [found for _, found in usable if found.prediction_id in known]
    wanted.sort(key=lambda one: one.observed_at)  # only of all rows it is known which one is the last
    for part in _batches(wanted):
        added += sum(target.add(round_) for round_ in _rounds(part))
    uri = _stored(refused) if refused else ""
    counts = dict(Counter(reason for _, reason in refused).most_common())
    known_already = len(wanted) - added
    log.info("%d outcomes: %d new, %d known, %d refused %s", rows, added, known_already, len(refused), uri)
    return Imported(rows, added, known_already, counts, uri)


def _batches(rows: Iterable[Item]) -> Iterator[list[Item]]:
    waiting: list[Item] = []
    for row in rows:
        waiting.append(row)
        if len(waiting) == _BATCH:
            yield waiting
            waiting = []
    if waiting:
        yield waiting


def _rounds(outcomes: Sequence[NewOutcome]) -> Iterator[list[NewOutcome]]:
    """Yield the outcomes in parts in which each prediction is once, in their order: a later row corrects."""
    seen: Counter[str] = Counter()
    parts: list[list[NewOutcome]] = []
    for one in outcomes:
        place = seen[one.prediction_id]
        seen[one.prediction_id] += 1
        if place == len(parts):
            parts.append([])
        parts[place].append(one)
    yield from parts


def _stored(refused: Sequence[tuple[int, str]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("row", "reason"))
    writer.writerows(sorted(refused))
    return object_store.put(text.getvalue().encode(), KIND, ".csv")


# Reading -------------------------------------------------------------------------------------------------------------


def _rows(source: str, query: str | None, settings: sources.Settings, now: datetime.datetime) -> Iterator[_Row]:
    """Yield each row of the source, with what it says or why it is refused."""
    for batch in _tables(source, query, settings):
        if isinstance(batch, list):
            yield from (_Row(one.number, MALFORMED) for one in batch)
            continue
        for number, *cells in zip(batch[_ROW], *(batch[name] for name in COLUMNS), strict=True):
            texts = dict(zip(COLUMNS, map(_text, cells), strict=True))
            try:
                found: NewOutcome | str = _outcome(texts, now)
            except ValueError as error:
                found = str(error)
            yield _Row(number, found)


def _tables(source: str, query: str | None, settings: sources.Settings) -> Iterator[_Batch]:
    """Yield the numbers and cells of rows, some thousand at a time; at last the malformed rows."""
    table = _TABLE.fullmatch(source)
    if table and query is None:
        query, source = f"SELECT * FROM {table[1]}", "postgres"  # noqa: S608 - its pattern has no quote
    origin = source_catalog.choose(source, query).origin
    if origin == "postgres":
        yield from _of_query(query or DEFAULT_QUERY, settings)
        return
    if origin not in ("file", "url"):
        raise ParameterError(
            f"the source {source} has no outcomes",
            where="parameter outcomes",
            expected="the path or address of a table of outcomes, postgres, or postgres:TABLE",
            hint="name one of these",
        )
    yield from _of_file(source, origin, settings)


def _of_query(query: str, settings: sources.Settings) -> Iterator[_Batch]:
    if not settings.database_url:
        raise SourceRefusedError(
            "no database is configured",
            where="setting HEARTLINE_DATABASE_URL",
            expected="postgresql://USER:PASSWORD@HOST:PORT/DATABASE",
            hint="set it where the task runs",
        )
    where = f"{sql.public(settings.database_url)}, query: {sql.shorten(query)}"

    def collect(names: list[str], parts: Iterator[pd.DataFrame]) -> list[dict[str, list[Any]]]:
        places = _places(names, where)
        numbers = itertools.count(1)
        return [
            {
                _ROW: list(itertools.islice(numbers, len(part))),
                **{name: part[places[name]].tolist() if name in places else [None] * len(part) for name in COLUMNS},
            }
            for part in parts
        ]

    yield from sql.select(
        settings.database_url, query, settings.limits, collect, exact=lambda names: list(range(len(names)))
    )


def _of_file(source: str, origin: str, settings: sources.Settings) -> Iterator[_Batch]:
    address, sheet = source_catalog.split_sheet(source)
    size = settings.limits.size
    if origin == "url":
        where, data = sources.public(address), http.fetch(address, settings.limits, settings.reach)
    elif upload := source_catalog.upload(address):
        where, data = visible.path(upload[1]), uploads.read(upload[0], size)
    else:
        path = files.path_of(address)
        where, data = visible.path(path), files.read(settings.folders.find(path, "outcomes"), size)
    found = table_formats.rows_of(
        archives.unpack(data, where=where, size=size), where=where, sheet=sheet, most=settings.limits.rows
    )
    places = _places(found.header, where)
    positions = list(places.values())
    last = 0
    for batch in found.batches(positions, ()):
        columns = dict(zip(places, (column.to_pylist() for column in batch), strict=True))
        count = len(next(iter(columns.values())))
        left_out = {one.number for one in found.text.malformed} if found.text else set()
        numbers = list(itertools.islice((one for one in itertools.count(last + 1) if one not in left_out), count))
        last = numbers[-1] if numbers else last
        yield {_ROW: numbers, **{name: columns.get(name, [None] * count) for name in COLUMNS}}
    if found.text and found.text.malformed:
        yield found.text.malformed


def _places(names: Sequence[str], where: str) -> dict[str, int]:
    """Return the position of each column of ``COLUMNS`` that a table has."""
    plain = [visible.plain(name).strip().lower() for name in names]
    found = {name: plain.index(name) for name in COLUMNS if name in plain}
    missing = [name for name in (PREDICTION_ID, OBSERVED_AT) if name not in found]
    if OUTCOME not in found and NUM not in found:
        missing.append(f"{OUTCOME} or {NUM}")
    twice = [name for name in COLUMNS if plain.count(name) > 1]
    if missing or twice:
        what = f"the column {missing[0]} is missing" if missing else f"the column {twice[0]} is there twice"
        raise DataError(
            f"{what}: this is no table of outcomes",
            where=where,
            expected=EXPECTED,
            hint=f"found: {visible.listed(names) or 'no header'}; correct the table or the query",
        )
    return found


# One row -------------------------------------------------------------------------------------------------------------


def _text(cell: Any) -> str:
    if cell is None or (isinstance(cell, float) and cell != cell):
        return ""
    if isinstance(cell, datetime.datetime):
        return cell.isoformat() if cell == cell else ""  # pandas' NaT differs from itself
    return str(cell).strip()


def _outcome(texts: Mapping[str, str], now: datetime.datetime) -> NewOutcome:
    """Return what a row says.

    Raises:
        ValueError: it cannot be used; the text says why, without a value.
    """
    try:
        prediction_id = str(uuid.UUID(texts[PREDICTION_ID]))
    except ValueError:
        raise ValueError(f"{PREDICTION_ID} is no id of a prediction") from None
    num = _num(texts[NUM])
    outcome = _flag(texts[OUTCOME])
    if outcome is None and num is None:
        raise ValueError(f"neither {OUTCOME} nor {NUM} is given")
    if outcome is not None and num is not None and outcome != (num > 0):
        raise ValueError(f"{OUTCOME} and {NUM} contradict each other")
    observed = _time(texts[OBSERVED_AT])
    if observed > now + LATEST:
        raise ValueError(f"{OBSERVED_AT} is in the future")
    source = texts[SOURCE]
    if len(source) > LONGEST_SOURCE or not source.isprintable():
        raise ValueError(f"{SOURCE} is not text of at most {LONGEST_SOURCE} printable characters")
    return NewOutcome(prediction_id, bool(num) if outcome is None else outcome, num, observed, source or None)


def _flag(text: str) -> bool | None:
    if not text:
        return None
    if text.lower() not in _TRUE | _FALSE:
        raise ValueError(f"{OUTCOME} is neither 0 nor 1")
    return text.lower() in _TRUE


def _num(text: str) -> int | None:
    if not text:
        return None
    if not re.fullmatch(r"[0-4](\.0*)?", text):
        raise ValueError(f"{NUM} is no number from 0 to 4")
    return int(text[0])


def _time(text: str) -> datetime.datetime:
    if not text:
        raise ValueError(f"{OBSERVED_AT} is missing")
    try:
        found = datetime.datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{OBSERVED_AT} is no time such as 2026-03-01T12:00:00Z") from None
    return found if found.tzinfo else found.replace(tzinfo=datetime.UTC)
