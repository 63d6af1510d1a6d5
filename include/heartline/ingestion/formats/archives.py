"""Unpacks compressed files: gzip, or a zip that holds one file; recognised by the first bytes."""

import gzip
import io
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

from heartline import visible
from heartline.errors import DataError
from heartline.ingestion import limits
from heartline.ingestion.formats import workbooks
from heartline.ingestion.formats.file_kinds import FORMATS

_GZIP = b"\x1f\x8b"
_ZIP = b"PK\x03\x04"
_EMPTY_ZIP = b"PK\x05\x06"
_CHUNK = 1 << 20
_NO_CONTENT = ("__macosx/", "thumbs.db", "desktop.ini")  # what macOS and Windows add: attributes and previews

# What zipfile raises for a damaged archive, an unknown compression and a password.
BROKEN_ZIP = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError)


def unpack(data: bytes, *, where: str, size: int) -> bytes:
    """Return the content of a gzip or zip file; other bytes are returned unchanged.

    An archive inside an archive is not unpacked.

    Args:
        data: the complete file.
        where: the file or address, for messages.
        size: the limit of the content, in bytes; unpacking stops there.

    Raises:
        DataError: the archive is damaged or has a password, or a zip does not hold exactly one file.
        TooLargeError: the content exceeds ``size``, or is far larger than a table of records of that packed size.
    """
    if data.startswith(_GZIP):
        return _gunzip(data, where, size)
    if data.startswith((_ZIP, _EMPTY_ZIP)):
        with _damage(where, BROKEN_ZIP), zipfile.ZipFile(io.BytesIO(data)) as archive:
            if workbooks.kind(archive.namelist()) is not None:  # a document that is a zip itself
                return data
            return bounded(archive, _only_file(archive, where), where=where, size=size)
    return data


def _has_content(name: str) -> bool:
    """Return whether a file of a zip is one that its maker put there; .DS_Store and ~$lock files are not."""
    path = name.lower()
    base = path.rpartition("/")[2]
    return not (path.startswith(_NO_CONTENT[0]) or base in _NO_CONTENT or base.startswith((".", "~$")))


def bounded(archive: zipfile.ZipFile, member: str, *, where: str, size: int) -> bytes:
    """Return one file of a zip.

    Raises:
        TooLargeError: it is larger than ``size`` bytes, or packed too densely. The size in the archive's directory is
            reliable: zipfile reads no more than that.
    """
    about = archive.getinfo(member)
    if about.file_size > size:
        raise limits.too_large(where, size, unpacked=True)
    if about.file_size > limits.unpacked_size(about.compress_size, size):
        raise limits.too_dense(where)
    return archive.read(member)


def _gunzip(data: bytes, where: str, size: int) -> bytes:
    most = limits.unpacked_size(len(data), size)
    parts: list[bytes] = []
    total = 0
    with _damage(where, (gzip.BadGzipFile, zlib.error, EOFError)), gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
        while part := file.read(_CHUNK):
            parts.append(part)
            total += len(part)
            if total > most:
                raise limits.too_dense(where) if most < size else limits.too_large(where, size, unpacked=True)
    return b"".join(parts)


def _only_file(archive: zipfile.ZipFile, where: str) -> str:
    files = [one.filename for one in archive.infolist() if not one.is_dir() and _has_content(one.filename)]
    if len(files) == 1:
        return files[0]
    raise DataError(
        f"the zip holds {len(files)} files" if files else "the zip holds no file",
        where=f"{where}: {visible.listed(files)}" if files else where,
        expected=f"a zip that holds one {FORMATS} file",
        hint="unpack it and give the path of one file",
    )


@contextmanager
def _damage(where: str, kinds: tuple[type[Exception], ...]) -> Iterator[None]:
    try:
        yield
    except kinds as error:
        raise DataError(
            f"the archive cannot be opened: {visible.visible(error, visible.LONG)}",
            where=where,
            expected="a complete gzip or zip file without a password",
            hint="pack or copy the file again",
        ) from None
