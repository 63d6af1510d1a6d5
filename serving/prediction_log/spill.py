"""Batches of the prediction log on disk, while the database is unreachable.

Each worker has one file, in a shared folder. Lines are only appended. A line has the crc32 of its rest, the number of
records, and a batch in JSON. The process that holds a file's lock owns it. The lock of a killed worker is released, so
that exactly one other worker adopts its file.

The ledger keeps its events in lines of the same form, in one file for all workers.
"""

import fcntl
import logging
import os
import re
import uuid
import zlib
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

SUFFIX = ".spill"
_UUID = re.compile(rb'(?<=")[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}(?=")')
LOG = logging.getLogger(__name__)


class SpillFullError(Exception):
    """A batch cannot be written; the text says why."""


class SpillFile:
    """A file that this process owns.

    Args:
        path: of the file.
        file: open for reading, and for appending if this process created it; its lock is held.
    """

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self.path = path
        self.records = 0
        self._file = file
        self._read_to = 0

    @classmethod
    def shared(cls, path: Path) -> "SpillFile":
        """Open a file for all workers, and create it if it is missing. Call it while a lock on it is held.

        An incomplete last line, of a process that was killed, is removed: what is appended would be damaged, too.

        Raises:
            OSError: it cannot be opened or created.
        """
        file = os.fdopen(os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600), "rb")
        content = file.read()
        if (complete := content.rfind(b"\n") + 1) < len(content):
            os.ftruncate(file.fileno(), complete)
        return cls(path, file)

    def count(self) -> None:
        """Count the records of a file that another process wrote."""
        self._file.seek(0)
        self.records = sum(_parsed(line)[1] for line in self._file)

    def append(self, data: bytes, records: int) -> None:
        """Write one line.

        Raises:
            OSError: nothing was written.
        """
        descriptor = self._file.fileno()
        end = os.fstat(descriptor).st_size
        rest = _line(data, records)
        try:
            while rest:  # not through the file object: its buffer would keep what the disk refused
                rest = rest[os.write(descriptor, rest) :]
        except OSError:
            with suppress(OSError):
                os.ftruncate(descriptor, end)
            raise
        self.records += records

    def sync(self) -> None:
        """Wait until the disk has what was appended.

        Raises:
            OSError: it may not have all of it.
        """
        os.fsync(self._file.fileno())

    def lines(self) -> Iterator[tuple[bytes | None, int]]:
        """Yield each unread batch with its number of records; the batch is None if its line is damaged.

        A line counts as read when the next one is requested.
        """
        while True:
            self._file.seek(self._read_to)
            line = self._file.readline()
            if not line:
                return
            data, records = _parsed(line)
            yield data, records
            self._read_to += len(line)
            self.records = max(self.records - records, 0)

    def remove(self) -> None:
        """Delete the file and release its lock."""
        self.path.unlink(missing_ok=True)
        self._file.close()

    def close(self) -> None:
        """Release the lock, so that another process can adopt the file."""
        self._file.close()


class Spill:
    """The files of all workers in ``folder``.

    Args:
        folder: created when it is first needed, for this user only, because it holds records of patients.
        limit: maximum size of all files together, in bytes.
    """

    def __init__(self, folder: Path, limit: int) -> None:
        self._folder = folder
        self._limit = limit
        self._own: SpillFile | None = None
        self._taken: list[SpillFile] = []

    @property
    def records(self) -> int:
        """Return the number of records in the files that this worker owns."""
        return sum(file.records for file in self._files())

    def append(self, data: bytes, records: int) -> None:
        """Write a batch of ``records`` records to this worker's file.

        Raises:
            SpillFullError: the limit is reached, or the folder cannot be written to.
        """
        try:
            used = sum(path.stat().st_size for path in self._folder.glob(f"*{SUFFIX}"))
            if used + len(data) > self._limit:
                raise SpillFullError(f"{self._folder} holds {used} of {self._limit} bytes")
            if self._own is None:
                self._own = _create(self._folder)
            self._own.append(data, records)
        except OSError as error:
            raise SpillFullError(f"{self._folder} cannot be written to: {error.strerror or error}") from error

    def adopt(self) -> None:
        """Take ownership of the files of ended workers."""
        for path in sorted(self._folder.glob(f"*{SUFFIX}"), key=_age):
            if path in [file.path for file in self._files()]:
                continue
            try:
                file = _locked(path)
            except FileNotFoundError:
                continue  # its owner has delivered and deleted it
            except OSError as error:
                LOG.warning("%s cannot be adopted: %s", path, error)
                continue
            if file:
                file.count()
                self._taken.append(file)
                LOG.info("adopted %d predictions of another worker in %s", file.records, path)

    def lines(self) -> Iterator[tuple[bytes | None, int]]:
        """Yield each batch with its number of records, the oldest first; the batch is None if its line is damaged.

        A batch counts as delivered when the next one is requested. A file is deleted when all of it is delivered.
        """
        while self._files():
            file = self._files()[0]
            yield from file.lines()
            file.remove()
            if file is self._own:
                self._own = None
            else:
                self._taken.remove(file)

    def line_with(self, text: bytes) -> bytes | None:
        """Return the first undamaged batch of any worker that contains ``text``."""
        for path in self._folder.glob(f"*{SUFFIX}"):
            with suppress(OSError), path.open("rb") as file:
                for line in file:
                    if text in line and (data := _parsed(line)[0]) is not None:
                        return data
        return None

    def ids_among(self, wanted: Collection[str]) -> set[str]:
        """Return which of these ids occur in the files of all workers."""
        found: set[str] = set()
        for path in self._folder.glob(f"*{SUFFIX}"):
            with suppress(OSError), path.open("rb") as file:
                for line in file:
                    found |= {text.decode() for text in _UUID.findall(line)} & set(wanted)
        return found

    def close(self) -> None:
        """Release all files."""
        for file in self._files():
            file.close()
        self._own, self._taken = None, []

    def _files(self) -> list[SpillFile]:
        return [*self._taken, self._own] if self._own else list(self._taken)


def lines_of(path: Path) -> Iterator[bytes]:
    """Yield each undamaged batch of a file, whoever owns it; nothing if it is gone."""
    with suppress(FileNotFoundError), path.open("rb") as file:
        for line in file:
            if (data := _parsed(line)[0]) is not None:
                yield data


def rewrite(path: Path, change: Callable[[bytes], tuple[bytes, int]]) -> bool:
    """Replace each undamaged batch of a file that no running worker owns. The file is complete at each moment.

    Args:
        path: of the file.
        change: returns the new batch and its number of records; a batch without records is left out.

    Returns:
        False if a running worker owns the file, or if it is gone: nothing was changed.

    Raises:
        OSError: it cannot be written; nothing was changed.
    """
    try:
        file = _locked(path)
    except FileNotFoundError:
        return False
    if file is None:
        return False
    new = path.with_suffix(".new")
    try:
        lines = [_changed(line, change) for line in path.read_bytes().splitlines(keepends=True)]
        if any(lines):
            with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as written:
                written.writelines(lines)
                written.flush()
                os.fsync(written.fileno())
            new.replace(path)
        else:
            path.unlink()
    finally:
        new.unlink(missing_ok=True)
        file.close()
    return True


def _changed(line: bytes, change: Callable[[bytes], tuple[bytes, int]]) -> bytes:
    data, _ = _parsed(line)
    if data is None:
        return line
    new, records = change(data)
    return _line(new, records) if records else b""


def _line(data: bytes, records: int) -> bytes:
    body = b"%d %s" % (records, data)
    return b"%08x %s\n" % (zlib.crc32(body), body)


def _create(folder: Path) -> SpillFile:
    folder.parent.mkdir(parents=True, exist_ok=True)  # the cache folder, if somebody has deleted it
    folder.mkdir(mode=0o700, exist_ok=True)
    path = folder / f"{uuid.uuid4()}{SUFFIX}"
    # locked under a name that ``adopt`` ignores, so that no other process sees it without an owner
    new = path.with_suffix(".new")
    file = os.fdopen(os.open(new, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_EXCL, 0o600), "rb")
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        new.rename(path)
    except OSError:
        file.close()
        raise
    return SpillFile(path, file)


def _locked(path: Path) -> SpillFile | None:
    """Return the file at ``path``, or None if another process owns it."""
    file = path.open("rb")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    except OSError:
        file.close()
        raise
    if os.fstat(file.fileno()).st_nlink == 0:  # its owner deleted it between open and lock
        file.close()
        return None
    return SpillFile(path, file)


def _parsed(line: bytes) -> tuple[bytes | None, int]:
    """Return the batch in ``line``, or None if it is damaged, and its number of records, at least one."""
    crc, _, body = line.removesuffix(b"\n").partition(b" ")
    count, _, data = body.partition(b" ")
    records = max(int(count), 1) if count.isdigit() else 1
    complete = line.endswith(b"\n") and crc == b"%08x" % zlib.crc32(body)
    return (data if complete else None), records


def _age(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0
