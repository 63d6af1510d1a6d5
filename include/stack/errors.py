"""The launcher's errors and exit codes."""

import errno
from enum import IntEnum

from heartline.errors import HeartlineError, LedgerError, MonitoringError


class Exit(IntEnum):
    """The launcher's exit codes."""

    OK = 0
    FAILED = 1  # the command itself: a training run failed, a record was refused, a test failed
    USAGE = 2  # a wrong command line or setting
    MACHINE = 3  # the machine: Python, disk space, permissions, network
    IN_USE = 4  # a port is taken, or another command is running
    UNHEALTHY = 5  # a process of the stack is not healthy, or nothing runs
    INTERRUPTED = 130  # Ctrl-C


class StackError(HeartlineError):
    """An error of the launcher, with an exit code."""

    code = Exit.FAILED


class WorkError(StackError):
    """The stack works, but the training run, request or check failed."""


class UsageError(StackError):
    """The command line or a setting is wrong."""

    code = Exit.USAGE


class MachineError(StackError):
    """This machine lacks something: disk space, a permission, a network, a program."""

    code = Exit.MACHINE


class InUseError(StackError):
    """A port or a lock is held by another process."""

    code = Exit.IN_USE


class UnhealthyError(StackError):
    """A process of the stack does not run, or does not answer as expected."""

    code = Exit.UNHEALTHY


def exit_code(error: HeartlineError) -> int:
    """Return the exit code of a command that ends with an error."""
    if isinstance(error, StackError):
        return error.code
    return Exit.UNHEALTHY if isinstance(error, (LedgerError, MonitoringError)) else Exit.FAILED


def from_os_error(error: OSError) -> MachineError:
    """Return an error of the operating system in the project's error shape."""
    where = str(error.filename) if error.filename else "a file of this clone or of HEARTLINE_HOME"
    match error.errno:
        case errno.ENOSPC | errno.EDQUOT:
            expected, hint = "about 3 GB of free space", "free some space, then call the same command again"
        case errno.EROFS | errno.EACCES | errno.EPERM:
            expected = "a folder that this user may write to"
            hint = "use a clone and a HEARTLINE_HOME that belong to this user"
        case _:
            expected, hint = "a file operation that succeeds", "fix the cause above, then call the same command again"
    return MachineError((error.strerror or str(error)).lower(), where=where, expected=expected, hint=hint)
