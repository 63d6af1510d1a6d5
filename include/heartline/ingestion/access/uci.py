"""Reads the Cleveland file of the UCI archive: downloaded once, verified by its digest."""

import hashlib
import io
import logging
import zipfile
from collections.abc import Callable
from pathlib import Path

from heartline import visible
from heartline.errors import SourceError, SourceRefusedError
from heartline.ingestion.formats import archives
from heartline.storage import durable_files

MEMBER = "processed.cleveland.data"
SHA256 = "a74b7efa387bc9d108d7d0115d831fe9b414b29ae7124f331b622b4efa0427c8"

_log = logging.getLogger(__name__)


def cleveland(
    fetch: Callable[[], bytes], *, where: str, cache: Path | None = None, sha256: str = SHA256, size: int = 2 << 30
) -> tuple[bytes, bool]:
    """Return the file's bytes, and whether they come from the cache.

    Args:
        fetch: returns the archive; called only if the cache has no copy with the right digest.
        where: the archive's URL, for messages.
        cache: the folder of copies, or None; if it cannot be written, a warning is logged.
        sha256: the file's digest.
        size: the largest file, in bytes.

    Raises:
        SourceError: the archive is not a zip, lacks the file, or the file has another digest.
    """
    cached = _cached(cache, sha256)
    if cached is not None:
        return cached, True
    data = _member(fetch(), where, size)
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise SourceRefusedError(
            f"{MEMBER} has changed: its sha256 is {found}",
            where=where,
            expected=f"sha256 {sha256}",
            hint="try again; if the archive has published a new file, examine it and give its path as the source",
        )
    if cache is not None:
        _keep(data, cache, sha256)
    return data, False


def _member(archive: bytes, where: str, size: int) -> bytes:
    try:
        with zipfile.ZipFile(io.BytesIO(archive)) as members:
            if MEMBER not in members.namelist():
                raise SourceRefusedError(
                    f"the archive does not hold {MEMBER}",
                    where=where,
                    expected=f"a zip with {MEMBER}; this one holds {visible.listed(members.namelist()) or 'nothing'}",
                    hint="check HEARTLINE_UCI_URL",
                )
            return archives.bounded(members, MEMBER, where=where, size=size)
    except archives.BROKEN_ZIP as error:
        raise SourceError(
            f"the archive cannot be opened: {visible.visible(error, visible.LONG)}",
            where=where,
            expected="a complete zip file",
            hint="try again, and check HEARTLINE_UCI_URL",
        ) from None


def _cached(cache: Path | None, sha256: str) -> bytes | None:
    if cache is None:
        return None
    try:
        data = (cache / sha256).read_bytes()
    except OSError:
        return None
    if hashlib.sha256(data).hexdigest() == sha256:
        return data
    _log.warning("the copy %s is damaged; downloading the file again", cache / sha256)
    return None


def _keep(data: bytes, cache: Path, sha256: str) -> None:
    try:
        durable_files.write(cache / sha256, data)
    except OSError as error:
        _log.warning("the download cannot be cached: %s", error)
