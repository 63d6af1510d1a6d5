"""Content-addressed object store: each object is named by the sha256 of its bytes.

The URI of an object is ``<store>/<kind>/<sha256><suffix>`` under any URI that fsspec supports (``file://``, ``s3://``),
so workers on other machines read the same object by the same name. Writing is idempotent. An object that exists is
believed only if its bytes have the digest in its name. A damaged one is moved to ``<store>/damaged/``, never deleted.
"""

import hashlib
import logging
import os
import posixpath
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from heartline.errors import HeartlineError, PermanentError
from heartline.storage import durable_files

log = logging.getLogger(__name__)

DAMAGED = "damaged"  # the folder in the store for what was set apart
WRITERS = {
    "raw": "ingest",
    "snapshots": "validate",
    "reports": "validate",
    "pages": "validate",
    "quarantine": "validate",
    "folds": "preprocess",
    "bundles": "train",
    "predictions": "train",
    "models": "plan",
    "plans": "plan",
    "outcomes": "outcomes",
}  # the task that writes each kind; it writes an object again if it is cleared

_ADDRESS = re.compile(r"(?P<digest>[0-9a-f]{64})(?P<suffix>(\.[a-z]+)*)$")


class StoreError(HeartlineError):
    """The store is unreachable, or an object does not match the digest in its name."""


class DamagedObjectError(StoreError, PermanentError):
    """An object is missing, or its bytes do not have the digest in its name: only writing it again helps."""


def default_uri() -> str:
    """Return the store's URI from ``HEARTLINE_STORE``.

    Raises:
        StoreError: the setting is missing.
    """
    uri = os.environ.get("HEARTLINE_STORE", "")
    if not uri:
        raise StoreError(
            "no store is configured",
            where="setting HEARTLINE_STORE",
            expected="a URI such as file:///var/lib/heartline/store or s3://bucket/heartline",
            hint="set it, or use ./heartline, which sets it",
        )
    return uri


def put(data: bytes, kind: str, suffix: str, store: str | None = None) -> str:
    """Write ``data`` unless the store holds it already, and return its URI.

    A damaged object of this name is set apart and written again; a warning names it, and the other damaged objects of
    the store.

    Args:
        data: the object's bytes.
        kind: the folder in the store, for example ``snapshots``.
        suffix: the suffix of the file name, with its dot.
        store: the store's URI; by default that of the environment.

    Raises:
        StoreError: the store cannot be written, or is full. No object of this name exists then.
    """
    digest = hashlib.sha256(data).hexdigest()
    uri = address(digest, kind, suffix, store)
    with writing(uri, len(data)) as (fs, path):
        if fs.exists(path):
            if _is_intact(fs, path, digest, len(data)):
                return uri
            set_apart(fs, [path, *_other_damaged(fs, path)])
        write(fs, path, data)
    return uri


def write(fs: Any, path: str, data: bytes) -> None:
    """Write a file of the store: it is complete or unchanged.

    Args:
        fs: a file system of fsspec.
        path: the file's path in it.
        data: the content.

    Raises:
        OSError: it cannot be written.
    """
    if isinstance(fs, LocalFileSystem):
        durable_files.write(Path(path), data)
    else:
        fs.makedirs(posixpath.dirname(path), exist_ok=True)
        fs.pipe_file(path, data)  # object stores show an object when its upload is complete


@contextmanager
def writing(uri: str, size: int = 0) -> Iterator[tuple[Any, str]]:
    """Yield the file system and path of ``uri``; turn their errors into a StoreError.

    Args:
        uri: a file or folder of the store.
        size: of what is to be written, in bytes, for the message.

    Raises:
        StoreError: the store cannot be written, or is full.
    """
    try:
        yield fsspec.core.url_to_fs(uri)
    except OSError as error:
        full = error.errno in durable_files.FULL
        raise StoreError(
            f"the store is full: {error.strerror}" if full else f"the store cannot be written: {error}",
            where=uri,
            expected=f"free space for {size:,} bytes" if full and size else "a writable store with free space",
            hint="make space on the disk of HEARTLINE_STORE, then clear the task; what was stored before is intact"
            if full
            else "check HEARTLINE_STORE, its permissions and the free space",
        ) from error


def address(digest: str, kind: str, suffix: str, store: str | None = None) -> str:
    """Return the URI of the object with this sha256, whether or not it exists.

    Raises:
        StoreError: no store is configured.
    """
    return posixpath.join((store or default_uri()).rstrip("/"), kind, digest + suffix)


def get(uri: str) -> bytes:
    """Return the bytes at ``uri`` after comparing their digest with its name.

    A damaged object is set apart, so that the task that wrote it can write it again.

    Raises:
        DamagedObjectError: there is no such object, or its bytes do not match the digest in its name.
        StoreError: the store cannot be read.
    """
    expected = digest_of(uri)
    try:
        fs, path = fsspec.core.url_to_fs(uri)
        data = bytes(fs.cat_file(path))
    except FileNotFoundError:
        raise _missing(uri, fs, path) from None
    except OSError as error:
        raise StoreError(
            f"the object cannot be read: {error}",
            where=uri,
            expected="an object that an earlier task wrote",
            hint="check that every worker can read HEARTLINE_STORE",
        ) from error
    found = hashlib.sha256(data).hexdigest()
    if found != expected:
        raise _damaged(uri, fs, path, f"sha256 {expected}, found {found} ({len(data):,} bytes)")
    return data


def _missing(uri: str, fs: Any, path: str) -> DamagedObjectError:
    apart = _apart(path)
    was_damaged = fs.exists(apart)
    again = _write_again([path])
    return DamagedObjectError(
        "the object was damaged and set apart" if was_damaged else "the object cannot be read: it is not in the store",
        where=f"{uri}, set apart as {apart}" if was_damaged else uri,
        expected="an object that an earlier task wrote, in the store that HEARTLINE_STORE names",
        hint=again if was_damaged else f"check HEARTLINE_STORE on this worker; else {again}",
    )


def _damaged(uri: str, fs: Any, path: str, expected: str) -> DamagedObjectError:
    paths = [path]
    where = uri
    with suppress(OSError):  # a store that may only be read
        paths += _other_damaged(fs, path)
        where += f", set apart as {', '.join(set_apart(fs, paths))}"
    return DamagedObjectError(
        "the object does not match the digest in its name"
        + (f"; {len(paths) - 1} more in this store do not" if len(paths) > 1 else ""),
        where=where,
        expected=expected,
        hint=_write_again(paths),
    )


def _write_again(paths: Sequence[str]) -> str:
    kinds = {posixpath.basename(posixpath.dirname(path)) for path in paths}
    tasks = [task for task in dict.fromkeys(WRITERS.values()) if task in {WRITERS.get(kind) for kind in kinds}]
    first = tasks[0] if tasks else "that wrote it"
    return (
        f"clear the task {first} of the run, with the tasks after it, or trigger a new run: it is written again from "
        "its source. That of a model version in production is written again by training on its records"
    )


def _is_intact(fs: Any, path: str, digest: str, size: int | None = None) -> bool:
    """Return whether an object has the digest in its name, and the size if it is known."""
    if size is not None and fs.size(path) != size:
        return False
    return hashlib.sha256(fs.cat_file(path)).hexdigest() == digest


def _other_damaged(fs: Any, path: str) -> list[str]:
    """Return the other damaged objects: what damaged one, such as a full disk, often damaged more.

    It takes as long as reading the store. Only of local folders: object stores never hold half an object.
    """
    if not isinstance(fs, LocalFileSystem):
        return []
    store = Path(path).parents[1]
    found = [one for one in sorted(store.glob("*/*")) if one.parent.name != DAMAGED and str(one) != path]
    named = [(str(one), match["digest"]) for one in found if (match := _ADDRESS.fullmatch(one.name))]
    damaged = []
    for one, digest in named:
        with suppress(FileNotFoundError):  # another process has set it apart meanwhile
            if not _is_intact(fs, one, digest):
                damaged.append(one)
    return damaged


def set_apart(fs: Any, paths: Sequence[str]) -> list[str]:
    """Move damaged files of the store to ``<store>/damaged/<folder>``, and return their new paths.

    Raises:
        OSError: the store cannot be written.
    """
    moved = []
    for path in paths:
        apart = _apart(path)
        try:
            if isinstance(fs, LocalFileSystem):
                apart = str(durable_files.set_apart(Path(path), Path(apart).parent))
            else:
                fs.makedirs(posixpath.dirname(apart), exist_ok=True)
                fs.mv(path, apart)
        except FileNotFoundError:
            continue  # another process has moved it meanwhile
        log.warning("%s is damaged and was moved to %s", path, apart)
        moved.append(apart)
    return moved


def _apart(path: str) -> str:
    folder, name = posixpath.split(path)
    store, kind = posixpath.split(folder)
    return posixpath.join(store, DAMAGED, kind, name)


def digest_of(uri: str) -> str:
    """Return the sha256 in the name of ``uri``.

    Raises:
        StoreError: ``uri`` is not the URI of an object in a store.
    """
    match = _ADDRESS.search(uri)
    if match is None:
        raise StoreError(
            "not the URI of an object in the store",
            where=repr(uri),
            expected="a URI that ends in a sha256 and a suffix",
            hint="pass the URI that the earlier task returned",
        )
    return match["digest"]
