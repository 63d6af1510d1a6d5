"""Which files a task may read as a source, and how the command line hands over the other ones."""

from heartline.errors import PermanentSourceError
from heartline.ingestion import files, source_catalog
from stack import console
from stack.processes.definitions import SCHEDULER
from stack.processes.lifecycle import Stack


def for_task(stack: Stack, source: str) -> str:
    """Return a value of ``source`` that a task can read, for one that the user of the command line can read.

    A local file that tasks may not read is copied into the store, because the command line belongs to the stack's
    owner.

    Raises:
        SourceError: the file cannot be read.
        StoreError: the store cannot be written.
    """
    if source_catalog.find(source) is None or not source.startswith(("/", "file://")):
        return source
    # these import pandas, which takes a second and no other source needs
    from heartline.ingestion import uploads
    from heartline.ingestion.sources import Settings

    environment = next(one.settings for one in stack.definitions() if one.name == SCHEDULER)
    settings = Settings.from_environment(environment)
    path = files.path_of(source)
    try:
        settings.folders.find(path)
    except PermanentSourceError:
        data = files.read(path.resolve(), settings.limits.size)
    else:
        return source
    console.say(f"{path} is outside the folders that tasks read ({files.SETTING}): its content is handed over")
    return uploads.write(data, str(path), environment["HEARTLINE_STORE"])
