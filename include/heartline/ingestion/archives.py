"""A file that was compressed for the way: gzip, or a zip with one file in it, known by the first bytes."""

import gzip
import io
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

from heartline.errors import DataError
from heartline.ingestion.http import too_large

_GZIP = b"\x1f\x8b"
_ZIP = b"PK\x03\x04"
_EMPTY_ZIP = b"PK\x05\x06"
_MAC = "__MACOSX/"  # what macOS adds to each zip: attributes of the files, no content
_SHOWN = 10

# What zipfile raises on damage, on a compression that it does not know, and on a password.
BROKEN_ZIP = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError)


def unpack(data: bytes, *, where: str, size: int) -> bytes:
    """Return what a gzip or zip file holds; other bytes are returned as they are.

    An archive within an archive stays packed.

    Args:
        data: the whole file.
        where: the file or address, for messages.
        size: the largest content, in bytes; no more than that is ever unpacked.

    Raises:
        DataError: the archive is damaged or has a password, or a zip has not exactly one file in it.
        SourceError: the content is too large.
    """
    if data.startswith(_GZIP):
        return _gunzip(data, where, size)
    if data.startswith((_ZIP, _EMPTY_ZIP)):
        with _damage(where, BROKEN_ZIP), zipfile.ZipFile(io.BytesIO(data)) as archive:
            return bounded(archive, _only_file(archive, where), where=where, size=size)
    return data


def bounded(archive: zipfile.ZipFile, member: str, *, where: str, size: int) -> bytes:
    """Return a file of a zip.

    Raises:
        SourceError: it is larger than ``size`` bytes. The archive's own word is enough, as zipfile unpacks no more.
    """
    if archive.getinfo(member).file_size > size:
        raise too_large(where, size, unpacked=True)
    return archive.read(member)


def _gunzip(data: bytes, where: str, size: int) -> bytes:
    with _damage(where, (gzip.BadGzipFile, zlib.error, EOFError)), gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
        content = bytearray()
        while chunk := file.read(1 << 20):
            content += chunk
            if len(content) > size:
                raise too_large(where, size, unpacked=True)
        return bytes(content)


def _only_file(archive: zipfile.ZipFile, where: str) -> str:
    files = [one.filename for one in archive.infolist() if not one.is_dir() and not one.filename.startswith(_MAC)]
    if len(files) == 1:
        return files[0]
    more = ", …" if len(files) > _SHOWN else ""
    raise DataError(
        f"the zip holds {len(files)} files" if files else "the zip holds no file",
        where=f"{where}: {', '.join(files[:_SHOWN])}{more}" if files else where,
        expected="a zip with one CSV or Parquet file in it",
        hint="unpack it and name the file that is meant; a spreadsheet, which is a zip too, is saved as CSV",
    )


@contextmanager
def _damage(where: str, kinds: tuple[type[Exception], ...]) -> Iterator[None]:
    try:
        yield
    except kinds as error:
        raise DataError(
            f"the archive cannot be opened: {error}",
            where=where,
            expected="a complete gzip or zip file without a password",
            hint="pack or copy the file again",
        ) from None
