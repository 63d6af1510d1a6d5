"""The log of predictions: every answered record goes to PostgreSQL, and no request ever waits for that.

A request leaves its records in a bounded queue. A thread in each worker writes them in batches; while the database is
away it puts them aside on disk, and adds them in order when it is back. What finds no place is counted.
"""

import logging
import random
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from serving.metrics import prometheus
from serving.model.model_store import Served
from serving.model.predict import Prediction
from serving.model.records import Record
from serving.prediction_log.counters import DROPPED, SPILLED, WAITING, WRITTEN, Counts
from serving.prediction_log.database import LogDatabase, LogDatabaseError
from serving.prediction_log.entries import Answered, Batch, Entry, Found, LoggedModel, describe_model, entries, halves
from serving.prediction_log.spill import Spill, SpillFullError
from serving.settings import Settings

FOLDER = "prediction-log"  # in the cache folder
QUEUE_RECORDS = 20_000  # of a worker, in memory
BATCH_RECORDS = 500  # so many are written, spilled and turned into JSON at once, which nothing else can interrupt
INTERVAL_SECONDS = 0.5
RETRY_SECONDS = 3.0
TAKE_OVER_SECONDS = 5.0
EXPIRE_SECONDS = 3600.0
FLUSH_SECONDS = 1.0  # for what is left when a worker ends
LOOK_UP_SECONDS = 2.0
LOG = logging.getLogger(__name__)


class PredictionLog:
    """Takes answered records from any thread; the rest belongs to its own thread, one in each worker.

    Make it before the fork, and start it after.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.on = settings.prediction_log_url != "off"
        self._counts = Counts()
        self._number = 0
        self._lock = threading.Lock()
        self._queue: deque[Answered] = deque()
        self._waiting = 0
        self._taken: list[Answered] = []  # from the queue, and not yet all of it anywhere else
        self._pending: deque[tuple[Batch, int]] = deque()  # what was taken, as batches
        self._model: tuple[Served, LoggedModel] | None = None
        self._away: tuple[datetime, str] | None = None
        self._dropped_for = ""
        self._wake = threading.Event()
        self._stopping = False
        self._thread: threading.Thread | None = None
        self._spill = Spill(Path(settings.cache) / FOLDER, settings.prediction_log_spill_bytes)
        self._database = LogDatabase(settings.prediction_log_url)
        self._next_try = self._next_take_over = 0.0
        self._next_expire = time.monotonic() + random.uniform(0, 60)  # noqa: S311 - no secret

    def start(self, number: int = 0) -> None:
        """Begin to write, as worker ``number``."""
        self._number = number
        if self.on:
            self._thread = threading.Thread(target=self._run, name="prediction-log", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Write what waits, or put it aside, within a few seconds."""
        self._stopping = True
        self._database.seconds = FLUSH_SECONDS  # for what it is doing now, too
        self._wake.set()
        if self._thread:
            self._thread.join(timeout=4 * FLUSH_SECONDS)

    def lost(self, number: int) -> None:
        """Count what worker ``number``, which has ended, had not written down. Called in its parent."""
        if waiting := self._counts.retire(number):
            LOG.warning("%d predictions that waited for the log are lost with their worker", waiting)
            prometheus.LOG_DROPPED.inc(waiting)

    def add(
        self, predictions: Sequence[Prediction], records: Sequence[Record], served: Served, request_id: str | None
    ) -> None:
        """Take the answers to one request; never waits for anything, never fails."""
        if not self.on:
            return
        count = len(predictions)
        with self._lock:
            waiting = self._waiting + count
            fits = waiting <= QUEUE_RECORDS or not self._waiting  # one request alone may have more than that
            if fits:
                self._queue.append((time.time(), request_id, served, records, predictions))
                self._waiting = waiting
                self._counts.set(self._number, WAITING, waiting)
            else:
                self._counts.add(self._number, DROPPED, count)
        if not fits:
            prometheus.LOG_DROPPED.inc(count)
        if waiting > QUEUE_RECORDS // 4 and not self._wake.is_set():
            self._wake.set()

    def describe(self) -> dict[str, Any]:
        """Return the state of the log: counts since the service started, and why the database is away from here."""
        if not self.on:
            return {"on": False}
        away = self._away
        return {
            "on": True,
            **self._counts.totals(),
            "since": away[0].isoformat(timespec="milliseconds") if away else None,
            "reason": away[1] if away else None,
        }

    def find(self, prediction_id: str) -> Found | None:
        """Return an answer from the queue, the disk or the database, or None.

        Raises:
            LogDatabaseError: the database did not say.
        """
        if found := self._find_waiting(prediction_id) or self._find_spilled(prediction_id):
            return found
        if away := self._away:
            raise LogDatabaseError(away[1])
        database = LogDatabase(self._settings.prediction_log_url, LOOK_UP_SECONDS)
        try:
            return database.find(prediction_id)
        finally:
            database.close()

    def tick(self) -> None:
        """Do what there is to do; called by the thread, or by a test in its place."""
        now = time.monotonic()
        if now >= self._next_take_over:
            self._next_take_over = now + TAKE_OVER_SECONDS
            self._spill.take_over()
        if now < self._next_try and not self._stopping:
            self._put_aside()
        else:
            try:
                self._write_all()
                self._back()
            except LogDatabaseError as error:
                self._gone(str(error))
                self._put_aside()
        self._show()

    def _run(self) -> None:
        while not self._stopping:
            self._wake.wait(INTERVAL_SECONDS)
            self._wake.clear()
            self._tick_safely()
        self._tick_safely()
        self._put_aside()
        self._show()
        self._spill.close()
        self._database.close()

    def _tick_safely(self) -> None:
        try:
            self.tick()
        except Exception as error:  # the writer outlives its own faults, and says so
            LOG.exception("the prediction log failed")
            self._gone(f"the log failed: {error}")

    def _write_all(self) -> None:
        self._database.open()
        for data, records in self._spill.lines():
            self._replay(data, records)
            if self._waiting > QUEUE_RECORDS // 2:
                self._put_aside()
        for batch, _ in self._batches():
            self._write(batch)
        if self._settings.prediction_log_days and time.monotonic() >= self._next_expire:
            if gone := self._database.expire(self._settings.prediction_log_days):
                LOG.info("%d predictions older than %d days were deleted", gone, self._settings.prediction_log_days)
            self._next_expire = time.monotonic() + EXPIRE_SECONDS

    def _replay(self, data: bytes | None, records: int) -> None:
        try:
            batch = msgspec.json.decode(data or b"", type=Batch)
        except msgspec.DecodeError:
            self._drop(records, "a batch on disk is damaged")
        else:
            self._write(batch)

    def _write(self, batch: Batch) -> None:
        try:
            written = self._database.write(batch)
        except ValueError as error:  # one of them: find it, so that the others arrive
            for half in (parts := halves(batch)):
                self._write(half)
            if not parts:
                self._drop(1, f"the database refuses it: {error}")
        else:
            self._count(WRITTEN, written)
            prometheus.LOG_WRITTEN.inc(written)

    def _put_aside(self) -> None:
        """Write the queue to disk."""
        for batch, records in self._batches():
            try:
                self._spill.append(msgspec.json.encode(batch), records)
                prometheus.LOG_SPILLED.inc(records)
            except SpillFullError as error:
                self._drop(records, str(error))

    def _batches(self) -> Iterator[tuple[Batch, int]]:
        """Yield what waits, with its number of records; a batch counts as done once the next one is asked for."""
        while self._pending or self._take():
            batch, records = self._pending[0]
            yield batch, records
            self._pending.popleft()
            with self._lock:
                self._waiting -= records
                self._counts.set(self._number, WAITING, self._waiting)
        self._taken = []

    def _take(self) -> bool:
        """Move some requests, answered by one model, from the queue to the batches; False where there is none."""
        with self._lock:
            if not self._queue:
                return False
            served, count = self._queue[0][2], 0
            self._taken = []
            while self._queue and self._queue[0][2] is served and count < BATCH_RECORDS:
                count += len(self._queue[0][4])
                self._taken.append(self._queue.popleft())
        if self._model is None or self._model[0] is not served:
            self._model = (served, describe_model(served))
        model = self._model[1]
        taken = [entry for answered in self._taken for entry in entries(answered, model.key)]
        for start in range(0, len(taken), BATCH_RECORDS):
            part = taken[start : start + BATCH_RECORDS]
            self._pending.append((Batch(model, msgspec.Raw(msgspec.json.encode(part))), len(part)))
        return True

    def _find_waiting(self, prediction_id: str) -> Found | None:
        with self._lock:
            waiting = [*self._taken, *self._queue]
        for answered in waiting:
            for row, prediction in enumerate(answered[4]):
                if prediction.prediction_id == prediction_id:
                    model = describe_model(answered[2])
                    return Found(entries(answered, model.key)[row], model)
        return None

    def _find_spilled(self, prediction_id: str) -> Found | None:
        line = self._spill.line_with(b'{"prediction_id":"%s"' % prediction_id.encode())
        if line is None:
            return None
        batch = msgspec.json.decode(line, type=Batch)
        spilled = msgspec.json.decode(batch.entries, type=list[Entry])
        return next((Found(entry, batch.model) for entry in spilled if entry.prediction_id == prediction_id), None)

    def _gone(self, reason: str) -> None:
        self._next_try = time.monotonic() + RETRY_SECONDS
        if self._away is None:
            LOG.warning("the database of the prediction log is away: %s", reason)
            self._away = (datetime.now(UTC), reason)
        else:
            self._away = (self._away[0], reason)

    def _back(self) -> None:
        if self._away:
            LOG.info("the database of the prediction log is back; it was away since %s", self._away[0].isoformat())
            self._away = None

    def _drop(self, records: int, reason: str) -> None:
        if reason != self._dropped_for:
            LOG.error("%d predictions are not logged: %s", records, reason)
            self._dropped_for = reason
        self._count(DROPPED, records)
        prometheus.LOG_DROPPED.inc(records)

    def _count(self, which: int, more: int) -> None:
        with self._lock:
            self._counts.add(self._number, which, more)

    def _show(self) -> None:
        self._counts.set(self._number, SPILLED, self._spill.records)
        prometheus.LOG_QUEUED.set(self._waiting)
