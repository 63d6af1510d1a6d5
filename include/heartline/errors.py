"""The error shape of Heartline: what was wrong, where, what was expected, and a hint."""

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager

from heartline import visible


class HeartlineError(Exception):
    """A failure that the reader of the message can act on.

    Args:
        what: what was wrong, one clause without a full stop.
        where: the field, row, file, setting or process that it concerns.
        expected: what would have been right.
        hint: the next step.
    """

    def __init__(self, what: str, *, where: str, expected: str, hint: str) -> None:
        # what a source or another program wrote must not move the cursor of a terminal or hide text
        what, where, expected, hint = (visible.escaped(text, keep="\n") for text in (what, where, expected, hint))
        super().__init__(what, where, expected, hint)
        self.what = what
        self.where = where
        self.expected = expected
        self.hint = hint

    def __str__(self) -> str:
        """Return the four parts as an indented block, one part per line."""
        return f"{self.what}\n  where:    {self.where}\n  expected: {self.expected}\n  hint:     {self.hint}"

    def __reduce__(self) -> tuple[object, ...]:
        """Support pickling between processes: by default keyword arguments are lost."""
        return (_rebuild, (type(self), self.what, self.where, self.expected, self.hint))


class PermanentError(HeartlineError):
    """A failure that a retry cannot change; Airflow fails the task at once instead of retrying it.

    The retry policy of the DAGs has one rule, for this class and its subclasses. An error is permanent by deriving from
    it, in whichever module it is defined.
    """


class ParameterError(PermanentError):
    """A run's parameters are wrong: there is none of that name, or it takes no such value."""


class DataError(PermanentError):
    """The records do not meet the contract."""


class SourceError(HeartlineError):
    """A source cannot be reached or read."""


class SourceRefusedError(SourceError, PermanentError):
    """A source may not be read, or it refuses: the path, the query, the login or a setting has to be corrected."""


class TooLargeError(SourceError, PermanentError):
    """A source exceeds a limit of size, rows, columns or density."""


class OutOfMemoryError(PermanentError):
    """The records need more memory than the task can get."""


class NoCandidateError(PermanentError):
    """No model family of a run converged and can be served."""


class ComparisonError(PermanentError):
    """Two sets of out-of-fold predictions cannot be compared."""


class HandoverError(PermanentError):
    """A task finds the result of an earlier one in a form that it does not read."""


class RegistryError(HeartlineError):
    """The model registry cannot be reached, or fails."""


class RegistryRefusedError(RegistryError, PermanentError):
    """The model registry answers, and refuses: its content or a setting has to be corrected."""


class LedgerError(HeartlineError):
    """The database with the ledger does not answer."""


class LedgerRefusedError(LedgerError, PermanentError):
    """No ledger is configured, or its database answers and refuses."""


class MonitoringError(HeartlineError):
    """A database that the monitoring reads or writes does not answer."""


class MonitoringRefusedError(MonitoringError, PermanentError):
    """Such a database is not configured, or refuses; or an alarm cannot be acknowledged so."""


@contextmanager
def memory_limit(where: str) -> Iterator[None]:
    """Turn a lack of memory into an error that says so and is not retried.

    Args:
        where: what needs the memory, for the message.

    Raises:
        OutOfMemoryError: the block raised MemoryError.
    """
    try:
        yield
    except MemoryError:
        raise OutOfMemoryError(
            f"the records need more memory than the task has: {_memory() / (1 << 30):.1f} GiB",
            where=where,
            expected="a set that fits in memory",
            hint="give the machine or container more memory, or select fewer records",
        ) from None


def _memory() -> int:
    """Return how many bytes of memory this process may use."""
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    installed = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return installed if limit == resource.RLIM_INFINITY else min(limit, installed)


def _rebuild(kind: type[HeartlineError], what: str, where: str, expected: str, hint: str) -> HeartlineError:
    return kind(what, where=where, expected=expected, hint=hint)
