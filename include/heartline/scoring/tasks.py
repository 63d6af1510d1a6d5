"""The tasks of a scoring run: ``plan`` pins the model and finds the chunks, ``score`` scores one, ``finish`` closes it.

Each can be killed anywhere and run again: the output has the same bytes. What they hand over is plain JSON.
"""

import json
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any, NotRequired, TypedDict

import pyarrow as pa

from heartline.errors import HandoverError, memory_limit
from heartline.ingestion import sources
from heartline.ingestion.access import files
from heartline.ingestion.mapping import catalog as mapping_catalog
from heartline.ledger import store as ledger
from heartline.parameters import scoring as parameters
from heartline.registry import versions
from heartline.scoring.model import ScoringModel, packed
from heartline.scoring.reading import encoding_evidence, inputs, staging
from heartline.scoring.reading.chunks import Chunk, Planned
from heartline.scoring.reading.layout import Layout, Wanted, key_names
from heartline.scoring.writing import outputs, results
from heartline.scoring.writing.table_output import PREFIX, ScoreTable
from heartline.storage import object_store

log = logging.getLogger(__name__)

MODELS, PLANS = "models", "plans"  # folders of the store: what scoring needs of a version, and the plans of runs
_SHOWN_REASONS = 50
OTHER_REASONS = "other reasons"
_FACTS = ("digest", "snapshot", "family", "rows", "rejected", "sha256", "output")
_TOLD = ("run", "version", "rows", "rejected", "positive", "output")


class Task(TypedDict):
    """Returned by ``plan`` for each chunk: one mapped task scores it."""

    plan: str
    """URI of the plan, JSON."""
    number: int
    """Of the chunk, from 0."""
    first_row: int
    """Row number of its first row, from 1."""
    rows: int
    """The number of its rows."""
    about: dict[str, Any]
    """Where its reader finds it."""


class Plan(TypedDict):
    """What ``plan`` has stored: the pinned version, the input and where the output goes."""

    run: str
    """Id of the run."""
    version: str
    """The registered version."""
    digest: str
    """sha256 of its bundle's manifest."""
    snapshot: str
    """Digest of its training data."""
    family: str
    """Its model family."""
    model: str
    """URI of what scoring needs of it."""
    source: str
    """The input in words."""
    sha256: str
    """Digest of the input's bytes; "" for a query and the sample."""
    rows: int
    """Rows of the input."""
    layout: dict[str, Any]
    """How its rows are read."""
    reader: dict[str, Any]
    """What their reader needs beside the layout."""
    chunks: int
    """The number of its parts."""
    target: str
    """The run's folder, or the table."""
    format: str
    """Of the files in the folder."""


class Scored(TypedDict):
    """Returned by ``score`` for a chunk."""

    number: int
    """Of the chunk, from 0."""
    rows: int
    """Rows of the chunk."""
    rejected: int
    """Rows that were rejected."""
    positive: int
    """Rows that are heart disease."""
    reasons: dict[str, int]
    """How many rows were rejected for each reason."""
    parts: list[dict[str, Any]]
    """The files that were written: name, sha256, size."""


class Finished(TypedDict):
    """Returned by ``finish``, and the content of the manifest."""

    run: str
    """Id of the run."""
    rows: int
    """Rows of the input, and of the output."""
    rejected: int
    """Rows without an answer."""
    positive: int
    """Rows that are heart disease."""
    reasons: dict[str, int]
    """How many rows were rejected for each reason, the most frequent first."""
    version: str
    """The registered version."""
    digest: str
    """sha256 of its bundle's manifest."""
    snapshot: str
    """Digest of its training data."""
    family: str
    """Its model family."""
    source: str
    """The input in words."""
    sha256: str
    """Digest of the input's bytes; "" for a query and the sample."""
    output: str
    """The run's folder, or the table."""
    parts: list[dict[str, Any]]
    """The files: name, sha256, size, in the order of the rows."""
    entry: int
    """Number of the entry in the ledger."""
    assets: NotRequired[dict[str, dict[str, Any]]]
    """By asset what its event says; not in the manifest."""
    note: NotRequired[str]
    """The run's note: one line; not in the manifest."""


@memory_limit("task plan")
def plan(
    *,
    run: str,
    source: str,
    query: str | None = None,
    mapping: str | None = None,
    encoding: str = "contract",
    keys: str | None = None,
    version: str | None = None,
    output: str | None = None,
    format: str = outputs.PARQUET,  # noqa: A002 - the name of the parameter
    given: Mapping[str, object] | None = None,
) -> list[Task]:
    """Check the parameters, pin the version, and find the chunks of the input.

    Args:
        run: id of the run.
        source: the parameter ``source``.
        query: SQL, for a source that takes a query.
        mapping: how the input's columns, words and units become the contract's.
        encoding: a key of ``layout.ENCODINGS``.
        keys: names of the input's own columns that the output repeats; None for all.
        version: number of the registered version; None for the one in production.
        output: folder, address or table; None for the store.
        format: a key of ``outputs.FORMATS``.
        given: all that the run was given, to be checked before anything is read: Airflow passes unknown keys on.

    Raises:
        ParameterError: a parameter is wrong.
        RegistryError: the version cannot be had.
        SourceError: the input cannot be reached or read.
        DataError: it is no table of records, or the mapping does not fit it.
        StoreError: the store cannot be written.
        OutputError: the table cannot be made.
    """
    if given is not None:
        parameters.check(given)
    settings = sources.Settings.from_environment()
    target = _target(output, run, settings)
    fetched = versions.fetch(version)
    archive = packed(fetched.files)
    model = ScoringModel.unpacked(archive, fetched.version)
    stated = mapping_catalog.resolve(mapping, settings.folders) if mapping else None
    wanted = Wanted(model.contract, stated, key_names(keys), encoding)
    request = inputs.Request(source, query, wanted, staging.folder(run), settings)
    planned = inputs.plan(request)
    encoding_evidence.expect(planned, folders=settings.folders)
    about = model.about
    log.info(
        "%s rows from %s in %d chunks, scored by version %s (%s)",
        f"{planned.rows:,}",
        planned.layout.where,
        len(planned.chunks),
        about.version,
        about.family,
    )
    stored: Plan = {
        "run": run,
        "version": about.version,
        "digest": about.digest,
        "snapshot": about.snapshot,
        "family": about.family,
        "model": object_store.put(archive, MODELS, ".tar"),
        "source": planned.layout.where,
        "sha256": planned.sha256,
        "rows": planned.rows,
        "layout": planned.layout.as_dict(),
        "reader": dict(planned.reader),
        "chunks": len(planned.chunks),
        "target": target,
        "format": format,
    }
    uri = object_store.put(json.dumps(stored, sort_keys=True).encode(), PLANS, ".json")
    return [{"plan": uri, **one.as_dict()} for one in planned.chunks]  # type: ignore[typeddict-item]


def _target(output: str | None, run: str, settings: sources.Settings) -> str:
    """Return the run's folder or table, after checking that it may be written; a table is created."""
    if output is None:
        return outputs.folder(f"{object_store.default_uri().rstrip('/')}/scores", run)
    if output.startswith(PREFIX):
        ScoreTable(output, settings.database_url).prepare()
        return output
    outputs.expect_allowed(output, settings.folders)
    return outputs.folder(output, run)


@memory_limit("task score")
def score(chunk: Mapping[str, Any]) -> Scored:
    """Score one chunk and write its part of the output.

    Args:
        chunk: one of those that ``plan`` returned.

    Raises:
        SourceError: the input cannot be read.
        DataError: it changed after the run had started.
        StoreError: the store cannot be read.
        OutputError: the output cannot be written.
    """
    _expect(chunk, Task.__required_keys__, "plan")
    planned = _stored(chunk["plan"])
    model = ScoringModel.unpacked(object_store.get(planned["model"]), planned["version"])
    settings = sources.Settings.from_environment()
    part = Chunk(**{name: value for name, value in chunk.items() if name != "plan"})
    counts = results.Counts()
    found = Planned(Layout.of(planned["layout"]), [part], planned["reader"], planned["sha256"])
    tables = scored_rows(found, part, model, counts, folders=settings.folders)
    written: list[dict[str, Any]] = []
    if planned["target"].startswith(PREFIX):
        ScoreTable(planned["target"], settings.database_url).write(tables, planned["run"], part.number)
    else:
        parts = outputs.write_part(tables, planned["target"], part.number, planned["format"])
        written = [asdict(one) for one in parts]
    log.info("chunk %d: %s rows, %s of them rejected", part.number, f"{counts.rows:,}", f"{counts.refused:,}")
    return {
        "number": part.number,
        "rows": counts.rows,
        "rejected": counts.refused,
        "positive": counts.positive,
        "reasons": most_common(counts.reasons),
        "parts": written,
    }


def _stored(uri: str) -> Plan:
    found: Plan = json.loads(object_store.get(uri))
    _expect(found, Plan.__required_keys__, "plan")
    return found


def scored_rows(
    planned: Planned,
    chunk: Chunk,
    model: ScoringModel,
    counts: results.Counts,
    *,
    folders: files.Folders,
    progress: Callable[[int], None] | None = None,
) -> Iterator[pa.Table]:
    """Yield the rows of the output for a chunk, and count them.

    Args:
        planned: the input.
        chunk: one of its chunks.
        model: the pinned model.
        counts: is added to.
        folders: the folders whose files may be read.
        progress: is called with the number of rows of each table.

    Raises:
        SourceError: the input cannot be read.
        DataError: it changed, or is damaged.
    """
    any_rows = False
    for batch in inputs.read(planned, chunk, folders=folders):
        any_rows = True
        yield results.score(batch, model, planned.layout, counts)
        if progress:
            progress(batch.count)
    if not any_rows:
        yield results.empty(planned.layout, model)


def finish(scored: Sequence[Mapping[str, Any]], chunks: Sequence[Mapping[str, Any]]) -> Finished:
    """Check that the output is complete, write its manifest, enter the run in the ledger, and delete the copies.

    Args:
        scored: what ``score`` returned for each chunk.
        chunks: what ``plan`` returned.

    Raises:
        HandoverError: a chunk is missing.
        OutputError: the manifest cannot be written, or a part is gone.
        LedgerError: the ledger cannot be reached.
    """
    for one in chunks:
        _expect(one, Task.__required_keys__, "plan")
    planned = _stored(chunks[0]["plan"])
    ordered = sorted(scored, key=lambda one: int(one["number"]))
    for one in ordered:
        _expect(one, Scored.__required_keys__, "score")
    rows = sum(one["rows"] for one in ordered)
    if [one["number"] for one in ordered] != list(range(planned["chunks"])) or rows != planned["rows"]:
        raise HandoverError(
            f"the scored chunks have {rows:,} rows, the input {planned['rows']:,}",
            where="XCom return_value of the task score",
            expected=f"each of the {planned['chunks']} chunks once",
            hint="clear the task score of the run",
        )
    content = _summary(planned, ordered)
    _expect_complete(content)
    content["entry"] = entered(content, by=f"run {planned['run']}")
    if content["output"].startswith(PREFIX):
        _table(content["output"]).write_manifest(planned["run"], content)
    else:
        outputs.write_manifest(content["output"], content)
    staging.delete(staging.folder(planned["run"]))
    note = _note(content)
    log.info("%s", note)
    return {**content, "note": note, "assets": {"scores": told(content)}}


def _note(content: Finished) -> str:
    """Return what the run has done, in one line: its note in Airflow."""
    rows = "row" if content["rows"] == 1 else "rows"
    return (
        f"{content['rows']:,} {rows} scored with version {content['version']}: {content['positive']:,} heart disease, "
        f"{content['rejected']:,} rejected; output: {content['output']}"
    )


def _summary(planned: Plan, ordered: Sequence[Mapping[str, Any]]) -> Finished:
    reasons: Counter[str] = Counter()
    for one in ordered:
        reasons.update(one["reasons"])
    return {
        "run": planned["run"],
        "rows": planned["rows"],
        "rejected": sum(one["rejected"] for one in ordered),
        "positive": sum(one["positive"] for one in ordered),
        "reasons": most_common(reasons),
        "version": planned["version"],
        "digest": planned["digest"],
        "snapshot": planned["snapshot"],
        "family": planned["family"],
        "source": planned["source"],
        "sha256": planned["sha256"],
        "output": planned["target"],
        "parts": [part for one in ordered for part in one["parts"]],
        "entry": 0,
    }


def most_common(reasons: Counter[str]) -> dict[str, int]:
    """Return how many rows were rejected for each of the most frequent reasons, and for all others together."""
    named = Counter({one: count for one, count in reasons.items() if one != OTHER_REASONS})
    found = dict(named.most_common(_SHOWN_REASONS))
    others = reasons.total() - sum(found.values())
    return found | ({OTHER_REASONS: others} if others else {})


def _table(output: str) -> ScoreTable:
    return ScoreTable(output, sources.Settings.from_environment().database_url)


def _expect_complete(content: Finished) -> None:
    """Raise unless all rows are in the output."""
    if content["output"].startswith(PREFIX):
        gone = [] if _table(content["output"]).count(content["run"]) == content["rows"] else ["rows"]
    else:
        gone = outputs.missing(content["output"], [outputs.Part(**one) for one in content["parts"]])
    if gone:
        raise outputs.OutputError(
            f"what the task score wrote is not there: {', '.join(gone[:5])}",
            where=content["output"],
            expected=f"the {content['rows']:,} rows of the run",
            hint="clear the task score of the run; nothing else may write to its output",
        )


def told(content: Finished) -> dict[str, Any]:
    """Return what the asset ``scores`` says of a run."""
    return {name: content[name] for name in _TOLD}  # type: ignore[literal-required]


def entered(content: Finished, *, by: str, url: str | None = None) -> int:
    """Enter a scoring run in the ledger, once, and return the entry's number; no value of a record is in it.

    Args:
        content: what the run has done.
        by: who scored.
        url: of the ledger; by default that of the environment.

    Raises:
        LedgerError: the ledger cannot be reached.
    """
    facts = {name: content[name] for name in _FACTS}  # type: ignore[literal-required]
    key = f"scored {content['run']}"
    return ledger.append("scored", by=by, version=content["version"], facts=facts, key=key, url=url).number


def _expect(value: Mapping[str, object], fields: frozenset[str], task: str) -> None:
    missing = sorted(fields - value.keys())
    if missing:
        raise HandoverError(
            f"the result of the task {task} has another form than this version of Heartline reads",
            where=f"XCom return_value of the task {task}; missing: {', '.join(missing)}",
            expected=f"the fields {', '.join(sorted(fields))}",
            hint="another version of Heartline started this run: trigger a new run instead of clearing its tasks",
        )
