"""Airflow imports this module at the start of each of its processes.

It shortens what a task's log shows of our own errors: message and advice are complete, and Airflow would put forty
stack frames of its own behind them. Other errors keep their stack trace.
"""

import logging
from typing import Any

from structlog import tracebacks

from heartline.errors import HeartlineError


def _shorten_our_errors() -> None:
    """Leave out stack frames and causes of a HeartlineError in the logs; structlog has no setting for that."""
    complete = tracebacks.ExceptionDictTransformer.__call__

    def shortened(self: tracebacks.ExceptionDictTransformer, exc_info: Any) -> list[dict[str, Any]]:
        rendered = complete(self, exc_info)
        if isinstance(exc_info[1], HeartlineError):
            return [{**rendered[0], "frames": []}]
        return rendered

    tracebacks.ExceptionDictTransformer.__call__ = shortened  # type: ignore[method-assign]


for chatty in ("great_expectations", "mlflow"):  # Airflow's namespace_levels do not reach loggers like these
    logging.getLogger(chatty).setLevel(logging.WARNING)
_shorten_our_errors()
