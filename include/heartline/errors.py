"""The error shape of Heartline: what was wrong, where, what was expected, and a hint."""


class HeartlineError(Exception):
    """A failure that the reader of the message can act on.

    Args:
        what: what was wrong, one clause without a full stop.
        where: the field, row, file, setting or process that it concerns.
        expected: what would have been right.
        hint: the next step.
    """

    def __init__(self, what: str, *, where: str, expected: str, hint: str) -> None:
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


def _rebuild(kind: type[HeartlineError], what: str, where: str, expected: str, hint: str) -> HeartlineError:
    return kind(what, where=where, expected=expected, hint=hint)
