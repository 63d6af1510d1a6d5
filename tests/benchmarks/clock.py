"""Measures the wall and CPU time of the parts of a program."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter


def cpu_seconds() -> float:
    """Return the CPU seconds, user and system, of this process and of its children that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


class Clock:
    """Wall seconds and CPU seconds by part."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = {}
        self.cpu: dict[str, float] = {}

    @contextmanager
    def counting(self, what: str) -> Iterator[None]:
        """Add the seconds of the block to the part ``what``."""
        started, cpu_before = perf_counter(), cpu_seconds()
        try:
            yield
        finally:
            self.spent[what] = self.spent.get(what, 0.0) + perf_counter() - started
            self.cpu[what] = self.cpu.get(what, 0.0) + cpu_seconds() - cpu_before
