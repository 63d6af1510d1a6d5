"""The events that are not in the ledger yet, on disk, in one file for all workers of the service.

history.json    what each host entered last
events.spill    events in their order, one line each
lock            held while these two files are read or changed: milliseconds
entering        held by the worker that enters events: while the database hangs, many seconds

An event is on disk before the history says so. After a crash between the two it is found to be new again, and gets the
same key, under which the ledger has one entry.
"""

import fcntl
import logging
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import msgspec

from serving.ledger.events import Change, Event, History, beginning
from serving.prediction_log.spill import SpillFile

LIMIT_BYTES = 1024 * 1024  # of all events, about a thousand
HOSTS = 64  # whose history is kept: a container that is made again has another name
LOG = logging.getLogger(__name__)


class OutboxFullError(Exception):
    """An event cannot be kept; the text says why."""


class Outbox:
    """The events in ``folder``, which is created when it is first needed. For any thread and any process.

    Args:
        folder: of the files.
        host: the name of this host.
    """

    def __init__(self, folder: Path, host: str) -> None:
        self._folder = folder
        self._host = host
        self._history = folder / "history.json"
        self._events = folder / "events.spill"

    def waiting(self) -> int:
        """Return the number of events that wait."""
        try:
            return self._events.read_bytes().count(b"\n")
        except OSError:
            return 0

    def add(self, changed: Callable[[History], Change]) -> int:
        """Keep what is new of a change of this host, and return the number of its events.

        Args:
            changed: returns the change that follows on the host's history.

        Raises:
            OutboxFullError: the limit is reached; the change is not kept.
            OSError: the folder cannot be written to; the change is not kept.
        """
        with self._locked("lock"):
            histories = self._histories()
            before = histories.pop(self._host, None)
            if before is None:
                before = beginning()
                self._save(histories | {self._host: before})  # an event must have the same key after a crash
            change = changed(before)
            if change.events:
                self._append(change.events)
            if change.history != before:
                self._save(histories | {self._host: change.history})
        return len(change.events)

    def enter(self, enter: Callable[[Event], object]) -> int | None:
        """Call ``enter`` for each event in order, then delete them, and return their number.

        If it raises, all of them are kept. If another worker is entering events, nothing is done and None is returned.

        Raises:
            OSError: the folder cannot be written to.
        """
        entered = 0
        with self._locked("entering", wait=False) as mine:
            if not mine:
                return None
            while lines := self._lines():
                for line in lines[entered:]:
                    if event := _event(line):
                        enter(event)
                    entered += 1
                self._remove(entered)
        return entered

    def _append(self, events: tuple[Event, ...]) -> None:
        with closing(SpillFile.shared(self._events)) as file:
            lines = [msgspec.json.encode(event) for event in events]
            used = self._events.stat().st_size
            if used + sum(map(len, lines)) > LIMIT_BYTES:
                raise OutboxFullError(f"{self._events} holds {used} of {LIMIT_BYTES} bytes")
            for line in lines:
                file.append(line, 1)
            file.sync()

    def _lines(self) -> list[bytes | None]:
        with self._locked("lock"):
            if not self._events.exists():
                return []
            with closing(SpillFile.shared(self._events)) as file:
                return [data for data, _ in file.lines()]

    def _remove(self, entered: int) -> None:
        """Delete the events if all are entered, and no worker has added another one meanwhile."""
        with self._locked("lock"):
            if self.waiting() <= entered:
                self._events.unlink(missing_ok=True)

    def _histories(self) -> dict[str, History]:
        try:
            return msgspec.json.decode(self._history.read_bytes(), type=dict[str, History])
        except FileNotFoundError:
            return {}
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            LOG.warning("%s cannot be read; the served version is entered again: %s", self._history, error)
            return {}

    def _save(self, histories: dict[str, History]) -> None:
        kept = dict(list(histories.items())[-HOSTS:])
        new = self._history.with_suffix(".new")
        new.write_bytes(msgspec.json.encode(kept))
        new.replace(self._history)

    @contextmanager
    def _locked(self, name: str, *, wait: bool = True) -> Iterator[bool]:
        """Hold a lock. Without ``wait``, yield False if it is held by somebody else."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (self._folder / name).open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True


def _event(line: bytes | None) -> Event | None:
    try:
        return msgspec.json.decode(line or b"", type=Event)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        LOG.error("an event is not entered in the ledger, because it is damaged on disk: %s", error)
        return None
