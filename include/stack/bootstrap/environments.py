"""Creates virtual environments from locked requirements with uv. Needs only the standard library."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from stack.bootstrap import offline
from stack.bootstrap.progress import run
from stack.errors import MachineError
from stack.settings import STATE, own_folder

UV_PIN = Path(__file__).with_name("uv.txt")
UV_OLDEST = (0, 13)  # the first with UV_SYSTEM_CERTS, which accepts a company's own certificates
STAMP = "heartline-stamp"
PROMPT = "heartline"  # in the file pyvenv.cfg of each environment; says that it is ours

# Variables that would change how our Python child processes run. PYTHONDONTWRITEBYTECODE alone makes every start of
# Airflow three times slower.
_FOREIGN = re.compile(r"(PYTHON|VIRTUAL_ENV|CONDA_|__PYVENV_LAUNCHER__)")

_CAUSES = (
    (
        r"not found in the provided package locations|network was disabled|--no-index",
        "the bundle lacks a package for this machine",
        "a bundle of this version of Heartline, made for this Python and platform",
        "make it again with ./heartline bundle OUT --python VERSION --platform PLATFORM",
    ),
    (r"no space left|disk quota", "the disk is full", "about 3 GB of free space", "free some space"),
    (
        r"read-only file system|permission denied|operation not permitted",
        "a folder cannot be written",
        "a clone and a cache folder (UV_CACHE_DIR) that belong to this user",
        "use a clone that belongs to this user",
    ),
    (
        r"failed to fetch|error sending request|dns error|connection (refused|error|reset)|timed out|certificate"
        r"|max retries|could not find a version|no matching distribution|unable to connect|could not connect",
        "the package registry cannot be reached",
        "access to a Python package registry",
        "check the network, the proxy (HTTPS_PROXY) and the mirror (UV_DEFAULT_INDEX, PIP_INDEX_URL)",
    ),
    (
        r"hash mismatch|do not match the hashes|none of the hashes",
        "a package differs from the locked one",
        "packages with the digests in the lock",
        "check the mirror, then clear the cache (UV_CACHE_DIR)",
    ),
    (
        r"ensurepip|no module named (venv|pip)",
        "this Python lacks its module venv",
        "a complete Python, or uv on PATH",
        "install it (Debian, Ubuntu: apt install python3-venv)",
    ),
)


@dataclass(frozen=True)
class Environment:
    """A virtual environment, and its lock files in the order in which they are installed."""

    folder: Path
    locks: tuple[Path, ...]

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.folder / "bin" / "python"

    @property
    def stamp(self) -> Path:
        """The file that lists what is installed; absent during an installation."""
        return self.folder / STAMP

    def exists(self) -> bool:
        """Tell whether it was installed completely once, for these or for earlier lock files."""
        return self.stamp.exists() and self.python.exists()

    def ready(self) -> bool:
        """Tell whether the present version of every lock file is installed."""
        return self.exists() and not self._missing()

    def _missing(self) -> list[Path]:
        installed = self.stamp.read_text().splitlines()
        if not installed or installed[0] != self._identity():
            return list(self.locks)
        return [lock for lock in self.locks if _entry(lock) not in installed]

    def _identity(self) -> str:
        # An environment cannot be moved, and works only with the interpreter that created it.
        return f"{self.folder} {self.python.resolve()}"

    def make(self, uv: str, wheels: Path | None = None) -> None:
        """Install its lock files; from scratch, unless an earlier call was completed.

        Args:
            uv: the path of uv.
            wheels: the folder that all packages come from; by default a registry.

        Raises:
            MachineError: a step failed.
        """
        name = self.folder.name
        fresh = not self.exists() or self.stamp.read_text().split("\n")[0] != self._identity()
        missing = list(self.locks) if fresh else self._missing()
        if self.locks[0] in missing:
            missing = list(self.locks)  # syncing the first lock removes the packages of the others
        if self.folder.is_symlink():
            self.folder.unlink()  # another clone's environment, which is not ours to change
        if self.locks[0] in missing and self.stamp.exists():
            # Commands that find no stamp wait. Packages that are only added disturb nobody.
            self.stamp.replace(self._unfinished)
        if fresh:
            self._remove()
            command = [uv, "venv", "--quiet", "--no-project", "--prompt", PROMPT, "--python", sys.executable]
            command.append(str(self.folder))
            _run(command, f"creating {name}")
        for lock in missing:
            # The first lock is complete; the others add packages to it.
            verb = "sync" if lock == self.locks[0] else "install"
            arguments = ["--require-hashes", "--compile-bytecode", "--python", str(self.python)]
            source = [str(lock)] if verb == "sync" else ["-r", str(lock)]
            command = [uv, "pip", verb, *arguments, *_only_from(wheels), *source]
            _run(command, f"{name}: packages of {lock.name}", network=wheels is None)
        partial = self.stamp.with_suffix(".part")
        partial.write_text("\n".join([self._identity(), *map(_entry, self.locks)]) + "\n")
        partial.replace(self.stamp)
        self._unfinished.unlink(missing_ok=True)

    @property
    def _unfinished(self) -> Path:
        return self.stamp.with_suffix(".unfinished")

    def _remove(self) -> None:
        """Delete the folder, which an interrupted call left; uv refuses a folder that it does not recognize.

        Raises:
            MachineError: nothing says that the folder was made by an earlier call.
        """
        if not self.folder.exists():
            return
        configuration = self.folder / "pyvenv.cfg"
        named = configuration.exists() and f"prompt = {PROMPT}" in configuration.read_text().splitlines()
        if not (named or self.stamp.exists() or self._unfinished.exists() or not any(self.folder.iterdir())):
            raise MachineError(
                "this folder holds a virtual environment that Heartline did not make",
                where=str(self.folder),
                expected="no such folder, or one that ./heartline made",
                hint=f"move it: mv '{self.folder}' '{self.folder}.old', then call the same command again",
            )
        shutil.rmtree(self.folder)


def _only_from(wheels: Path | None) -> list[str]:
    return [] if wheels is None else ["--no-index", "--find-links", str(wheels), "--only-binary", ":all:"]


def _entry(lock: Path) -> str:
    return f"{lock.name} {hashlib.sha256(lock.read_bytes()).hexdigest()}"


def child_environment(**extra: str) -> dict[str, str]:
    """Return this process's environment with ``extra``, without variables that change how Python runs."""
    kept = {name: value for name, value in os.environ.items() if not _FOREIGN.match(name)}
    return kept | extra


def find_uv(root: Path, wheels: Path | None = None) -> str:
    """Return the path of uv: the user's if it is recent enough, else a pinned one, installed below the state folder.

    Args:
        root: the clone.
        wheels: the folder that the pinned one comes from; by default a registry.

    Raises:
        MachineError: it cannot be installed.
    """
    installed = shutil.which("uv")
    if installed and _version(installed) >= UV_OLDEST:
        return installed
    folder = root / STATE / "uv"
    ours, stamp = folder / "bin" / "uv", folder / STAMP
    pin = hashlib.sha256(UV_PIN.read_bytes()).hexdigest()
    if not (ours.exists() and stamp.exists() and stamp.read_text() == pin):
        own_folder(root / STATE)
        stamp.unlink(missing_ok=True)
        _run([sys.executable, "-m", "venv", "--clear", str(folder)], "creating an environment for the installer")
        install = ["install", "--quiet", "--disable-pip-version-check", "--require-hashes", "--only-binary", ":all:"]
        install += [] if wheels is None else ["--no-index", "--find-links", str(wheels)]
        _run([str(folder / "bin" / "python"), "-m", "pip", *install, "-r", str(UV_PIN)], "installing the installer, uv")
        stamp.write_text(pin)
    return str(ours)


def _version(uv: str) -> tuple[int, ...]:
    try:
        answer = subprocess.run([uv, "--version"], capture_output=True, text=True, timeout=20, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ()
    found = re.search(r"(\d+)\.(\d+)", answer)
    return (int(found[1]), int(found[2])) if found else ()


def _run(command: Sequence[str], label: str, *, network: bool = True) -> None:
    environment = child_environment(UV_SYSTEM_CERTS="1", UV_PYTHON_DOWNLOADS="never", UV_NO_PROGRESS="1")
    if not network:
        environment["UV_OFFLINE"] = "1"
    if "UV_CACHE_DIR" not in environment and not _writable(_uv_cache(environment)):
        environment["UV_CACHE_DIR"] = str(Path(tempfile.gettempdir()) / f"heartline-uv-cache-{os.getuid()}")
    code, output = run(command, label, environment)
    if code:
        raise _explain(output, label, code)


def _uv_cache(environment: dict[str, str]) -> Path:
    base = environment.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "uv"


def _writable(path: Path) -> bool:
    while not path.exists():
        path = path.parent
    return os.access(path, os.W_OK)


def _explain(output: str, label: str, code: int) -> MachineError:
    tail = "\n            ".join(output.strip().splitlines()[-8:]) or f"exit code {code}, no output"
    unknown = ("", "set-up failed", "a step that succeeds", "fix the cause above")
    _, what, expected, hint = next((cause for cause in _CAUSES if re.search(cause[0], output, re.IGNORECASE)), unknown)
    return MachineError(
        what,
        where=f"set-up, {label}:\n            {tail}",
        expected=expected,
        hint=f"{hint}, then call the same command again",
    )


def ensure(
    root: Path, environments: Sequence[Environment], say: Callable[[str], None], *, from_wheels: bool = False
) -> None:
    """Create or update each environment that is not ready.

    Args:
        root: the clone.
        environments: those that are needed.
        say: shows a line to the user.
        from_wheels: nothing may be downloaded: every package comes from the clone's folder of a bundle.

    Raises:
        MachineError: a lock or a package is missing, or a step failed.
    """
    for environment in environments:
        for lock in environment.locks:
            if not lock.exists():
                raise MachineError(
                    "a file of locked requirements is missing",
                    where=str(lock),
                    expected="the file as it is in the repository",
                    hint="restore it: git checkout -- " + str(lock.relative_to(root)),
                )
    wanted = [environment for environment in environments if not environment.ready()]
    if wanted:
        wheels = offline.wheels(root) if from_wheels else None
        say("setting up (one or two minutes the first time) …")
        uv = find_uv(root, wheels)
        for environment in wanted:
            environment.make(uv, wheels)
