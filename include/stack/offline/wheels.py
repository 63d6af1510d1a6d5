"""Downloads the wheels of lock files for other Pythons and platforms, and compares each with the lock's digests."""

import hashlib
import os
import re
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement

from stack.bootstrap.environments import child_environment
from stack.errors import MachineError, WorkError
from stack.offline.platforms import Platform

_PIN = re.compile(r"^([A-Za-z0-9][^\s=]*==[^\n\\]+?)((?:\s*\\\n\s+--hash=\S+)+)", re.MULTILINE)
_MISSING = re.compile(r"No matching distribution found for ([^\s(]+)")
_CHUNK = 1 << 20
_PATCHES = range(30)  # the third number of a Python's version


@dataclass(frozen=True)
class Pin:
    """A package of a lock file.

    Attributes:
        name, version: of the package.
        digests: the SHA-256 of each of its files, in hexadecimal.
    """

    name: str
    version: str
    digests: frozenset[str]

    def line(self, digests: Iterable[str] | None = None) -> str:
        """Return it as a line of a requirements file, with these digests or all."""
        hashes = " ".join(f"--hash=sha256:{one}" for one in sorted(self.digests if digests is None else digests))
        return f"{self.name}=={self.version} {hashes}"


def pins(lock: str, python: str, platform: Platform) -> list[Pin]:
    """Return the packages of a lock file's text for a Python and a platform.

    A package may be there in two versions: a lock can tell 3.11.4 from 3.11.5, and either may be on the other machine.

    Args:
        lock: the text.
        python: such as ``3.13``.
        platform: on which the packages are to run.
    """
    common = platform.markers | {
        "python_version": python,
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
        "os_name": "posix",
    }
    machines = [common | {"python_full_version": f"{python}.{patch}"} for patch in _PATCHES]
    found = []
    for text, hashes in _PIN.findall(lock):
        requirement = Requirement(text.strip())
        if requirement.marker is None or any(map(requirement.marker.evaluate, machines)):
            (version,) = (one.version for one in requirement.specifier)
            digests = frozenset(re.findall(r"--hash=sha256:([0-9a-f]{64})", hashes))
            found.append(Pin(requirement.name, version, digests))
    return found


def download(wanted: Sequence[Pin], folder: Path, pip: Sequence[str], python: str, platform: Platform) -> None:
    """Download the wheel of each package into a folder; pip compares them with the digests.

    Args:
        wanted: the packages.
        folder: for the wheels; those that it holds already are not downloaded again.
        pip: the command of a pip.
        python: such as ``3.13``.
        platform: on which the wheels are to run.

    Raises:
        WorkError: a package has no wheel for this Python and platform.
        MachineError: the download failed.
    """
    while wanted:
        once = {one.name: one for one in wanted}  # pip refuses two versions of a package
        _download(list(once.values()), folder, pip, python, platform)
        wanted = [one for one in wanted if one is not once[one.name]]


def _download(wanted: Sequence[Pin], folder: Path, pip: Sequence[str], python: str, platform: Platform) -> None:
    requirements = folder.parent / "requirements.part"
    requirements.write_text("\n".join(one.line() for one in wanted) + "\n")
    tags = [part for tag in platform.tags for part in ("--platform", tag)]
    options = [
        "--no-deps",
        "--ignore-requires-python",
        "--only-binary",
        ":all:",
        "--require-hashes",
        "--python-version",
        python,
        *tags,
    ]
    try:
        run(
            [*pip, "download", "-qq", *options, "-d", str(folder), "-r", str(requirements)],
            f"packages for Python {python} on {platform.name}",
        )
    except MachineError as error:
        missing = _MISSING.findall(error.where)
        if not missing:
            raise
        raise WorkError(
            f"{missing[0]} has no wheel for Python {python} on {platform.name}",
            where=f"--python {python} --platform {platform.name}",
            expected="a wheel of every package, because the other machine may lack compilers",
            hint="leave this Python or platform out, or use docker compose with --images",
        ) from None
    finally:
        requirements.unlink(missing_ok=True)


def run(command: Sequence[str], label: str) -> None:
    """Run a step that uses the network.

    Raises:
        MachineError: it failed; its output is in ``where``.
    """
    environment = child_environment(PIP_DISABLE_PIP_VERSION_CHECK="1", PIP_NO_INPUT="1")
    mirror = os.environ.get("UV_DEFAULT_INDEX") or os.environ.get("UV_INDEX_URL")
    if mirror:
        environment.setdefault("PIP_INDEX_URL", mirror)  # one setting for uv and pip
    ended = subprocess.run(
        command, env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False
    )
    if ended.returncode:
        tail = "\n            ".join((ended.stderr or ended.stdout).strip().splitlines()[-8:])
        raise MachineError(
            "a step that needs the package registry failed",
            where=f"{label}:\n            {tail}",
            expected="access to a Python package registry",
            hint="check the network, the proxy (HTTPS_PROXY) and the mirror (PIP_INDEX_URL), then call it again",
        )


def digest(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    found = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            found.update(chunk)
    return found.hexdigest()


def verified(folder: Path, wanted: Iterable[Pin]) -> dict[str, str]:
    """Return the digest of each wheel in a folder, by its name, after comparing it with the locks.

    Raises:
        WorkError: a file is in no lock.
    """
    known = {one for pin in wanted for one in pin.digests}
    found = {path.name: digest(path) for path in sorted(folder.glob("*.whl"))}
    for name, value in found.items():
        if value not in known:
            raise WorkError(
                f"{name} is not the file that the lock names",
                where=str(folder / name),
                expected="the digest of one of the lock's files",
                hint="check the mirror, clear pip's cache (pip cache purge), then call it again",
            )
    return found
