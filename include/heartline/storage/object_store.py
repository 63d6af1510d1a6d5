"""Content-addressed object store: each object is named by the sha256 of its bytes.

The URI of an object is ``<store>/<kind>/<sha256><suffix>`` under any URI that fsspec supports (``file://``, ``s3://``),
so workers on other machines read the same object by the same name. Writing is idempotent.
"""

import hashlib
import os
import posixpath
import re

import fsspec

from heartline.errors import HeartlineError

_ADDRESS = re.compile(r"(?P<digest>[0-9a-f]{64})(?P<suffix>(\.[a-z]+)*)$")


class StoreError(HeartlineError):
    """The store is unreachable, or an object does not match the digest in its name."""


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
    """Write ``data`` if it is not stored yet, and return its URI.

    Args:
        data: the object's bytes.
        kind: the folder in the store, for example ``snapshots``.
        suffix: the suffix of the file name, with its dot.
        store: the store's URI; by default that of the environment.

    Raises:
        StoreError: the store cannot be written.
    """
    digest = hashlib.sha256(data).hexdigest()
    uri = address(digest, kind, suffix, store)
    try:
        fs, path = fsspec.core.url_to_fs(uri)
        if not fs.exists(path):
            fs.makedirs(posixpath.dirname(path), exist_ok=True)
            # readers must never see a partial object: in a transaction the file gets its name at the end
            with fs.transaction, fs.open(path, "wb") as file:
                file.write(data)
    except OSError as error:
        raise StoreError(
            f"the store cannot be written: {error}",
            where=uri,
            expected="a writable store with free space",
            hint="check HEARTLINE_STORE, its permissions and the free space",
        ) from error
    return uri


def address(digest: str, kind: str, suffix: str, store: str | None = None) -> str:
    """Return the URI of the object with this sha256, whether or not it exists.

    Raises:
        StoreError: no store is configured.
    """
    return posixpath.join((store or default_uri()).rstrip("/"), kind, digest + suffix)


def get(uri: str) -> bytes:
    """Return the bytes at ``uri`` after comparing their digest with its name.

    Raises:
        StoreError: there is no such object, or its bytes do not match the digest in its name.
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
            hint="check that every worker can read HEARTLINE_STORE; clear the first task to write the object again",
        ) from error
    found = hashlib.sha256(data).hexdigest()
    if found != expected:
        raise StoreError(
            "the object does not match the digest in its name",
            where=uri,
            expected=f"sha256 {expected}, found {found}",
            hint="the file was damaged or changed: delete it, and clear the task that wrote it",
        )
    return data


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
