"""The API keys of the service: made and revoked here, in a file that the service reads again by itself.

The file has no key in it, only the SHA-256 of each: a key is 32 bytes of chance, which nobody finds by trying. The
launcher needs a key too, once there are any; that one lies beside the other secrets of the local stack.
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
OWN = "heartline"  # the launcher's
PREFIX = "hl_"  # by which programs that look for lost secrets know a key
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_LINE = re.compile(r"(?P<name>\S+) (?P<created>\d{4}-\d{2}-\d{2}) sha256:[0-9a-f]{64}")


@dataclass(frozen=True)
class Key:
    """What the file tells of a key.

    Attributes:
        name: who asks with it.
        created: the day it was made, as YYYY-MM-DD, in UTC.
    """

    name: str
    created: str


def file_of(settings: Settings) -> Path:
    """Return the path of the file: that of the setting, else the local stack's."""
    given = os.environ.get(VARIABLE)
    return Path(given).expanduser().absolute() if given else settings.home / "secrets" / "api-keys"


def in_force(settings: Settings) -> str:
    """Return the path that the local service gets; empty where it is to ask for no keys.

    A file that the user names counts also where it is not there: the service refuses to start without it.
    """
    path = file_of(settings)
    return str(path) if os.environ.get(VARIABLE) or path.exists() else ""


def own(settings: Settings) -> str | None:
    """Return the key that the launcher asks with; None where the service asks for none."""
    path = _own_file(settings)
    return path.read_text().strip() if path.exists() else None


def add(path: Path, name: str, settings: Settings | None = None) -> str:
    """Make a key and write its digest down.

    Args:
        path: the file of keys; made if it is not there.
        name: who will ask with it.
        settings: of the local stack, whose launcher is to have a key too.

    Returns:
        The key, which is kept nowhere.

    Raises:
        UsageError: the name cannot be used.
        WorkError: there is a key of that name, or the file is no file of keys.
    """
    if not _NAME.fullmatch(name) or name == OWN:
        raise UsageError(
            f"{name!r} cannot be the name of a key",
            where="command line: NAME",
            expected="up to 64 of a-z, 0-9, dot, dash and underscore, the first no sign; not " + OWN,
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
                expected="a name of its own for each key",
                hint=f"./heartline keys add {name}-2, hand that key over, then ./heartline keys revoke {name}",
            )
        if settings and OWN not in _named(lines):
            key = _new()
            _own_file(settings).parent.mkdir(mode=0o700, exist_ok=True)
            write_private(_own_file(settings), key + "\n")
            lines.append(_line(OWN, key))
        key = _new()
        _write(path, [*lines, _line(name, key)])
    return key


def revoke(path: Path, name: str) -> None:
    """Take a key out of the file.

    Raises:
        UsageError: it is the launcher's.
        WorkError: there is no such key, or the file is no file of keys.
    """
    if name == OWN:
        raise UsageError(
            "the launcher needs this key",
            where="command line: NAME",
            expected="a key that somebody else has",
            hint=f"to ask for no keys any more, delete {path}, then ./heartline up",
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
    """Return the keys in the file, in the order in which they were made; none where there is no file.

    Raises:
        WorkError: it is no file of keys.
    """
    return [Key(name, created) for name, created in _named(_lines(path)).items()]


def _own_file(settings: Settings) -> Path:
    return settings.home / "secrets" / "service_key"


def _new() -> str:
    return PREFIX + secrets.token_urlsafe(32)


def _line(name: str, key: str) -> str:
    return f"{name} {datetime.now(UTC):%Y-%m-%d} sha256:{hashlib.sha256(key.encode()).hexdigest()}"


def _lines(path: Path) -> list[str]:
    lines = path.read_text().splitlines() if path.exists() else []
    for number, line in enumerate(lines, 1):
        if line.strip() and not line.startswith("#") and not _LINE.fullmatch(line):
            raise WorkError(
                "this is no file of keys",
                where=f"{path}, line {number}",
                expected="lines of NAME YYYY-MM-DD sha256:DIGEST",
                hint="correct the line, or name another file",
            )
    return lines


def _named(lines: list[str]) -> dict[str, str]:
    return {found["name"]: found["created"] for line in lines if (found := _LINE.fullmatch(line))}


def _write(path: Path, lines: list[str]) -> None:
    """Replace the file, so that the service sees the old one or the new one.

    Whoever runs the service must be able to read it, in a container as another user, and digests tell nothing.
    """
    part = path.with_name(path.name + ".part")
    write_private(part, "".join(line + "\n" for line in lines))
    part.chmod(0o644)
    part.replace(path)
