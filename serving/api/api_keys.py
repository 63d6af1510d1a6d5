"""The file of API keys. It contains digests, not keys, and is read again when it changes.

A line is ``NAME DATE sha256:DIGEST SCOPE``; without a scope, it is ``predict``. Slow or salted hashes protect passwords
that can be guessed. A key here is 32 random bytes, which cannot be guessed at any speed, so one SHA-256 is enough. It
is computed once per request, however many keys there are.
"""

import hashlib
import hmac
import logging
import os
import re
import stat
import time
from dataclasses import dataclass
from pathlib import Path

from serving.settings import PREFIX, SettingError

REFRESH_SECONDS = 1.0  # minimum time between two checks of the file
MAX_BYTES = 1024 * 1024
PREDICT, OUTCOMES, ALL = SCOPES = ("predict", "outcomes", "all")
LINE = "NAME YYYY-MM-DD sha256:64 hexadecimal digits"
_LINE = re.compile(
    r"(?P<name>[a-z0-9][a-z0-9._-]{0,63}) \d{4}-\d{2}-\d{2} sha256:(?P<digest>[0-9a-f]{64})"
    rf"( (?P<scope>{'|'.join(SCOPES)}))?"
)
LOG = logging.getLogger(__name__)

Entries = tuple[tuple["Key", bytes], ...]
Signature = tuple[int, int, int, int]


@dataclass(frozen=True)
class Key:
    """A key of the file.

    Attributes:
        name: of the client.
        scope: ``predict``: all but ``POST /outcomes``; ``outcomes``: nothing but that; ``all``.
    """

    name: str
    scope: str

    def may(self, scope: str) -> bool:
        """Return whether the key may be used for ``predict`` or ``outcomes``."""
        return self.scope in (scope, ALL)


class KeysError(Exception):
    """A file of keys that cannot be used; the text says why and in which line."""


class Keys:
    """The keys in a file. If a changed file cannot be used, the keys that were read before stay valid.

    Args:
        path: of the file.

    Raises:
        SettingError: the file cannot be used.
    """

    def __init__(self, path: Path) -> None:
        self.problem: str | None = None  # why the present file is not in use
        self._path = path
        self._next_check = time.monotonic() + REFRESH_SECONDS
        self._last_signature = _signature(path)
        try:
            self._entries = read(path)
        except KeysError as error:
            raise SettingError(
                f"the file of API keys {path} cannot be used: {error}",
                where=PREFIX + "API_KEYS",
                expected=f"a file that only its owner can write, with lines such as {LINE}",
                hint="create it with ./heartline keys add NAME",
            ) from None

    def name_of(self, key: str) -> str | None:
        """Return the name of a key; None if it is unknown. The comparison takes constant time."""
        found = self.find(key)
        return found.name if found else None

    def find(self, key: str) -> Key | None:
        """Return what the file has of a key; None if it is unknown. The comparison takes constant time."""
        self._refresh()
        digest = hashlib.sha256(key.encode()).digest()
        found = None
        for entry, known in self._entries:
            if hmac.compare_digest(digest, known):
                found = entry
        return found

    def _refresh(self) -> None:
        now = time.monotonic()
        if now < self._next_check:
            return
        self._next_check = now + REFRESH_SECONDS
        if (signature := _signature(self._path)) == self._last_signature:
            return
        self._last_signature = signature
        try:
            self._entries = read(self._path)
        except KeysError as error:
            self.problem = f"the file of API keys cannot be used, the keys read before stay valid: {error}"
            LOG.error("%s (%s)", self.problem, self._path)
        else:
            self.problem = None
            LOG.info("reloaded %d API keys", len(self._entries))


def read(path: Path) -> Entries:
    """Return the keys and digests in the file at ``path``.

    Raises:
        KeysError: it cannot be read, others can write it, or a line is malformed.
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
        raise KeysError("others than its owner can write it (chmod go-w)")
    if len(data) > MAX_BYTES:
        raise KeysError(f"it has more than {MAX_BYTES} bytes")
    entries: dict[str, tuple[Key, bytes]] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        if not (found := _LINE.fullmatch(line.rstrip())):
            raise KeysError(f"line {number} is not {LINE}")
        if found["name"] in entries:
            raise KeysError(f"line {number} names {found['name']} a second time")
        entries[found["name"]] = Key(found["name"], found["scope"] or PREDICT), bytes.fromhex(found["digest"])
    return tuple(entries.values())


def _signature(path: Path) -> Signature | None:
    try:
        about = path.stat()
    except OSError:
        return None
    return about.st_mtime_ns, about.st_ctime_ns, about.st_ino, about.st_size
