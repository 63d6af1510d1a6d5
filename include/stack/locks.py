"""One command at a time: a file lock that the operating system releases when its holder dies."""

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
        path: the lock's file, made if it is not there.
        command: who holds it, for the message to others.
        with_children: whether children that keep our open files hold it too, should this process be killed.

    Raises:
        InUseError: another process holds it; says which one, and since when.
    """
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise InUseError(
                "another heartline command is at work here",
                where=file.read().strip() or str(path),
                expected="one command at a time that sets up, starts or stops this clone's stack",
                hint="wait until it has ended, or end it with Ctrl-C where it runs",
            ) from None
        os.set_inheritable(file.fileno(), with_children)
        file.truncate(0)
        file.write(f"`heartline {command}`, process {os.getpid()}, since {datetime.now():%H:%M:%S}\n")
        file.flush()
        try:
            yield
        finally:
            file.truncate(0)
