"""The file of API keys: who may ask. It is looked at again while the service runs, and never holds a key itself.

A line is ``NAME DATE sha256:DIGEST``. A slow or salted hash protects what people choose, because that can be guessed. A
key here is 32 bytes of chance: no guess ever meets one, at whatever speed, and no table holds a part of them. So one
SHA-256 is enough, and it is worked out once a request, however many keys there are.
"""

import hashlib
import hmac
import logging
import os
import re
import stat
import time
from pathlib import Path

from serving.settings import PREFIX, SettingError

LOOK_SECONDS = 1.0  # the least time between two looks at the file
MAX_BYTES = 1024 * 1024
LINE = "NAME YYYY-MM-DD sha256:64 hexadecimal digits"
_LINE = re.compile(r"(?P<name>[a-z0-9][a-z0-9._-]{0,63}) \d{4}-\d{2}-\d{2} sha256:(?P<digest>[0-9a-f]{64})")
LOG = logging.getLogger(__name__)

Entries = tuple[tuple[str, bytes], ...]
Signature = tuple[int, int, int, int]


class KeysError(Exception):
    """A file of keys that cannot be used; the text says why, and where in the file."""


class Keys:
    """The keys in a file, as it is now: one that becomes unusable leaves those in force that were read before.

    Args:
        path: the file.

    Raises:
        SettingError: it cannot be used, and nothing was read before.
    """

    def __init__(self, path: Path) -> None:
        self.problem: str | None = None  # why the file as it is now is not in force
        self._path = path
        self._look_again = time.monotonic() + LOOK_SECONDS
        self._looked_at = _signature(path)
        try:
            self._entries = read(path)
        except KeysError as error:
            raise SettingError(
                f"the file of API keys {path} cannot be used: {error}",
                where=PREFIX + "API_KEYS",
                expected=f"a file that only its owner may write, with lines such as {LINE}",
                hint="make it with ./heartline keys add NAME",
            ) from None

    def name_of(self, key: str) -> str | None:
        """Return whose key this is; None where it is nobody's. The time it takes says nothing about any key."""
        self._refresh()
        digest = hashlib.sha256(key.encode()).digest()
        found = None
        for name, known in self._entries:
            if hmac.compare_digest(digest, known):
                found = name
        return found

    def _refresh(self) -> None:
        now = time.monotonic()
        if now < self._look_again:
            return
        self._look_again = now + LOOK_SECONDS
        if (signature := _signature(self._path)) == self._looked_at:
            return
        self._looked_at = signature
        try:
            self._entries = read(self._path)
        except KeysError as error:
            self.problem = f"the file of API keys cannot be used, those read before stay: {error}"
            LOG.error("%s (%s)", self.problem, self._path)
        else:
            self.problem = None
            LOG.info("read %d API keys anew", len(self._entries))


def read(path: Path) -> Entries:
    """Return the names and digests in the file at ``path``.

    Raises:
        KeysError: it cannot be read, others may write it, or a line is not what it should be.
    """
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            data = file.read(MAX_BYTES + 1)
        text = data.decode()
    except OSError as error:
        raise KeysError(error.strerror or str(error)) from None
    except UnicodeDecodeError:
        raise KeysError("it is not UTF-8") from None
    if mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise KeysError("others than its owner may write it (chmod go-w)")
    if len(data) > MAX_BYTES:
        raise KeysError(f"it has more than {MAX_BYTES} bytes")
    entries: dict[str, bytes] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        if not (found := _LINE.fullmatch(line.rstrip())):
            raise KeysError(f"line {number} is not {LINE}")
        if found["name"] in entries:
            raise KeysError(f"line {number} names {found['name']} a second time")
        entries[found["name"]] = bytes.fromhex(found["digest"])
    return tuple(entries.items())


def _signature(path: Path) -> Signature | None:
    try:
        about = path.stat()
    except OSError:
        return None
    return about.st_mtime_ns, about.st_ctime_ns, about.st_ino, about.st_size
