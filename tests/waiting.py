"""Waiting in tests for a thread or another process: poll until a condition is true, with a generous time-out."""

import time
from collections.abc import Callable
from typing import TypeVar

import pytest

TIMEOUT = 120.0  # seconds; far more than needed on a busy machine, so that only a failing test waits so long
Found = TypeVar("Found")


def until(
    question: Callable[[], Found],
    *,
    passing: type[Exception] | tuple[type[Exception], ...] = (),
    said: Callable[[], str] = str,
    seconds: float = TIMEOUT,
    pause: float = 0.02,
) -> Found:
    """Return the result of ``question`` once it is true; fail with ``said()`` if that takes longer than ``seconds``.

    Args:
        question: the condition, polled.
        passing: errors that it may raise meanwhile.
        said: text to show with a failure, such as a log.
        seconds: the time-out.
        pause: seconds between two polls.
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
