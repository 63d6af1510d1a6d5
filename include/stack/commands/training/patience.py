"""Waits while Airflow is away, and says what it waits for."""

import time
from collections.abc import Callable
from typing import TypeVar

from stack import console
from stack.errors import UnhealthyError

OUTAGE_LIMIT = 600.0  # seconds that PostgreSQL or the api-server may be away; the supervisor restarts them in less
STOPPED_AFTER = 10.0  # seconds without a supervisor that mean `down`; `up` replaces an outdated one in less
PAUSE = 1.0

Found = TypeVar("Found")


def _never() -> bool:
    return False


class Patience:
    """Repeats requests to Airflow while it is away.

    Args:
        stopped: whether the stack runs no more, so that waiting is in vain.
    """

    def __init__(self, stopped: Callable[[], bool] = _never) -> None:
        self._stopped = stopped

    def __call__(self, question: Callable[[], Found]) -> Found:
        """Return the answer to ``question``.

        Raises:
            UnhealthyError: the stack was stopped, or Airflow is away for longer than ``OUTAGE_LIMIT``.
        """
        began = alive = time.monotonic()
        said = False
        while True:
            try:
                found = question()
            except UnhealthyError as error:
                now = time.monotonic()
                alive = alive if self._stopped() else now
                if now - alive > STOPPED_AFTER:
                    raise _stopped_meanwhile(error) from error
                if now - began > OUTAGE_LIMIT:
                    raise
                if not said:
                    console.say(f"waiting, at most {OUTAGE_LIMIT / 60:.0f} minutes: {error.what}")
                    said = True
                time.sleep(PAUSE)
            else:
                if said:
                    console.say(f"Airflow answers again, after {time.monotonic() - began:.0f} s")
                return found


def _stopped_meanwhile(error: UnhealthyError) -> UnhealthyError:
    return UnhealthyError(
        "the stack was stopped",
        where=error.where,
        expected="a running stack until the run has ended",
        hint="./heartline up starts it again; Airflow then continues the run, and its page shows the result",
    )
