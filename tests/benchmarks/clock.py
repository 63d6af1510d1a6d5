"""What the parts of a measured piece of work took."""

from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter


class Clock:
    """Wall seconds by what they were spent on."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = {}

    @contextmanager
    def counting(self, what: str) -> Iterator[None]:
        """Add what the block takes to ``what``."""
        begun = perf_counter()
        try:
            yield
        finally:
            self.spent[what] = self.spent.get(what, 0.0) + perf_counter() - begun
