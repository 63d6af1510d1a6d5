"""Scores a source in this process, with the rights of its caller: for the command line."""

import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from heartline.ingestion import sources
from heartline.ingestion.access import files
from heartline.ingestion.mapping import catalog as mapping_catalog
from heartline.scoring import tasks
from heartline.scoring.model import ScoringModel
from heartline.scoring.reading import encoding_evidence, inputs
from heartline.scoring.reading.chunks import Planned
from heartline.scoring.reading.layout import Wanted, key_names
from heartline.scoring.writing import outputs, results
from heartline.scoring.writing.table_output import PREFIX, ScoreTable

FILES = (".parquet", ".csv")  # endings of an output that is one file


@dataclass(frozen=True)
class Progress:
    """What is called while a source is scored.

    Attributes:
        read: with the number of bytes of each part that the first pass has read.
        planned: with the number of rows, once.
        scored: with the number of rows of each part that was scored.
    """

    read: Callable[[int], None]
    planned: Callable[[int], None]
    scored: Callable[[int], None]


def score(
    given: Mapping[str, Any],
    model: ScoringModel,
    *,
    run: str,
    settings: sources.Settings,
    progress: Progress,
    enter: Callable[[tasks.Finished], int],
) -> tasks.Finished:
    """Score a source and write the output.

    Args:
        given: the parameters of the run, all of them; ``output`` may also be a path that ends in ``FILES``.
        model: the version that scores.
        run: id of the run.
        settings: how sources are reached; every file may be read.
        progress: is called meanwhile.
        enter: enters the run in the ledger, and returns the entry's number.

    Raises:
        SourceError: the source cannot be reached or read.
        DataError: it is no table of records, or the mapping does not fit it.
        OutputError: the output cannot be written.
    """
    settings = replace(settings, folders=files.ANYWHERE)
    stated = mapping_catalog.resolve(given["mapping"], files.ANYWHERE) if given["mapping"] else None
    wanted = Wanted(model.contract, stated, key_names(given["keys"]), given["encoding"])
    with tempfile.TemporaryDirectory(prefix="heartline-scoring-") as folder:
        copy = Path(folder).as_uri()
        request = inputs.Request(given["source"], given["query"], wanted, copy, settings, progress=progress.read)
        planned = inputs.plan(request)
        encoding_evidence.expect(planned, folders=files.ANYWHERE)
        progress.planned(planned.rows)
        counts = results.Counts()
        rows = _rows(planned, model, counts, progress)
        target, parts = _written(given, rows, run, settings)
    content = _content(model, planned, counts, run=run, target=target, parts=parts)
    content["entry"] = enter(content)
    if target.startswith(PREFIX):
        ScoreTable(target, settings.database_url).write_manifest(run, content)
    elif not target.endswith(FILES):
        outputs.write_manifest(target, content)
    return content


def _rows(planned: Planned, model: ScoringModel, counts: results.Counts, progress: Progress) -> Iterator[pa.Table]:
    for chunk in planned.chunks:
        yield from tasks.scored_rows(planned, chunk, model, counts, folders=files.ANYWHERE, progress=progress.scored)


def _written(
    given: Mapping[str, Any], rows: Iterator[pa.Table], run: str, settings: sources.Settings
) -> tuple[str, list[outputs.Part]]:
    """Write all rows, and return where they are, and the files."""
    output = given["output"]
    if output.startswith(PREFIX):
        table = ScoreTable(output, settings.database_url)
        table.prepare()
        table.write(rows, run, 0)
        return output, []
    if output.endswith(FILES):
        return output, [outputs.write_file(rows, output)]
    target = outputs.folder(output, run)
    return target, outputs.write_part(rows, target, 0, given["format"])


def _content(
    model: ScoringModel, planned: Planned, counts: results.Counts, *, run: str, target: str, parts: list[outputs.Part]
) -> tasks.Finished:
    about = model.about
    return {
        "run": run,
        "rows": counts.rows,
        "rejected": counts.refused,
        "positive": counts.positive,
        "reasons": tasks.most_common(counts.reasons),
        "version": about.version,
        "digest": about.digest,
        "snapshot": about.snapshot,
        "family": about.family,
        "source": planned.layout.where,
        "sha256": planned.sha256,
        "output": target,
        "parts": [asdict(one) for one in parts],
        "entry": 0,
    }
