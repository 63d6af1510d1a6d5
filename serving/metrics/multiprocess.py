"""The folder of the metric files: each worker counts in files of its own.

prometheus_client reads the folder from the environment when it is first imported, so nothing here imports it earlier.
"""

import atexit
import fcntl
import logging
import os
import shutil
import struct
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from serving.settings import SettingError

VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
PREFIX = "heartline-metrics-"
MEMORY = Path("/dev/shm")  # noqa: S108 - the folder below it is made by mkdtemp
SETTLED_SECONDS = 60.0  # a younger folder may not be locked yet by the service that made it
SUMS = ("counter", "histogram")  # these are kept when a worker has ended
LOG = logging.getLogger(__name__)

_mine: tuple[Path, int] | None = None  # the folder, and the descriptor that keeps it locked while this process runs


def make() -> Path:
    """Create the folder of this service at the first call, pass it to prometheus_client, and return it.

    It is removed when this process ends. Folders of killed services are removed here.

    Raises:
        SettingError: it cannot be created.
        RuntimeError: prometheus_client was imported already, so each worker would count for itself.
    """
    global _mine  # noqa: PLW0603 - a reload of gunicorn reads its configuration again, in the same process
    if _mine is None:
        if "prometheus_client" in sys.modules:
            raise RuntimeError(
                "prometheus_client was imported before the folder was set: metrics would not cover all workers"
            )
        folder = _made()
        alive = os.open(folder / "alive", os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(alive, fcntl.LOCK_SH)
        _mine = folder, alive
        os.environ[VARIABLE] = str(folder)
        atexit.register(_remove, folder, os.getpid())
    return _mine[0]


def of_this_service() -> Path | None:
    """Return the folder of this service, or None."""
    return _mine[0] if _mine else None


@contextmanager
def shared(folder: Path) -> Iterator[None]:
    """Prevent ``retire`` while the files are read: a worker would be summed twice, or not at all."""
    with (folder / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        yield


def retire(pid: int) -> None:
    """Merge the counters of an ended worker into one file, so that the number of files does not grow."""
    from prometheus_client.multiprocess import mark_process_dead  # only after the folder is set

    if (folder := of_this_service()) is None:
        return
    with (folder / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        mark_process_dead(pid)  # type: ignore[no-untyped-call]
        for kind in SUMS:
            _add(folder / f"{kind}_{pid}.db", folder / f"{kind}_retired.db")


def _add(ended: Path, sums: Path) -> None:
    from prometheus_client.mmap_dict import MmapedDict

    if not ended.exists():
        return
    total = MmapedDict(str(sums))  # type: ignore[no-untyped-call]
    try:
        for key, value, *_ in MmapedDict.read_all_values_from_file(str(ended)):  # type: ignore[no-untyped-call]
            total.write_value(key, total.read_value(key)[0] + value, 0.0)  # type: ignore[no-untyped-call]
    except (RuntimeError, struct.error, UnicodeDecodeError) as error:  # the worker was killed during a write
        LOG.warning("the counters in %s cannot be read and are ignored: %s", ended.name, error)
    finally:
        total.close()  # type: ignore[no-untyped-call]
        ended.unlink()


def _made() -> Path:
    try:
        parent = MEMORY if os.access(MEMORY, os.W_OK) else Path(tempfile.gettempdir())
        _sweep(parent)
        return Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
    except OSError as error:
        raise SettingError(
            f"the folder for the metrics cannot be created: {error.strerror}",
            where="TMPDIR",
            expected="a folder that the service may write to",
            hint="set it to such a folder",
        ) from None


def _remove(folder: Path, maker: int) -> None:
    if os.getpid() == maker:  # not in a worker, which inherits this function and ends earlier
        shutil.rmtree(folder, ignore_errors=True)


def _sweep(parent: Path) -> None:
    for folder in parent.glob(f"{PREFIX}*"):
        try:
            if time.time() - folder.stat().st_mtime < SETTLED_SECONDS:
                continue
            with (folder / "alive").open("r+") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder)
        except OSError:  # it belongs to another user, or its service runs
            continue
