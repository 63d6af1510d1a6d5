"""What became of the predictions of all workers: numbers in memory that they share across the fork."""

import mmap

SLOTS = 4096  # of workers alive at one time, those of a reload included
NAMES = ("waiting", "written", "spilled", "dropped")
WAITING, WRITTEN, SPILLED, DROPPED = range(len(NAMES))


class Counts:
    """Make it before the fork. A worker, known by a number that grows, writes into its own slot only."""

    def __init__(self) -> None:
        self._values = memoryview(mmap.mmap(-1, SLOTS * len(NAMES) * 8)).cast("q")

    def set(self, number: int, which: int, value: int) -> None:
        """Say what a number of worker ``number`` is now."""
        self._values[number % SLOTS * len(NAMES) + which] = value

    def add(self, number: int, which: int, more: int) -> None:
        """Add to a number of worker ``number``; one thread at a time."""
        self._values[number % SLOTS * len(NAMES) + which] += more

    def retire(self, number: int) -> int:
        """Return what waited in a worker that has ended: it is dropped. What it spilled, another one takes over."""
        lost = self._values[number % SLOTS * len(NAMES) + WAITING]
        self.add(number, DROPPED, lost)
        self.set(number, WAITING, 0)
        self.set(number, SPILLED, 0)
        return lost

    def totals(self) -> dict[str, int]:
        """Return the sums over all workers by name."""
        values = self._values.tolist()
        return {name: sum(values[which :: len(NAMES)]) for which, name in enumerate(NAMES)}
