"""Bundles: one archive of a model's files, with the sha256 of each in its ``manifest.json``."""

import hashlib
import io
import json
import re
import tarfile
from collections.abc import Mapping

from heartline.errors import HeartlineError

_PLAIN_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")


class BundleError(HeartlineError):
    """A bundle does not agree with its manifest."""


def pack(files: Mapping[str, bytes]) -> bytes:
    """Return a tar archive of ``files`` that depends only on their names and bytes."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name in sorted(files):
            entry = tarfile.TarInfo(name)
            entry.size = len(files[name])
            archive.addfile(entry, io.BytesIO(files[name]))
    return buffer.getvalue()


def unpack(bundle: bytes) -> dict[str, bytes]:
    """Return the files of a bundle by name.

    Raises:
        BundleError: it is not an archive of plain files.
    """
    files = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(bundle)) as archive:
            for entry in archive:
                if not (entry.isreg() and _PLAIN_NAME.fullmatch(entry.name)):
                    raise _damaged(f"{entry.name!r} is not a plain file", bundle)
                files[entry.name] = archive.extractfile(entry).read()  # type: ignore[union-attr]
    except tarfile.TarError as error:
        raise _damaged(f"this is not a tar archive: {error}", bundle) from error
    return files


def open_bundle(bundle: bytes) -> dict[str, bytes]:
    """Return the files of a bundle by name, each verified by its digest in the manifest.

    Raises:
        BundleError: a file is missing, not listed, or differs from its digest, or the bundle is not an archive.
    """
    files = unpack(bundle)
    try:
        listed = json.loads(files["manifest.json"])["files"]
        expected = {name: (entry["sha256"], entry["bytes"]) for name, entry in listed.items()}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _damaged("manifest.json is missing or cannot be read", bundle) from error
    found = {
        name: (hashlib.sha256(data).hexdigest(), len(data)) for name, data in files.items() if name != "manifest.json"
    }
    for name in sorted({*expected, *found}):
        if name not in found:
            raise _damaged(f"{name} is missing", bundle)
        if name not in expected:
            raise _damaged(f"{name} is not listed in manifest.json", bundle)
        if found[name] != expected[name]:
            (digest, size), (found_digest, found_size) = expected[name], found[name]
            raise _damaged(
                f"{name} differs from its digest in manifest.json",
                bundle,
                f"sha256 {digest} and {size} bytes, found {found_digest} and {found_size} bytes",
            )
    return files


def _damaged(what: str, bundle: bytes, expected: str = "") -> BundleError:
    return BundleError(
        what,
        where=f"bundle {hashlib.sha256(bundle).hexdigest()[:12]}",
        expected=expected or "the files that manifest.json lists, each with its sha256 and size",
        hint="train again; if it happens again, find out what changes files of the store",
    )
