"""Batches of the prediction log on disk, while the database is away.

One file for each worker, in one folder for all of them, appended to and never rewritten. A line is the crc32 of what
follows it, the number of records, and a batch in JSON. Whoever holds a file's lock owns it; the lock of a killed worker
is free, so that exactly one other takes its file over.
"""

import fcntl
import logging
import os
import uuid
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

SUFFIX = ".spill"
LOG = logging.getLogger(__name__)


class SpillFullError(Exception):
    """A line does not fit; the text says why."""


class SpillFile:
    """A file that this process owns.

    Args:
        path: where it lies.
        file: it, open for reading, its lock held; also for appending, where this process made it.
    """

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self.path = path
        self.records = 0
        self._file = file
        self._read_to = 0

    def count(self) -> None:
        """Count the records of a file that somebody else wrote."""
        self._file.seek(0)
        self.records = sum(_parsed(line)[1] for line in self._file)

    def append(self, data: bytes, records: int) -> None:
        """Write one line.

        Raises:
            OSError: it was not written, and nothing of it is left.
        """
        descriptor = self._file.fileno()
        end = os.fstat(descriptor).st_size
        body = b"%d %s" % (records, data)
        rest = b"%08x %s\n" % (zlib.crc32(body), body)
        try:
            while rest:  # past the file object: its buffer would keep what was refused
                rest = rest[os.write(descriptor, rest) :]
        except OSError:
            with suppress(OSError):
                os.ftruncate(descriptor, end)
            raise
        self.records += records

    def lines(self) -> Iterator[tuple[bytes | None, int]]:
        """Yield what was not read yet, as batch and number of records; a damaged line as None.

        A line counts as read once the next one is asked for.
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
        """Delete it, which gives its lock back."""
        self.path.unlink(missing_ok=True)
        self._file.close()

    def close(self) -> None:
        """Give its lock back, and leave it to whoever comes next."""
        self._file.close()


class Spill:
    """The files of all workers in ``folder``.

    Args:
        folder: made when it is first needed, for this user only: it holds records of patients.
        limit: bytes that all files together may have.
    """

    def __init__(self, folder: Path, limit: int) -> None:
        self._folder = folder
        self._limit = limit
        self._own: SpillFile | None = None
        self._taken: list[SpillFile] = []

    @property
    def records(self) -> int:
        """The number of records in the files that this worker owns."""
        return sum(file.records for file in self._files())

    def append(self, data: bytes, records: int) -> None:
        """Write a batch of ``records`` to this worker's file.

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

    def take_over(self) -> None:
        """Own the files of workers that have ended."""
        for path in sorted(self._folder.glob(f"*{SUFFIX}"), key=_age):
            if path in [file.path for file in self._files()]:
                continue
            try:
                file = _locked(path)
            except FileNotFoundError:
                continue  # its owner was done with it
            except OSError as error:
                LOG.warning("%s cannot be taken over: %s", path, error)
                continue
            if file:
                file.count()
                self._taken.append(file)
                LOG.info("took over %d predictions that another worker left in %s", file.records, path)

    def lines(self) -> Iterator[tuple[bytes | None, int]]:
        """Yield every batch with its number of records, the oldest first; a damaged line as None.

        A batch counts as done once the next one is asked for; a file whose batches are all done is deleted.
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
        """Return the first whole batch, of whatever worker, in which ``text`` occurs."""
        for path in self._folder.glob(f"*{SUFFIX}"):
            with suppress(OSError), path.open("rb") as file:
                for line in file:
                    if text in line and (data := _parsed(line)[0]) is not None:
                        return data
        return None

    def close(self) -> None:
        """Leave the files to whoever comes next."""
        for file in self._files():
            file.close()
        self._own, self._taken = None, []

    def _files(self) -> list[SpillFile]:
        return [*self._taken, self._own] if self._own else list(self._taken)


def _create(folder: Path) -> SpillFile:
    folder.mkdir(mode=0o700, exist_ok=True)
    path = folder / f"{uuid.uuid4()}{SUFFIX}"
    # locked under a name that nobody looks for, so that it is never seen without an owner
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
    """Return the file at ``path`` if nobody else owns it."""
    file = path.open("rb")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    if os.fstat(file.fileno()).st_nlink == 0:  # its owner was done with it between our open and our lock
        file.close()
        return None
    return SpillFile(path, file)


def _parsed(line: bytes) -> tuple[bytes | None, int]:
    """Return the batch in ``line``, None where it is not whole, and how many records it has, at least one."""
    crc, _, body = line.removesuffix(b"\n").partition(b" ")
    count, _, data = body.partition(b" ")
    records = max(int(count), 1) if count.isdigit() else 1
    whole = line.endswith(b"\n") and crc == b"%08x" % zlib.crc32(body)
    return (data if whole else None), records


def _age(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0
