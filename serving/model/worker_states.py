"""Which workers serve a model: one byte for each, in memory that they share across the fork."""

import mmap

SLOTS = 4096  # of workers alive at one time, those of a reload included
GONE, STARTED, READY = 0, 1, 2


class Workers:
    """The states of all workers of this service. Make it before the fork; a worker is known by a number that grows."""

    def __init__(self) -> None:
        self._states = mmap.mmap(-1, SLOTS)

    def mark(self, number: int, state: int) -> None:
        """Note that worker ``number`` is ``GONE``, ``STARTED`` or ``READY``."""
        self._states[number % SLOTS] = state

    def waiting(self) -> int:
        """Return how many workers have started and do not serve a model yet."""
        return self._states[:].count(STARTED)
