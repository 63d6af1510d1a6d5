"""How a test waits for what a thread or another process does: it looks again and again, and has patience."""

import time
from collections.abc import Callable
from typing import TypeVar

import pytest

SECONDS = 120.0  # many times what it takes where much else runs too: only a test that fails waits so long
Found = TypeVar("Found")


def until(
    question: Callable[[], Found],
    *,
    passing: type[Exception] | tuple[type[Exception], ...] = (),
    said: Callable[[], str] = str,
    seconds: float = SECONDS,
    pause: float = 0.02,
) -> Found:
    """Return the answer once it is true; fail with what was ``said`` if it does not become so within ``seconds``.

    Args:
        question: asked without end.
        passing: errors that it may raise meanwhile.
        said: what to show beside the failure, such as a log.
        seconds: more than it takes on any machine.
        pause: seconds between two looks, longer where a look costs much.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            if found := question():
                return found
            last = ""
        except passing as error:
            last = f": {error!r}"
        if time.monotonic() > deadline:
            pytest.fail(f"not within {seconds:g} s{last}\n{said()}")
        time.sleep(pause)
