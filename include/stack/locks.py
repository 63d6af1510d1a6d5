"""A file lock that allows one command at a time; the operating system releases it when its holder ends."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from stack.errors import InUseError


@contextmanager
def exclusive(path: Path, command: str, *, with_children: bool = False) -> Iterator[None]:
    """Hold the lock ``path`` for ``command`` while the block runs.

    Args:
        path: the lock file; created if it does not exist.
        command: the name of the calling command, for the message to others.
        with_children: whether child processes keep the lock if this process is killed.

    Raises:
        InUseError: another process holds it; names the process and the time since when.
    """
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise InUseError(
                "another heartline command is running here",
                where=file.read().strip() or str(path),
                expected="one command at a time that sets up, starts or stops this clone's stack",
                hint="wait until it has ended, or stop it with Ctrl-C in its terminal",
            ) from None
        os.set_inheritable(file.fileno(), with_children)
        file.truncate(0)
        file.write(f"`heartline {command}`, process {os.getpid()}, since {datetime.now():%H:%M:%S}\n")
        file.flush()
        try:
            yield
        finally:
            file.truncate(0)
