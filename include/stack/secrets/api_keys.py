"""Creates and revokes the API keys of the service, in a file that the running service reloads.

The file holds the SHA-256 of each key and not the key itself. A key is 32 random bytes, too many to guess. Once there
are keys, the launcher needs one too; it is stored beside the other secrets of the local stack.
"""

import hashlib
import os
import re
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from stack.errors import UsageError, WorkError
from stack.locks import exclusive
from stack.secrets.credentials import write_private
from stack.settings import Settings

VARIABLE = "HEARTLINE_API_KEYS"
OWN = "heartline"  # the name of the launcher's key
PREFIX = "hl_"  # lets secret scanners recognize a key
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
SCOPES = ("predict", "outcomes", "all")  # of a key; without one in its line, it is the first
_LINE = re.compile(
    r"(?P<name>\S+) (?P<created>\d{4}-\d{2}-\d{2}) sha256:[0-9a-f]{64}( (?P<scope>" + "|".join(SCOPES) + "))?"
)


@dataclass(frozen=True)
class Key:
    """An entry of the key file.

    Attributes:
        name: the client that uses the key.
        created: the day of its creation, YYYY-MM-DD in UTC.
        scope: what it may be used for: ``predict``, ``outcomes`` or ``all``.
    """

    name: str
    created: str
    scope: str = SCOPES[0]


def file_of(settings: Settings) -> Path:
    """Return the path of the key file: HEARTLINE_API_KEYS, else the local stack's own."""
    given = os.environ.get(VARIABLE)
    return Path(given).expanduser().absolute() if given else settings.home / "secrets" / "api-keys"


def in_force(settings: Settings) -> str:
    """Return the path of the key file for the local service; empty if it requires no keys.

    A path in HEARTLINE_API_KEYS is passed on even if there is no such file: the service then refuses to start.
    """
    path = file_of(settings)
    return str(path) if os.environ.get(VARIABLE) or path.exists() else ""


def own(settings: Settings) -> str | None:
    """Return the launcher's key; None if the service requires none."""
    path = _own_file(settings)
    return path.read_text().strip() if path.exists() else None


def add(path: Path, name: str, settings: Settings | None = None, *, scope: str = SCOPES[0]) -> str:
    """Create a key and add its digest to the file.

    Args:
        path: the key file; created if it does not exist.
        name: the client that will use the key.
        settings: those of the local stack, if its launcher needs a key in this file too.
        scope: what the key may be used for, one of ``SCOPES``.

    Returns:
        The key, which is not stored.

    Raises:
        UsageError: the name cannot be used.
        WorkError: there is a key of that name, or the file is not a key file.
    """
    if not _NAME.fullmatch(name) or name == OWN:
        raise UsageError(
            f"{name!r} cannot be the name of a key",
            where="command line: NAME",
            expected="1 to 64 of a-z, 0-9, dot, dash, underscore, first a letter or digit; not " + OWN,
            hint="choose another name",
        )
    if settings:
        settings.make_home()
    path.parent.mkdir(mode=0o700 if settings else 0o755, parents=True, exist_ok=True)
    with exclusive(path.with_name(path.name + ".lock"), "keys"):
        lines = _lines(path)
        if name in _named(lines):
            raise WorkError(
                f"there is a key {name!r} already",
                where=str(path),
                expected="a different name for each key",
                hint=f"./heartline keys add {name}-2, hand that key over, then ./heartline keys revoke {name}",
            )
        if settings and OWN not in _named(lines):
            key = _new()
            _own_file(settings).parent.mkdir(mode=0o700, exist_ok=True)
            write_private(_own_file(settings), key + "\n")
            lines.append(_line(OWN, key))
        key = _new()
        _write(path, [*lines, _line(name, key, scope)])
    return key


def revoke(path: Path, name: str) -> None:
    """Remove a key from the file.

    Raises:
        UsageError: it is the launcher's.
        WorkError: there is no such key, or the file is not a key file.
    """
    if name == OWN:
        raise UsageError(
            "the launcher needs this key",
            where="command line: NAME",
            expected="the key of a client",
            hint=f"to require no keys any more, delete {path}, then ./heartline up",
        )
    if name not in {key.name for key in read(path)}:
        raise WorkError(
            f"there is no key {name!r}",
            where=str(path),
            expected="one of those that ./heartline keys list shows",
            hint="correct the name",
        )
    with exclusive(path.with_name(path.name + ".lock"), "keys"):
        _write(path, [line for line in _lines(path) if not line.startswith(f"{name} ")])


def read(path: Path) -> list[Key]:
    """Return the keys in the file, the oldest first; none if there is no file.

    Raises:
        WorkError: it is not a key file.
    """
    return list(_named(_lines(path)).values())


def _own_file(settings: Settings) -> Path:
    return settings.home / "secrets" / "service_key"


def _new() -> str:
    return PREFIX + secrets.token_urlsafe(32)


def _line(name: str, key: str, scope: str = SCOPES[0]) -> str:
    """Return the line of a key. An older service can read those of the default scope, which is left out."""
    line = f"{name} {datetime.now(UTC):%Y-%m-%d} sha256:{hashlib.sha256(key.encode()).hexdigest()}"
    return line if scope == SCOPES[0] else f"{line} {scope}"


def _lines(path: Path) -> list[str]:
    lines = path.read_text().splitlines() if path.exists() else []
    for number, line in enumerate(lines, 1):
        if line.strip() and not line.startswith("#") and not _LINE.fullmatch(line):
            raise WorkError(
                "this is not a key file",
                where=f"{path}, line {number}",
                expected="lines of NAME YYYY-MM-DD sha256:DIGEST, and a scope where it is not predict",
                hint="correct the line, or name another file",
            )
    return lines


def _named(lines: list[str]) -> dict[str, Key]:
    found = (_LINE.fullmatch(line) for line in lines)
    return {one["name"]: Key(one["name"], one["created"], one["scope"] or SCOPES[0]) for one in found if one}


def _write(path: Path, lines: list[str]) -> None:
    """Replace the file atomically.

    It is world-readable (0644), because the service in a container runs as another user. Digests are no secret.
    """
    partial = path.with_name(path.name + ".part")
    write_private(partial, "".join(line + "\n" for line in lines))
    partial.chmod(0o644)
    partial.replace(path)
