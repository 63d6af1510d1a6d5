"""Files that the command line put into the object store, because a task may not or cannot read their path."""

from heartline.ingestion import source_catalog
from heartline.ingestion.limits import too_large
from heartline.storage import object_store

KIND = "uploads"


def write(data: bytes, path: str, store: str | None = None) -> str:
    """Store the bytes of a file, and return the value of ``source`` that names them.

    Args:
        data: the file's bytes.
        path: its absolute path on the user's machine, for messages.
        store: the store's URI; by default that of the environment.

    Raises:
        StoreError: the store cannot be written.
    """
    uri = object_store.put(data, KIND, "", store)
    return source_catalog.upload_spec(object_store.digest_of(uri), path)


def read(digest: str, size: int) -> bytes:
    """Return the bytes with this sha256.

    Raises:
        StoreError: they cannot be read.
        SourceError: there are more than ``size`` bytes.
    """
    data = object_store.get(object_store.address(digest, KIND, ""))
    if len(data) > size:
        raise too_large(f"upload {digest}", size)
    return data
