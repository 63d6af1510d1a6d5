"""The ledger's entries of the service: which version each host serves since when, and which it refuses and why.

The poller of the model store hands over each change of its status, which is written to disk if it is an event. A thread
in each worker enters the events in the database. No request and no poll waits for the database.
"""

import logging
import socket
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType

from serving.ledger import events
from serving.ledger.database import LedgerDatabase
from serving.ledger.events import Change, History
from serving.ledger.outbox import Outbox, OutboxFullError
from serving.model.model_store import Status, Time, to_text
from serving.prediction_log.connection import DatabaseError
from serving.settings import Settings

FOLDER = "ledger"  # in the cache folder
RETRY_SECONDS = 5.0  # between two looks for events that wait, and between two attempts to reach the database
STOP_SECONDS = 1.0  # of a statement while a worker stops
LOG = logging.getLogger(__name__)


class LedgerState(msgspec.Struct, frozen=True, kw_only=True):
    """Whether the service writes to the ledger; then the events that wait, and the state of the database."""

    enabled: bool
    waiting: Annotated[int, Meta(ge=0, description="Events on disk, not in the database yet.")] | UnsetType = UNSET
    dropped: Annotated[int, Meta(ge=0, description="Lost events of the worker that answers.")] | UnsetType = UNSET
    unavailable_since: (
        Annotated[Time | None, Meta(description="Since when the worker that answers cannot enter events.")] | UnsetType
    ) = UNSET
    reason: Annotated[str | None, Meta(description="Why it cannot enter events.")] | UnsetType = UNSET


class Ledger:
    """Enters swaps and refusals. Create it before the fork and start it after."""

    def __init__(self, settings: Settings) -> None:
        # a bundle that is not registered is no event
        self.enabled = settings.ledger_url != "off" and not settings.bundle
        self._host = socket.gethostname()
        self._outbox = Outbox(Path(settings.cache) / FOLDER, self._host)
        self._database = LedgerDatabase(settings.ledger_url)
        self._unavailable: tuple[datetime, str] | None = None
        self._dropped = 0
        self._wake = threading.Event()
        self._stopping = False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start to enter events."""
        if self.enabled:
            self._thread = threading.Thread(target=self._run, name="ledger", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Stop within a few seconds. What is not entered by then stays on disk for the next start."""
        self._stopping = True
        self._database.seconds = STOP_SECONDS  # applies to the running statement, too
        self._wake.set()
        if self._thread:
            self._thread.join(timeout=2 * STOP_SECONDS)

    def follow(self, before: Status, now: Status) -> None:
        """Write to disk what a change of the status adds to the ledger. It does not wait for the database or fail."""
        if not self.enabled:
            return
        if now.served and now.served is not before.served:
            served = now.served
            event = f"version {served.version.version} is served"
            self._add(lambda history: events.swap(history, self._host, served), event)
        if now.refusal and now.refusal != before.refusal and not now.refusal.passing:
            refused, kept, when = now.refusal, now.served, datetime.now(UTC)
            self._add(lambda history: events.refusal(history, self._host, refused, kept, when), f"refused: {refused}")
        elif before.refusal and not now.refusal:
            self._add(events.nothing_refused, "no version is refused any more")

    def describe(self) -> LedgerState:
        """Return the state of the ledger in the worker that answers."""
        if not self.enabled:
            return LedgerState(enabled=False)
        since, reason = self._unavailable or (None, None)
        return LedgerState(
            enabled=True,
            waiting=self._outbox.waiting(),
            dropped=self._dropped,
            unavailable_since=to_text(since),
            reason=reason,
        )

    def tick(self) -> None:
        """Enter the events that wait; called by the thread, or by a test in its place."""
        if not self._outbox.waiting():  # another worker may have entered them
            self._unavailable = None
            return
        try:
            if (count := self._outbox.enter(self._database.enter)) is not None:
                self._succeeded(count)
        except (DatabaseError, ValueError, OSError) as error:
            self._failed(str(error))
        finally:
            self._database.close()  # events are rare

    def _run(self) -> None:
        while not self._stopping:
            try:
                self.tick()
            except Exception as error:  # an error of our own must not stop the thread
                LOG.exception("the ledger failed")
                self._failed(f"the ledger failed: {error}")
            self._wake.wait(RETRY_SECONDS)
            self._wake.clear()

    def _add(self, change: Callable[[History], Change], event: str) -> None:
        try:
            if self._outbox.add(change):
                self._wake.set()
        except (OutboxFullError, OSError) as error:
            self._drop(event, str(error))
        except Exception as error:  # an error of our own must not stop the poller
            LOG.exception("the ledger failed")
            self._drop(event, f"{type(error).__name__}: {error}")

    def _drop(self, event: str, reason: str) -> None:
        self._dropped += 1
        LOG.error("an event is not entered in the ledger (%s): %s", event, reason)

    def _failed(self, reason: str) -> None:
        if self._unavailable is None or self._unavailable[1] != reason:
            LOG.warning("events are not entered in the ledger yet: %s", reason)
        self._unavailable = (self._unavailable[0] if self._unavailable else datetime.now(UTC), reason)

    def _succeeded(self, count: int) -> None:
        if self._unavailable:
            since = self._unavailable[0].isoformat()
            LOG.info("%d events are entered in the ledger; it could not be reached since %s", count, since)
        self._unavailable = None
