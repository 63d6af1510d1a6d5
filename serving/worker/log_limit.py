"""Limits the warnings in the log that a client can cause: each malformed request would write a line."""

import logging
import time

LINES, SECONDS = 10, 60.0  # warnings of one place in the code, in one process
LOGGERS = ("gunicorn.error", "serving.worker.connections", "serving.worker.gunicorn_worker")


class WarningLimit(logging.Filter):
    """Passes ``LINES`` warnings of each place in the code in ``SECONDS``, and counts the others.

    The first line that is passed after others were not says how many there were.
    """

    def __init__(self) -> None:
        super().__init__()
        self._places: dict[tuple[str, int], tuple[float, int]] = {}  # start of the period, and lines in it

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether a record is written."""
        if record.levelno != logging.WARNING:
            return True
        place, now = (record.pathname, record.lineno), time.monotonic()
        start, lines = self._places.get(place, (now, 0))
        if now - start >= SECONDS:
            if lines > LINES:
                record.msg = f"{record.msg} ({lines - LINES} more such lines were not written)"
            start, lines = now, 0
        self._places[place] = start, lines + 1
        return lines < LINES


def install() -> None:
    """Limit the warnings of gunicorn and of the service's worker; may be called more than once."""
    limit = WarningLimit()
    for logger in map(logging.getLogger, LOGGERS):
        if not any(isinstance(one, WarningLimit) for one in logger.filters):
            logger.addFilter(limit)
