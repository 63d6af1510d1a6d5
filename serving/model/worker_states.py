"""The states of the worker processes: one byte each, in shared memory."""

import mmap

SLOTS = 4096  # maximum number of workers at one time, including a reload
GONE, STARTED, READY = 0, 1, 2


class Workers:
    """The states of all workers of this service. Create it before the fork. Worker numbers only grow."""

    def __init__(self) -> None:
        self._states = mmap.mmap(-1, SLOTS + 1)  # the last byte: whether the service stops

    def mark(self, number: int, state: int) -> None:
        """Set the state of worker ``number``: ``GONE``, ``STARTED`` or ``READY``. One that stops counts as gone."""
        self._states[number % SLOTS] = state

    def not_ready(self) -> int:
        """Return the number of workers that have started and do not serve a model yet."""
        return self._states[:SLOTS].count(STARTED)

    def ready(self) -> int:
        """Return the number of workers that serve a model and do not stop."""
        return self._states[:SLOTS].count(READY)

    def stop_service(self) -> None:
        """Note that the service stops: no worker will accept the connections that this one does not."""
        self._states[SLOTS] = 1

    def service_stops(self) -> bool:
        """Return whether the complete service stops."""
        return bool(self._states[SLOTS])
