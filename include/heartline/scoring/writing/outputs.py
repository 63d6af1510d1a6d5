"""Writes the output of a run: a folder of parts and a manifest, below any path or address that fsspec supports.

``<output>/run=<run>/part-00000.parquet`` holds the rows of the first chunk. A part is complete or absent. The manifest
is written last, so a folder without one belongs to a run that has not ended.
"""

import hashlib
import json
import os
import posixpath
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.implementations.local import LocalFileSystem
from pyarrow import csv

from heartline.errors import HeartlineError
from heartline.ingestion.access import files
from heartline.scoring.writing import results
from heartline.storage import durable_files

PARQUET, CSV, BOTH = "parquet", "csv", "both"
FORMATS = {
    PARQUET: "Parquet, compressed with zstd",
    CSV: "CSV in UTF-8, with a header in each part",
    BOTH: "each part in both formats",
}
MANIFEST = "_manifest.json"  # readers of a folder of Parquet leave out names that begin with _
_WORDS = ("imputed", "version", "snapshot", "reason")
_CHUNK = 1 << 20


class OutputError(HeartlineError):
    """The output cannot be written."""


@dataclass(frozen=True)
class Part:
    """One file of the output.

    Attributes:
        name: of the file.
        sha256: of its bytes.
        size: the number of its bytes.
    """

    name: str
    sha256: str
    size: int


def folder(output: str, run: str) -> str:
    """Return the path or address of a run's folder."""
    return posixpath.join(output.rstrip("/"), f"run={quote(run, safe='+:-_.')}")


def expect_allowed(output: str, folders: files.Folders) -> None:
    """Check that a run may write below a path; whether an address such as ``s3://`` may be written, its server says.

    Raises:
        SourceRefusedError: it may not.
        OutputError: nothing is installed that writes to such an address.
    """
    if output.startswith(("/", "file://")):
        folders.find(files.path_of(output), "output")
        return
    scheme = output.partition("://")[0]
    try:
        fsspec.get_filesystem_class(scheme)
    except (ImportError, ValueError) as error:
        raise OutputError(
            f"nothing is installed that writes to {scheme}://: {error}",
            where=f"output {output}",
            expected="a folder, or an address whose package of fsspec is installed",
            hint="write to a folder, or install the package in the environment of the tasks",
        ) from error


def write_part(tables: Iterable[pa.Table], target: str, number: int, formats: str) -> list[Part]:
    """Write the rows of a chunk, and return its files. Writing them again gives the same bytes.

    Args:
        tables: rows of the output, at least one table.
        target: the run's folder.
        number: of the chunk, from 0.
        formats: a key of ``FORMATS``.

    Raises:
        OutputError: a file cannot be written.
    """
    wanted = [PARQUET, CSV] if formats == BOTH else [formats]
    name = f"part-{number:05}"
    fs, path = _opened(target)
    local = isinstance(fs, LocalFileSystem)
    try:
        if local:
            Path(path).mkdir(parents=True, exist_ok=True)
        # beside its target, so that it can be renamed
        with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=path if local else None) as made:
            files = {one: Path(made, f"{name}.{one}") for one in wanted}
            _write_tables(tables, files)
            return [_moved(fs, file, posixpath.join(path, file.name), local=local) for file in files.values()]
    except OSError as error:
        raise _unwritable(target, error) from error


def write_file(tables: Iterable[pa.Table], path: str) -> Part:
    """Write rows into one file, Parquet or CSV by its ending.

    Args:
        tables: rows of the output, at least one table.
        path: of the file, on this machine.

    Raises:
        OutputError: it cannot be written.
    """
    target = Path(path).expanduser().absolute()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as made:
            partial = Path(made, target.name)
            _write_tables(tables, {CSV if path.endswith(".csv") else PARQUET: partial})
            return _moved(None, partial, str(target), local=True)
    except OSError as error:
        raise _unwritable(path, error) from error


def _write_tables(tables: Iterable[pa.Table], files: Mapping[str, Path]) -> None:
    writers: dict[str, Any] = {}
    try:
        for table in tables:
            if not writers:
                writers = {one: _writer(one, file, table) for one, file in files.items()}
            for one, writer in writers.items():
                writer.write_table(table if one == PARQUET else results.plain(table))
    finally:
        for writer in writers.values():
            writer.close()


def _writer(kind: str, file: Path, table: pa.Table) -> Any:
    if kind == CSV:
        return csv.CSVWriter(str(file), results.plain(table.slice(0, 0)).schema)
    return pq.ParquetWriter(
        str(file),
        table.schema,
        store_schema=False,  # the columns of few values would be read as categories
        compression="zstd",
        compression_level=1,
        use_dictionary=[name for name in _WORDS if name in table.column_names],
        column_encoding={"row": "DELTA_BINARY_PACKED"},
        write_statistics=["row"],
    )


def _moved(fs: Any, file: Path, path: str, *, local: bool) -> Part:
    digest, size = hashlib.sha256(), 0
    with file.open("rb") as opened:
        while data := opened.read(_CHUNK):
            digest.update(data)
            size += len(data)
        os.fsync(opened.fileno())
    if local:
        file.replace(path)
    else:
        fs.makedirs(posixpath.dirname(path), exist_ok=True)
        fs.put_file(str(file), path)  # object stores show an object when its upload is complete
    return Part(posixpath.basename(path), digest.hexdigest(), size)


def write_manifest(target: str, content: Mapping[str, Any]) -> None:
    """Write the manifest of a run, and delete what killed attempts have left.

    Raises:
        OutputError: it cannot be written.
    """
    fs, path = _opened(target)
    data = (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode()
    try:
        if isinstance(fs, LocalFileSystem):
            _remove_partial(Path(path))
            durable_files.write(Path(path, MANIFEST), data)
        else:
            fs.pipe_file(posixpath.join(path, MANIFEST), data)
    except OSError as error:
        raise _unwritable(target, error) from error


def _remove_partial(path: Path) -> None:
    for left in path.glob(".part-*"):
        for file in left.iterdir():
            file.unlink(missing_ok=True)
        with suppress(OSError):
            left.rmdir()


def read_manifest(target: str) -> dict[str, Any] | None:
    """Return the manifest of a run; None before its end.

    Raises:
        OutputError: it cannot be read.
    """
    fs, path = _opened(target)
    try:
        found: dict[str, Any] = json.loads(fs.cat_file(posixpath.join(path, MANIFEST)))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise _unwritable(target, error) from error
    return found


def missing(target: str, parts: Sequence[Part]) -> list[str]:
    """Return the names of the parts that are not there, or have another size.

    Raises:
        OutputError: the folder cannot be read.
    """
    fs, path = _opened(target)
    absent = []
    try:
        for one in parts:
            place = posixpath.join(path, one.name)
            if not fs.exists(place) or fs.size(place) != one.size:
                absent.append(one.name)
    except OSError as error:
        raise _unwritable(target, error) from error
    return absent


def _opened(target: str) -> tuple[Any, str]:
    try:
        fs, path = fsspec.core.url_to_fs(target)
    except (ImportError, ValueError, OSError) as error:
        raise _unwritable(target, error) from error
    return fs, str(path)


def _unwritable(target: str, error: Exception) -> OutputError:
    full = getattr(error, "errno", None) in durable_files.FULL
    return OutputError(
        "the disk of the output is full" if full else f"the output cannot be written or read: {error}",
        where=target,
        expected="a folder or address that can be written",
        hint="make space, then clear the task" if full else "check the parameter output, and the permissions",
    )
