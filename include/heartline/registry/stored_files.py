"""Whether the files of a version are those that were registered. Pure functions over a reader of files."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass

FILES = "heartline.files"  # tag of a version or run: sha256 of each of its files, JSON
MANIFEST, FLAVOUR = "manifest.json", "MLmodel"
REPAIR_HINT = "train again on the same records with the same parameters, which repairs it; or name another version"

Reader = Callable[[str], bytes | None]
"""Returns a file by its name, None where it is missing."""


@dataclass(frozen=True)
class StoredVersion:
    """What was found of a version's files.

    Attributes:
        damage: what is missing or differs, "" where all files are as they were registered.
        origin: kind of source of the training data, as its manifest says; "" where it is unknown.
        digest: sha256 of its manifest, which an approval names; "" where it is missing.
    """

    damage: str = ""
    origin: str = ""
    digest: str = ""

    @property
    def hint(self) -> str:
        """Return how to go on where there is damage."""
        return REPAIR_HINT if self.damage else ""


def digests(files: Mapping[str, bytes]) -> str:
    """Return the tag ``FILES``."""
    return json.dumps({name: hashlib.sha256(data).hexdigest() for name, data in sorted(files.items())})


def recorded(tags: Mapping[str, str]) -> dict[str, str]:
    """Return the sha256 by name of each file in the tag ``FILES``; empty for what version 0.2 or earlier stored."""
    try:
        return {str(name): str(digest) for name, digest in json.loads(tags.get(FILES, "{}")).items()}
    except (ValueError, AttributeError):
        return {}


def examine(read: Reader, tags: Mapping[str, str]) -> StoredVersion:
    """Read each file of a version and compare it with its digest.

    The digests are those of the tag ``FILES``. The manifest has them for the bundle's files too, also in versions
    without the tag.

    Args:
        read: of the version's files.
        tags: of the version.
    """
    manifest = read(MANIFEST)
    if manifest is None:
        return StoredVersion(f"{MANIFEST} is missing")
    try:
        about = json.loads(manifest)
        expected = {str(name): str(entry["sha256"]) for name, entry in about["files"].items()}
        origin = str(about["model"].get("origin", ""))
    except (ValueError, KeyError, TypeError, AttributeError):
        return StoredVersion(f"{MANIFEST} cannot be read")
    expected |= recorded(tags)
    for name in sorted({*expected, FLAVOUR}):
        data = manifest if name == MANIFEST else read(name)
        if data is None:
            return StoredVersion(f"{name} is missing", origin)
        if not data or (name in expected and hashlib.sha256(data).hexdigest() != expected[name]):
            return StoredVersion(f"{name} differs from the file that was registered ({len(data)} bytes found)", origin)
    return StoredVersion(origin=origin, digest=hashlib.sha256(manifest).hexdigest())
