"""The prediction log: every prediction is written to PostgreSQL, and no request waits for it.

A request puts its predictions into a bounded queue. A thread in each worker writes them in batches. While the database
is unreachable it writes them to disk, and inserts them in order later. Predictions that do not fit are counted.
"""

import logging
import random
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from serving.metrics import prometheus
from serving.model.model_store import Served, Time, to_text
from serving.model.predict import Prediction
from serving.prediction_log.connection import DatabaseError
from serving.prediction_log.counters import DROPPED, QUEUED, SPILLED, WRITTEN, Counts
from serving.prediction_log.database import LogDatabase
from serving.prediction_log.entries import (
    Answered,
    Batch,
    Found,
    LoggedModel,
    batches,
    describe_model,
    part,
    read_batch,
    split_batch,
)
from serving.prediction_log.outcomes import Outcome
from serving.prediction_log.spill import Spill, SpillFullError
from serving.settings import Settings

FOLDER = "prediction-log"  # in the cache folder
QUEUE_RECORDS = 20_000  # of a worker, in memory
BATCH_RECORDS = 1000  # written, spilled or encoded at once; encoding blocks the other threads
INTERVAL_SECONDS = 0.5  # between two batches
RETRY_SECONDS = 3.0  # between two attempts to reach the database
ADOPT_SECONDS = 5.0
EXPIRE_SECONDS = 3600.0  # between two deletions of old predictions
FLUSH_TIMEOUT_SECONDS = 1.0  # of a statement while a worker stops
LOOKUP_TIMEOUT_SECONDS = 2.0  # of a statement for which a request waits
ARRIVAL_SECONDS = 1.5  # that outcomes wait for predictions which are in a queue
LOG = logging.getLogger(__name__)


class LogState(msgspec.Struct, frozen=True, kw_only=True):
    """The state of the prediction log: whether it is enabled; then counters since the start, and its database."""

    enabled: bool
    queued: Annotated[int, Meta(ge=0, description="Predictions in memory.")] | UnsetType = UNSET
    written: Annotated[int, Meta(ge=0, description="Predictions written to the database.")] | UnsetType = UNSET
    spilled: Annotated[int, Meta(ge=0, description="Predictions on disk now.")] | UnsetType = UNSET
    dropped: Annotated[int, Meta(ge=0, description="Lost predictions.")] | UnsetType = UNSET
    counted_since: (
        Annotated[Time, Meta(description="Start of the service: what it counted before is not in the counters.")]
        | UnsetType
    ) = UNSET
    unavailable_since: (
        Annotated[Time | None, Meta(description="Since when the worker that answers cannot reach the database.")]
        | UnsetType
    ) = UNSET
    reason: Annotated[str | None, Meta(description="Why it cannot reach the database.")] | UnsetType = UNSET


class PredictionLog:
    """Accepts predictions from any thread. The rest belongs to its own thread, one in each worker.

    Create it before the fork and start it after.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.enabled = settings.prediction_log_url != "off"
        self._counts = Counts()
        self._started = datetime.now(UTC)  # before the fork: the same in all workers
        self._number = 0
        self._lock = threading.Lock()
        self._queue: deque[Answered] = deque()
        self._queued = 0
        self._taken: list[Answered] = []  # from the queue, not completely written yet
        self._pending: deque[tuple[Batch, int]] = deque()  # the same as batches
        self._model: tuple[Served, LoggedModel] | None = None
        self._rejected: Counter[str] = Counter()  # refused requests by reason, not in the database yet
        self._unavailable: tuple[datetime, str] | None = None
        self._dropped_for = ""
        self._wake = threading.Event()
        self._stopping = False
        self._thread: threading.Thread | None = None
        self._spill = Spill(Path(settings.cache) / FOLDER, settings.prediction_log_spill_bytes)
        self._database = LogDatabase(settings.prediction_log_url)
        self._next_try = self._next_adopt = 0.0
        self._next_expire = time.monotonic() + random.uniform(0, 60)  # noqa: S311 - no secret

    def start(self, number: int = 0) -> None:
        """Start to write, as worker ``number``."""
        self._number = number
        if self.enabled:
            self._thread = threading.Thread(target=self._run, name="prediction-log", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Write the queue to the database or to disk, within a few seconds."""
        self._stopping = True
        self._database.seconds = FLUSH_TIMEOUT_SECONDS  # applies to the running statement, too
        self._wake.set()
        if self._thread:
            self._thread.join(timeout=4 * FLUSH_TIMEOUT_SECONDS)

    def worker_ended(self, number: int) -> None:
        """Count the queue of worker ``number`` as dropped. Called in its parent process."""
        if dropped := self._counts.retire(number):
            LOG.warning("%d queued predictions were dropped, because their worker ended", dropped)
            prometheus.LOG_DROPPED.inc(dropped)

    def add(
        self, predictions: Sequence[Prediction], records: Sequence[Any], served: Served, request_id: str | None
    ) -> None:
        """Queue the predictions of one request. It does not block and does not fail.

        Args:
            predictions: at least one.
            records: one for each, dictionaries or other values that encode to the same JSON.
            served: the model.
            request_id: of the client, if it sent one.
        """
        if not self.enabled:
            return
        count = len(predictions)
        with self._lock:
            queued = self._queued + count
            fits = queued <= QUEUE_RECORDS or not self._queued  # a single request may have more records
            if fits:
                self._queue.append((time.time(), request_id, served, records, predictions))
                self._queued = queued
                self._counts.set(self._number, QUEUED, queued)
            else:
                self._counts.add(self._number, DROPPED, count)
        if not fits:
            prometheus.LOG_DROPPED.inc(count)
        if queued > QUEUE_RECORDS // 4 and not self._wake.is_set():
            self._wake.set()

    def describe(self) -> LogState:
        """Return the state of the log: counters of all workers, and whether this worker reaches the database."""
        if not self.enabled:
            return LogState(enabled=False)
        since, reason = self._unavailable or (None, None)
        return LogState(
            enabled=True,
            **self._counts.totals(),
            counted_since=to_text(self._started) or "",
            unavailable_since=to_text(since),
            reason=reason,
        )

    def find(self, prediction_id: str) -> Found | None:
        """Return the prediction with this id from the queue, the disk or the database, or None.

        Raises:
            DatabaseError: the database is unreachable, or the query failed.
        """
        if found := self._find_queued(prediction_id) or self._find_spilled(prediction_id):
            return found
        if unavailable := self._unavailable:
            raise DatabaseError(unavailable[1])
        database = LogDatabase(self._settings.prediction_log_url, LOOKUP_TIMEOUT_SECONDS, waits=False)
        try:
            return database.find(prediction_id)
        finally:
            database.close()

    def enter_outcomes(self, sent: Sequence[Outcome]) -> list[tuple[str, int]]:
        """Store outcomes, and return what became of each, with its revision: all of them are stored, or none.

        Raises:
            DatabaseError: the database is unreachable, or has a prediction not yet that is in the queue or on disk.
        """
        if unavailable := self._unavailable:
            raise DatabaseError(unavailable[1])
        database = LogDatabase(self._settings.prediction_log_url, LOOKUP_TIMEOUT_SECONDS, waits=False)
        try:
            if unknown := database.unknown({one.prediction_id for one in sent}):
                self._wait_for(database, unknown)
            return database.enter(sent)
        finally:
            database.close()

    def refused(self, reason: str) -> None:
        """Count a refused request for a prediction. It does not block and does not fail.

        Args:
            reason: type of the problem, without its prefix.
        """
        if self.enabled:
            with self._lock:
                self._rejected[reason] += 1

    def tick(self) -> None:
        """Write the queue; called by the thread, or by a test in its place."""
        now = time.monotonic()
        if now >= self._next_adopt:
            self._next_adopt = now + ADOPT_SECONDS
            self._spill.adopt()
        if now < self._next_try and not self._stopping:
            self._spill_queue()
        else:
            try:
                self._write_all()
                self._database_answered()
            except DatabaseError as error:
                self._database_failed(str(error))
                self._spill_queue()
        self._show()

    def _run(self) -> None:
        while not self._stopping:
            self._wake.wait(INTERVAL_SECONDS)
            self._wake.clear()
            self._tick_safely()
        self._tick_safely()
        self._spill_queue()
        self._show()
        if lost := sum(self._rejected.values()):
            LOG.warning("%d refused requests are not counted: the database was unreachable", lost)
        self._spill.close()
        self._database.close()

    def _tick_safely(self) -> None:
        try:
            self.tick()
        except Exception as error:  # an error of our own must not stop the writer
            LOG.exception("the prediction log failed")
            self._database_failed(f"the log failed: {error}")

    def _write_all(self) -> None:
        self._database.open()
        for data, records in self._spill.lines():
            self._replay(data, records)
            if self._queued > QUEUE_RECORDS // 2:
                self._spill_queue()
        for batch, _ in self._batches():
            self._write(batch)
        self._write_rejected()
        if self._settings.prediction_log_days and time.monotonic() >= self._next_expire:
            if deleted := self._database.expire(self._settings.prediction_log_days):
                LOG.info("%d predictions older than %d days were deleted", deleted, self._settings.prediction_log_days)
            self._next_expire = time.monotonic() + EXPIRE_SECONDS

    def _replay(self, data: bytes | None, records: int) -> None:
        try:
            batch = read_batch(data or b"")
        except msgspec.DecodeError:
            self._drop(records, "a batch on disk is damaged")
        else:
            self._write(batch)

    def _write(self, batch: Batch) -> None:
        try:
            written = self._database.write(batch)
        except ValueError as error:  # the database refuses one of the records: split, so that the others are written
            for half in (parts := split_batch(batch)):
                self._write(half)
            if not parts:
                self._drop(1, f"the database refuses it: {error}")
        else:
            self._count(WRITTEN, written)
            prometheus.LOG_WRITTEN.inc(written)

    def _write_rejected(self) -> None:
        with self._lock:
            counts, self._rejected = self._rejected, Counter()
        if not counts:
            return
        try:
            self._database.add_rejected(counts)
        except DatabaseError:
            with self._lock:
                self._rejected.update(counts)
            raise

    def _wait_for(self, database: LogDatabase, unknown: set[str]) -> None:
        """Wait a moment if predictions with these ids may be in a queue.

        Raises:
            DatabaseError: one of them is in the queue of this worker or on disk, and not in the database yet.
        """
        self._wake.set()
        deadline = time.monotonic() + ARRIVAL_SECONDS
        while self._counts.totals()["queued"] and time.monotonic() < deadline:
            time.sleep(0.05)
            unknown = database.unknown(unknown)
            if not unknown:
                return
        with self._lock:
            queued = {one.prediction_id for answered in [*self._taken, *self._queue] for one in answered[4]}
        waiting = (unknown & queued) | self._spill.ids_among(unknown)
        if waiting and (waiting := database.unknown(waiting)):
            raise DatabaseError(f"{len(waiting)} of the predictions are not written to it yet")

    def _spill_queue(self) -> None:
        """Write the queue to disk."""
        for batch, records in self._batches():
            try:
                self._spill.append(msgspec.json.encode(batch), records)
                prometheus.LOG_SPILLED.inc(records)
            except SpillFullError as error:
                self._drop(records, str(error))

    def _batches(self) -> Iterator[tuple[Batch, int]]:
        """Yield the queue as batches with their sizes; a batch counts as written when the next one is requested."""
        while self._pending or self._take():
            batch, records = self._pending[0]
            yield batch, records
            self._pending.popleft()
            with self._lock:
                self._queued -= records
                self._counts.set(self._number, QUEUED, self._queued)
        self._taken = []

    def _take(self) -> bool:
        """Move requests of one model from the queue to the batches; return False if the queue is empty."""
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
        self._pending.extend(batches(model, list(map(part, self._taken)), BATCH_RECORDS))
        return True

    def _find_queued(self, prediction_id: str) -> Found | None:
        with self._lock:
            queued = [*self._taken, *self._queue]
        for answered in queued:
            for row, prediction in enumerate(answered[4]):
                if prediction.prediction_id == prediction_id:
                    model = describe_model(answered[2])
                    return Found(part(answered).entry(row, model.key), model)
        return None

    def _find_spilled(self, prediction_id: str) -> Found | None:
        line = self._spill.line_with(b'"%s"' % prediction_id.encode())
        if line is None:
            return None
        batch = read_batch(line)
        for one in batch.decoded():
            if prediction_id in one.prediction_id:  # a client may send the id of a prediction as its request id
                return Found(one.entry(one.prediction_id.index(prediction_id), batch.model.key), batch.model)
        return None

    def _database_failed(self, reason: str) -> None:
        self._next_try = time.monotonic() + RETRY_SECONDS
        if self._unavailable is None:
            LOG.warning("the database of the prediction log is unreachable: %s", reason)
            self._unavailable = (datetime.now(UTC), reason)
        else:
            self._unavailable = (self._unavailable[0], reason)

    def _database_answered(self) -> None:
        if self._unavailable:
            LOG.info(
                "the database of the prediction log is reachable again; it was unreachable since %s",
                self._unavailable[0].isoformat(),
            )
            self._unavailable = None

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
        prometheus.LOG_QUEUED.set(self._queued)
