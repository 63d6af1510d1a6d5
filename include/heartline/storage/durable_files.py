"""Writes files that are complete or absent, whatever ends the process or the machine.

The bytes go to a partial file in the same folder, which is flushed to the disk and renamed. So a name never stands for
half of the content, on any file system, and a full disk leaves the former file as it was.
"""

import contextlib
import errno
import fcntl
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

PARTIAL = ".partial"
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def write(path: Path, data: bytes) -> None:
    """Write a file; partial files that killed processes left in its folder are removed first.

    Args:
        path: the file; its folder is made if it does not exist.
        data: the content.

    Raises:
        OSError: it cannot be written; ``path`` is unchanged then.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_left_over(path.parent)
    with _partial(path) as (descriptor, partial):
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(descriptor, rest) :]
        os.fchmod(descriptor, 0o666 & ~_umask())
        os.fsync(descriptor)
        partial.replace(path)
    _sync_folder(path.parent)


def set_apart(path: Path, folder: Path) -> Path:
    """Move a damaged file into ``folder`` under a name that is free there, and return its new path.

    Raises:
        OSError: it cannot be moved.
    """
    folder.mkdir(parents=True, exist_ok=True)
    names = (path.name if not number else f"{path.name}.{number}" for number in range(1_000_000))
    target = next(folder / name for name in names if not (folder / name).exists())
    path.replace(target)
    _sync_folder(folder)
    return target


@contextlib.contextmanager
def _partial(path: Path) -> Iterator[tuple[int, Path]]:
    """Yield a new locked file beside ``path``, its descriptor and path; remove it if it was not renamed."""
    while True:
        descriptor, name = tempfile.mkstemp(PARTIAL, f".{path.name}.", path.parent)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if os.fstat(descriptor).st_nlink:
            break
        os.close(descriptor)  # another process took it for left over between creation and lock
    try:
        yield descriptor, Path(name)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(name).unlink()
        raise
    finally:
        os.close(descriptor)


def _remove_left_over(folder: Path) -> None:
    """Remove the partial files whose process has ended: their locks are free."""
    for partial in folder.glob(f".*{PARTIAL}"):
        with contextlib.suppress(OSError), partial.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            partial.unlink()


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # some network file systems have no such call for folders
            raise
    finally:
        os.close(descriptor)


def _umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask
