"""Which files a task may read as a source, and how the command line hands over the other ones."""

import sys
from collections.abc import Mapping

from heartline import visible
from heartline.errors import SourceRefusedError
from heartline.ingestion import source_catalog
from heartline.ingestion.access import files
from stack import console
from stack.errors import UsageError


def for_task(environment: Mapping[str, str], source: str, *, patient: str = "") -> str:
    """Return a value of ``source`` that a task can read, for one that the user of the command line can read.

    A local file that tasks may not read is copied into the store, because the command line belongs to the stack's
    owner.

    Args:
        environment: of the tasks.
        source: a value of the parameter.
        patient: the parameter ``patient``. The values of that column are in clear in a file, so it is not copied.

    Raises:
        UsageError: the file would have to be copied although a column identifies the patient.
        SourceError: the file cannot be read.
        StoreError: the store cannot be written.
    """
    if source_catalog.find(source) is None or not source.startswith(("/", "file://")):
        return source
    from heartline.ingestion.sources import Settings  # imports pandas, which takes a second and no other source needs

    settings = Settings.from_environment(environment)
    spec, sheet = source_catalog.split_sheet(source)
    path = files.path_of(spec)
    try:
        settings.folders.find(path)
    except SourceRefusedError:
        if patient:
            folder = path.resolve().parent
            raise _not_copied(
                str(path), f"export HEARTLINE_DATA={folder}, then ./heartline up, and train again"
            ) from None
        data = files.read(path.resolve(), settings.limits.size)
    else:
        return source
    console.say(f"{path} is outside the folders that tasks read ({files.SETTING}): it is copied into the store")
    return _put(data, f"{path}#{sheet}" if sheet else str(path), environment)


def _not_copied(file: str, hint: str) -> UsageError:
    return UsageError(
        "a file whose patients are named is not copied into the store",
        where=f"{visible.path(file)}; parameter patient",
        expected="a file in a folder that tasks read: there a patient's value is hashed before anything is stored",
        hint=hint,
    )


def from_stdin(environment: Mapping[str, str], *, patient: str = "") -> str:
    """Return a value of ``source`` for the file on standard input, which is copied into the store.

    Args:
        environment: of the tasks.
        patient: the parameter ``patient``, as for ``for_task``.

    Raises:
        UsageError: there is nothing in it, it is too large, or a column of it identifies the patient.
        StoreError: the store cannot be written.
    """
    if patient:
        raise _not_copied(
            "standard input", "put the file into the folder HEARTLINE_DATA, which the containers see as /data"
        )
    from heartline.ingestion.sources import Settings

    size = Settings.from_environment(environment).limits.size
    data = sys.stdin.buffer.read(size + 1)
    if not data or len(data) > size:
        raise UsageError(
            "there is nothing on standard input" if not data else f"standard input has more than {size:,} bytes",
            where="--source -",
            expected="a file with records on standard input",
            hint="for example: docker compose exec -T airflow-scheduler python -m stack.compose.train --source -"
            " < FILE",
        )
    return _put(data, "/stdin", environment)


def _put(data: bytes, path: str, environment: Mapping[str, str]) -> str:
    from heartline.ingestion.access import uploads

    return uploads.write(data, path, environment["HEARTLINE_STORE"])
