"""Counters of logged predictions over all workers, in shared memory."""

import mmap

from serving.model.worker_states import SLOTS

NAMES = ("queued", "written", "spilled", "dropped")
QUEUED, WRITTEN, SPILLED, DROPPED = range(len(NAMES))


class Counts:
    """Create it before the fork. Each worker writes to its own slot only. Worker numbers only grow."""

    def __init__(self) -> None:
        self._values = memoryview(mmap.mmap(-1, SLOTS * len(NAMES) * 8)).cast("q")

    def set(self, number: int, which: int, value: int) -> None:
        """Set the counter ``which`` of worker ``number``."""
        self._values[number % SLOTS * len(NAMES) + which] = value

    def add(self, number: int, which: int, more: int) -> None:
        """Add ``more`` to the counter ``which`` of worker ``number``; one thread at a time."""
        self._values[number % SLOTS * len(NAMES) + which] += more

    def retire(self, number: int) -> int:
        """Count the queue of an ended worker as dropped and return its size. Another worker adopts its spill files."""
        dropped = self._values[number % SLOTS * len(NAMES) + QUEUED]
        self.add(number, DROPPED, dropped)
        self.set(number, QUEUED, 0)
        self.set(number, SPILLED, 0)
        return dropped

    def totals(self) -> dict[str, int]:
        """Return the sums over all workers by name."""
        values = self._values.tolist()
        return {name: sum(values[which :: len(NAMES)]) for which, name in enumerate(NAMES)}
