"""Reads a file as a source, if it is below a folder that the settings allow."""

import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote, urlsplit

from heartline import visible
from heartline.errors import SourceError, SourceRefusedError
from heartline.ingestion.formats.file_kinds import FORMATS
from heartline.ingestion.limits import too_large
from heartline.ingestion.source_catalog import split_sheet

SETTING = "HEARTLINE_SOURCE_FOLDERS"

_SYSTEM = (Path("/proc"), Path("/sys"), Path("/dev"))  # their "files" show the memory and settings of processes


@dataclass(frozen=True)
class Folders:
    """The folders whose files may be read as a source.

    Attributes:
        allowed: files below these may be read, except hidden ones.
        private: files below these may never be read: the state of the stack, with its passwords.
        named: files that may be read wherever they are, because the stack's owner named them.
    """

    allowed: tuple[Path, ...] = ()
    private: tuple[Path, ...] = ()
    named: frozenset[Path] = frozenset()

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "Folders":
        """Return the folders of ``HEARTLINE_SOURCE_FOLDERS``, separated as in ``PATH``; without it, none.

        The state folder (``HEARTLINE_HOME``, ``HEARTLINE_STORE``) is private, the files in ``HEARTLINE_SOURCE`` and
        ``HEARTLINE_MAPPING`` are named.
        """
        listed = [Path(one).expanduser() for one in environment.get(SETTING, "").split(os.pathsep) if one]
        store = environment.get("HEARTLINE_STORE", "")
        private = [environment.get("HEARTLINE_HOME", ""), _local(store) or ""]
        named = [_local(environment.get(one, "")) for one in ("HEARTLINE_SOURCE", "HEARTLINE_MAPPING")]
        return cls(
            tuple(one.resolve() for one in listed),
            tuple(Path(one).resolve() for one in private if one),
            frozenset(Path(one) for one in named if one),
        )

    def find(self, path: Path, parameter: str = "source") -> Path:
        """Return ``path`` without symbolic links, after checking that it may be read.

        Args:
            path: absolute.
            parameter: of the run, which names the path.

        Raises:
            SourceRefusedError: it may not be read. This does not depend on whether it exists.
        """
        try:
            found = path.resolve()
        except (OSError, RuntimeError):  # a name that is too long, or links in a circle
            found = path.absolute()
        except ValueError:
            raise self._refused(path, parameter, "a path cannot contain the character NUL") from None
        if any(found.is_relative_to(one) for one in (*self.private, *_SYSTEM)):
            raise self._refused(path, parameter, "the folder holds the state of the stack or the system")
        if path in self.named or any(_is_visible_below(found, one) for one in self.allowed):
            return found
        if any(found.is_relative_to(one) for one in self.allowed):
            raise self._refused(path, parameter, "hidden files are not read")
        raise self._refused(path, parameter, "it is outside the folders that are allowed")

    def _refused(self, path: Path, parameter: str, reason: str) -> SourceError:
        allowed = " or ".join(str(one) for one in self.allowed)
        return SourceRefusedError(
            f"this path may not be read as a {parameter}: {reason}",
            where=f"parameter {parameter}: {visible.path(path)}",
            expected=f"a file below {allowed or 'a folder'}, which the setting {SETTING} allows",
            hint=f"copy the file there, add its folder to {SETTING}, or use ./heartline train --{parameter} FILE",
        )


ANYWHERE = Folders((Path("/"),))  # for programs that read with the rights of their caller


def path_of(spec: str) -> Path:
    """Return the path in ``spec``: a path or a ``file://`` URL.

    Raises:
        SourceRefusedError: the URL names another machine.
    """
    if not spec.startswith("file://"):
        return Path(spec)
    parts = urlsplit(spec)
    if parts.netloc not in ("", "localhost") or not parts.path:
        raise SourceRefusedError(
            f"'{visible.path(spec)}' is not a file on this machine",
            where="parameter source",
            expected="file:///absolute/path",
            hint="write three slashes after file:",
        )
    return Path(unquote(parts.path))


def read(path: Path, size: int) -> bytes:
    """Return the bytes of a file of at most ``size`` bytes.

    Raises:
        SourceError: it is missing, too large, unreadable, no file, or changed meanwhile.
    """
    try:
        with opened(path) as file:
            found = os.fstat(file.fileno())
            data = _content(file, size + 1)
            after = path.stat()
    except OSError as error:
        raise _unreadable(path, error) from error
    if len(data) > size:
        raise too_large(visible.path(path), size)
    if _identity(found) != _identity(after):
        raise SourceError(
            "the file changed while it was read",
            where=visible.path(path),
            expected="a file that does not change during the run",
            hint="try again when the file is complete",
        )
    return data


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """Open a file for reading, if it is one.

    Raises:
        SourceError: it is missing, unreadable or no file.
    """
    try:
        # a pipe would block without O_NONBLOCK; a link that has replaced the checked file is not followed
        file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC), "rb")
    except OSError as error:
        raise _unreadable(path, error) from error
    with file:
        mode = os.fstat(file.fileno()).st_mode
        if not stat.S_ISREG(mode):
            what = IsADirectoryError() if stat.S_ISDIR(mode) else OSError("it is a device or a pipe")
            raise _unreadable(path, what)
        yield file


def _content(file: BinaryIO, size: int) -> bytes:
    return file.read(size)


def _local(spec: str) -> str | None:
    """Return the path in ``spec`` if it is one on this machine."""
    spec, _ = split_sheet(spec)
    if spec.startswith("/"):
        return spec if "\n" not in spec else None
    return unquote(urlsplit(spec).path) or None if spec.startswith("file://") else None


def _is_visible_below(path: Path, folder: Path) -> bool:
    if not path.is_relative_to(folder):
        return False
    return not any(part.startswith(".") for part in path.relative_to(folder).parts)


def _identity(found: os.stat_result) -> tuple[int, int, int]:
    return found.st_ino, found.st_size, found.st_mtime_ns


def _unreadable(path: Path, error: OSError) -> SourceError:
    kind: type[SourceError] = SourceRefusedError
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        problem, hint = "there is no such file", "check the path on the machine that runs the task"
    elif isinstance(error, IsADirectoryError):
        problem, hint = "this is a folder, not a file", "give the path of a file in it"
    elif isinstance(error, PermissionError):
        problem, hint = "the file may not be read", "give the user that runs the task permission to read it"
    else:
        kind, problem = SourceError, f"the file cannot be read: {visible.path(error.strerror or error)}"
        hint = "check the path and its disk"
    return kind(problem, where=visible.path(path), expected=f"a readable {FORMATS} file", hint=hint)
