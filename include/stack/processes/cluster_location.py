"""Finds the PostgreSQL cluster of a state folder, and the operating-system user who runs it.

PostgreSQL refuses to run as root, and another user often may not enter root's folders. Root's cluster therefore lies in
a folder below ``SHARED_FOLDER``. The state folder's marker file names that folder, and that folder names the state
folder. So the cluster is found after the state folder was moved, and a copy of the state folder is noticed.
"""

import contextlib
import hashlib
import json
import os
import pwd
import secrets
import shutil
import subprocess
from pathlib import Path

from stack import console
from stack.errors import MachineError, UsageError
from stack.secrets.credentials import write_private
from stack.settings import MARKER_FILE, MARKER_TEXT

SHARED_FOLDER = Path("/var/lib/heartline")
OWNER_FILE = "home"  # in a cluster's folder: the path of the state folder that it belongs to
ACCOUNT = "heartline"
FORMER_ACCOUNT = "nobody"  # of release 0.2, and where no account can be made
FORMER_RECORD = "postgres.json"  # of release 0.2, in the state folder

_KEY = "cluster: "  # in the marker file


def shared_folder(home: Path) -> Path:
    """Return the folder below ``SHARED_FOLDER`` with the cluster of root's state folder ``home``; it may not exist."""
    return SHARED_FOLDER / (_name_in_marker(home) or _former_name(home))


def owner(folder: Path) -> Path | None:
    """Return the state folder that a cluster's folder belongs to; None if it does not say so, as in release 0.2."""
    with contextlib.suppress(OSError):
        return Path((folder / OWNER_FILE).read_text().rstrip("\n"))
    return None


def claim(home: Path) -> Path:
    """Return the folder of root's cluster, after the state folder and it have been made to name each other.

    Raises:
        UsageError: the cluster belongs to another state folder, of which this one is a copy.
        OSError: a folder cannot be written.
    """
    name = _name_in_marker(home) or _choose_name(home)
    folder = SHARED_FOLDER / name
    before = owner(folder)
    if before and before != home:
        if _name_in_marker(before) == name:
            raise _copied(home, before, folder)
        console.say(f"  the state folder was moved from {before}: continuing with its database in {folder}")
    folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    if before != home:
        write_private(folder / OWNER_FILE, f"{home}\n")
    if _name_in_marker(home) != name:
        write_private(home / MARKER_FILE, f"{MARKER_TEXT}{_KEY}{name}\n")
    return folder


def existing(home: Path) -> Path | None:
    """Return the folder of root's cluster of ``home``; None if there is none, or it is another state folder's."""
    name = _name_in_marker(home) or (_former_name(home) if _was_started(home) else None)
    folder = SHARED_FOLDER / (name or "-")
    before = owner(folder)
    copied = before not in (None, home) and _name_in_marker(before or home) == name
    return folder if folder.exists() and not copied else None


def _name_in_marker(home: Path) -> str | None:
    with contextlib.suppress(OSError):
        for line in (home / MARKER_FILE).read_text().splitlines():
            name = line.removeprefix(_KEY)
            if line.startswith(_KEY) and name.isalnum():
                return name
    return None


def _former_name(home: Path) -> str:
    """Return the name in release 0.2: a digest of the path that the state folder had when the cluster was made."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        data = Path(json.loads((home / FORMER_RECORD).read_text())["data"])
        if data.parent.parent == SHARED_FOLDER:
            return data.parent.name
    return hashlib.sha256(str(home).encode()).hexdigest()[:16]


def _choose_name(home: Path) -> str:
    """Return the name of an existing cluster that is this state folder's, else a new one."""
    former = SHARED_FOLDER / _former_name(home)
    left = [path for path in SHARED_FOLDER.glob("*") if owner(path) == home]
    if _was_started(home):
        if former.exists() and owner(former) in (None, home):
            return former.name
        if left:
            return max(left, key=lambda path: path.stat().st_mtime).name
    for path in left:
        console.say(f"  {path} holds the database of an earlier state folder at {home}; to delete it: rm -r {path}")
    return secrets.token_hex(8) if former.exists() else former.name


def _was_started(home: Path) -> bool:
    """Tell whether a state folder has secrets or artifacts, so that an existing database can be its own."""
    return (home / "secrets" / "postgres_password").exists() or (home / FORMER_RECORD).exists() or in_use(home)


def in_use(home: Path) -> bool:
    """Tell whether the files of a state folder come from a database that was in use: whether it has artifacts."""
    artifacts = home / "artifacts"
    return artifacts.is_dir() and any(artifacts.iterdir())


def _copied(home: Path, original: Path, folder: Path) -> UsageError:
    return UsageError(
        "this state folder is a copy: its database belongs to the original",
        where=f"{home} (setting HEARTLINE_HOME); {original} uses the database in {folder}",
        expected="one state folder for each database",
        hint=f"use the original: HEARTLINE_HOME={original}; for a second stack, set HEARTLINE_HOME to a new folder;"
        f" to go on with the copy instead of the original: mv {original} {original}.old",
    )


def account() -> str:
    """Return the name of the operating-system user who runs root's PostgreSQL."""
    with contextlib.suppress(KeyError):
        return pwd.getpwnam(ACCOUNT).pw_name
    return FORMER_ACCOUNT


def make_account() -> None:
    """Create the system account that runs root's PostgreSQL, unless it exists. Says so if that is not possible."""
    if account() == ACCOUNT:
        return
    program = shutil.which("useradd", path=os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/sbin")))
    reason = "there is no program useradd"
    if program:
        options = ["--system", "--no-create-home", "--home-dir", str(SHARED_FOLDER), "--shell", "/usr/sbin/nologin"]
        done = subprocess.run([program, *options, "--user-group", ACCOUNT], capture_output=True, text=True, check=False)
        reason = (done.stderr.strip().splitlines() or [f"useradd ended with exit code {done.returncode}"])[-1]
    if account() != ACCOUNT:
        console.say(f"  the account {ACCOUNT} cannot be made ({reason}): PostgreSQL runs as {FORMER_ACCOUNT}")


def wrong_owner(data: Path, user: str) -> bool:
    """Tell whether a cluster's files belong to another account than ``user``, as those of release 0.2 do."""
    return data.exists() and data.stat().st_uid != pwd.getpwnam(user).pw_uid


def hand_over(data: Path, user: str) -> None:
    """Give the files of a stopped cluster to ``user``.

    Only files of the folder's present owner are changed. The folder itself comes last, so that an interrupted call is
    continued by the next.

    Raises:
        OSError: the operating system refuses.
    """
    to, present = pwd.getpwnam(user), data.stat().st_uid
    for folder, names, files in os.walk(data, topdown=False):
        for name in (*files, *names):
            path = Path(folder, name)
            if path.lstat().st_uid == present:
                os.chown(path, to.pw_uid, to.pw_gid, follow_symlinks=False)
    os.chown(data, to.pw_uid, to.pw_gid)


def missing(home: Path, data: Path) -> MachineError:
    """Return the error for a state folder whose database is gone."""
    return MachineError(
        "the database of this stack is missing",
        where=f"{data}; the files in {home / 'artifacts'} belong to it",
        expected="the folder of its PostgreSQL",
        hint="put that folder back, for example from a backup; if the database was on a server of your own, set"
        f" HEARTLINE_POSTGRES_URL again; to begin anew with an empty stack: mv {home} {home}.old",
    )
