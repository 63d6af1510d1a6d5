"""Measures the wall time of the parts of a program."""

from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter


class Clock:
    """Wall seconds by part."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = {}

    @contextmanager
    def counting(self, what: str) -> Iterator[None]:
        """Add the seconds of the block to the part ``what``."""
        started = perf_counter()
        try:
            yield
        finally:
            self.spent[what] = self.spent.get(what, 0.0) + perf_counter() - started
