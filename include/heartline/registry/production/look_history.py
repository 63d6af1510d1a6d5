"""The looks that comparisons have taken, as MLflow keeps them.

A look is a tag of the experiment ``alias_history.EXPERIMENT``: no deletion of a version or of the registered model
touches it. It is numbered under the lock of ``alias_lock`` and written in one request, before a task
shows or returns anything of its comparison. So a task that is killed has either not looked, or finds its look again.
"""

import json
import logging
import re
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Protocol

from heartline import visible
from heartline.registry.production.alias_lock import StillHeld

log = logging.getLogger(__name__)

PREFIX = "heartline.look."

_TIME = "%Y-%m-%dT%H:%M:%S.%fZ"
_NUMBERED = re.compile(re.escape(PREFIX) + r"n([0-9]+)")


@dataclass(frozen=True)
class RecordedLook:
    """A look of a comparison.

    Attributes:
        when: its time, UTC.
        key: sha256 of what was compared: training set, predictions and incumbent. The same comparison is the same look.
        run: the Airflow run that took it.
        digest: sha256 of the training set.
        training: URI of the training set.
        records: number of its distinct records.
        number: which look of the last 365 days it was.
        level: the one-sided level that it spent.
        p_value: the smallest one-sided p-value of its challengers.
        verdict: of the comparison.
        new: number of records that were not in the look before; None without one.
        needed: number of new records that it needed; None without a look before.
        since: the look before in words, "" without one.
        note: why all records counted as new; "" otherwise.
        origin: kind of source of the training set, "" where it is unknown.
    """

    when: datetime
    key: str
    run: str
    digest: str
    training: str
    records: int
    number: int
    level: float
    p_value: float
    verdict: str
    new: int | None = None
    needed: int | None = None
    since: str = ""
    note: str = ""
    origin: str = ""

    def as_text(self) -> str:
        """Return the value of its tag."""
        return json.dumps({**asdict(self), "when": self.when.strftime(_TIME)})


class LookStore(Protocol):
    """Where the looks are kept: the parts of ``alias_moves.Model`` that they need."""

    def lock(self, who: str) -> AbstractContextManager[StillHeld]:
        """Hold the lock of all movers."""

    def history(self) -> Mapping[str, str]:
        """Return the tags of the experiment of looks and of the ledger's noted hash."""

    def set_history(self, key: str, value: str) -> None:
        """Set a tag of that experiment, which is created or restored where needed."""


def read(tags: Mapping[str, str]) -> list[RecordedLook]:
    """Return the looks in the tags of the experiment, oldest first. Tags that cannot be parsed are skipped."""
    found = [(at, _parse(tags[key])) for key, at in _numbers(tags).items()]
    return [look for _, look in sorted(found, key=lambda one: one[0]) if look is not None]


def add(store: LookStore, look: RecordedLook, *, after: Sequence[RecordedLook]) -> bool:
    """Record a look, unless another one was recorded since.

    Args:
        store: where it is kept.
        look: the look.
        after: the looks that were read before this one was decided.

    Returns:
        False where the looks are not those of ``after`` any more: the look has to be decided again.
    """
    with store.lock(f"look of {look.run or 'a comparison'}") as still_held:
        tags = store.history()
        if read(tags) != list(after):
            return False
        still_held()
        store.set_history(f"{PREFIX}n{max(_numbers(tags).values(), default=0) + 1:06d}", look.as_text())
        return True


def _numbers(tags: Mapping[str, str]) -> dict[str, int]:
    return {key: int(found[1]) for key in tags if (found := _NUMBERED.fullmatch(key))}


def _parse(text: str) -> RecordedLook | None:
    try:
        found = json.loads(text)
        when = datetime.strptime(found["when"], _TIME).replace(tzinfo=UTC)
        return RecordedLook(**{**found, "when": when})
    except (ValueError, TypeError, KeyError):
        log.warning("a recorded look cannot be read and is not counted: %s", visible.visible(text))
        return None
