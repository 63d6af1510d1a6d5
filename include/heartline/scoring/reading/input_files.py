"""Opens the file of an input: one on this machine that the settings allow, or one of the store."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import fsspec

from heartline.errors import SourceError
from heartline.ingestion.access import files


@contextmanager
def opened(address: str, folders: files.Folders) -> Iterator[BinaryIO]:
    """Open a file for reading at any position.

    Args:
        address: an absolute path, which the settings must allow, or the URI of a file in the store.
        folders: the folders whose files may be read.

    Raises:
        SourceError: it may not or cannot be read.
    """
    if address.startswith("/"):
        with files.opened(folders.find(Path(address))) as file:
            yield file
        return
    try:
        fs, path = fsspec.core.url_to_fs(address)
        stored = fs.open(path, "rb")
    except OSError as error:
        missing = isinstance(error, FileNotFoundError)
        raise SourceError(
            "the copy of the input is not in the store"
            if missing
            else f"the copy of the input cannot be read: {error}",
            where=address,
            expected="the copy that the task plan wrote; the end of a run deletes it",
            hint="clear the task plan with the tasks after it, or trigger a new run",
        ) from None
    with stored:
        yield stored


def size(file: BinaryIO) -> int:
    """Return the number of bytes of an open file."""
    file.seek(0, 2)
    return file.tell()
