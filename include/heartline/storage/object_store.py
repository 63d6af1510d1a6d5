"""A store in which every object is named by the sha256 of its bytes.

The address is ``<store>/<kind>/<sha256><suffix>`` under any URI that fsspec understands (``file://``, ``s3://``), so a
worker on another machine reads the same object by the same name. Writing an object twice is writing it once.
"""

import hashlib
import os
import posixpath
import re

import fsspec

from heartline.errors import HeartlineError

_ADDRESS = re.compile(r"(?P<digest>[0-9a-f]{64})(?P<suffix>(\.[a-z]+)*)$")


class StoreError(HeartlineError):
    """The store cannot be reached, or an object is not what its name says."""


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
            hint="set it, or use ./heartline, which does",
        )
    return uri


def put(data: bytes, kind: str, suffix: str, *, store: str | None = None) -> str:
    """Write ``data`` once and return its URI.

    Args:
        data: the object's bytes.
        kind: the folder below the store, for example ``snapshots``.
        suffix: the file name's ending with its dot.
        store: the store's URI; ``HEARTLINE_STORE`` if not given.

    Raises:
        StoreError: the store cannot be written.
    """
    digest = hashlib.sha256(data).hexdigest()
    uri = posixpath.join((store or default_uri()).rstrip("/"), kind, digest + suffix)
    try:
        fs, path = fsspec.core.url_to_fs(uri)
        if not fs.exists(path):
            fs.makedirs(posixpath.dirname(path), exist_ok=True)
            # a reader must never see half an object: within a transaction the file gets its name at the end
            with fs.transaction, fs.open(path, "wb") as file:
                file.write(data)
    except OSError as error:
        raise StoreError(
            f"the store cannot be written: {error}",
            where=uri,
            expected="a writable store with free space",
            hint="check HEARTLINE_STORE, its rights and the free space",
        ) from error
    return uri


def address(digest: str, kind: str, suffix: str) -> str:
    """Return the URI at which the object with this sha256 is, if it is there.

    Raises:
        StoreError: no store is configured.
    """
    return posixpath.join(default_uri().rstrip("/"), kind, digest + suffix)


def get(uri: str) -> bytes:
    """Return the bytes at ``uri`` after comparing them with the digest in its name.

    Raises:
        StoreError: there is no such object, or its bytes are not what its name says.
    """
    expected = digest_of(uri)
    try:
        fs, path = fsspec.core.url_to_fs(uri)
        data = bytes(fs.cat_file(path))
    except OSError as error:
        raise StoreError(
            f"the object cannot be read: {error}",
            where=uri,
            expected="an object that an earlier task wrote",
            hint="check that every worker reaches HEARTLINE_STORE; clear the first task to write it again",
        ) from error
    found = hashlib.sha256(data).hexdigest()
    if found != expected:
        raise StoreError(
            "the object is not what its name says",
            where=uri,
            expected=f"sha256 {expected}, found {found}",
            hint="the file was damaged or changed: delete it and clear the task that wrote it",
        )
    return data


def digest_of(uri: str) -> str:
    """Return the sha256 that ``uri`` is named by.

    Raises:
        StoreError: ``uri`` is not an address in a store.
    """
    match = _ADDRESS.search(uri)
    if match is None:
        raise StoreError(
            "not an address in the store",
            where=repr(uri),
            expected="a URI that ends in a sha256 and a suffix",
            hint="pass on what the earlier task returned",
        )
    return match["digest"]
