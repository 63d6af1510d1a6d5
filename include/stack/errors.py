"""The failures of the launcher, and what its exit codes mean."""

import errno
from enum import IntEnum

from heartline.errors import HeartlineError


class Exit(IntEnum):
    """The launcher's exit codes."""

    OK = 0
    FAILED = 1  # the work itself: a training run failed, a record was refused, a test is red
    USAGE = 2  # the command line or a setting
    MACHINE = 3  # set-up: Python, disk space, a folder that cannot be written, no network
    IN_USE = 4  # a port is taken, or another command is at work
    UNHEALTHY = 5  # a part of the stack is not healthy, or nothing runs
    INTERRUPTED = 130  # Ctrl-C


class StackError(HeartlineError):
    """A failure of the launcher that a person can act on."""

    code = Exit.FAILED


class WorkError(StackError):
    """The stack works, the work did not succeed."""


class UsageError(StackError):
    """The command line or a setting is not what it should be."""

    code = Exit.USAGE


class MachineError(StackError):
    """This machine lacks something: space, a right, a network, a program."""

    code = Exit.MACHINE


class InUseError(StackError):
    """A port or a lock is held by somebody else."""

    code = Exit.IN_USE


class UnhealthyError(StackError):
    """A part of the stack does not run, or does not answer as it should."""

    code = Exit.UNHEALTHY


def from_os_error(error: OSError) -> MachineError:
    """Say in the one error shape what the operating system refused."""
    where = str(error.filename) if error.filename else "a file of this clone or of HEARTLINE_HOME"
    match error.errno:
        case errno.ENOSPC | errno.EDQUOT:
            expected, hint = "about 3 GB of free space", "free some space, then call the same command again"
        case errno.EROFS | errno.EACCES | errno.EPERM:
            expected = "a folder that this user may write to"
            hint = "use a clone and a HEARTLINE_HOME that belong to this user"
        case _:
            expected, hint = "a file operation that succeeds", "see what stands above, then call the same command again"
    return MachineError((error.strerror or str(error)).lower(), where=where, expected=expected, hint=hint)
