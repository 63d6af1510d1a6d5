"""What the service needs besides its model: a file of API keys, and a database for the prediction log."""

import hashlib
import pwd
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from serving_peers.servers import ROOT, free_port

TIMEOUT_SECONDS = 60.0


def keys(folder: Path) -> tuple[Path, str]:
    """Return a file of keys for ``HEARTLINE_API_KEYS``, and the one key in it."""
    key = secrets.token_urlsafe(32)
    file = folder / "keys"
    file.write_text(f"benchmark 2026-01-01 sha256:{hashlib.sha256(key.encode()).hexdigest()}\n")
    file.chmod(0o600)
    return file, key


@contextmanager
def log_database(folder: Path) -> Iterator[str]:
    """Run the stack's PostgreSQL in ``folder``, outside of the measured sessions; yield its URL.

    Raises:
        RuntimeError: PostgreSQL ended, or does not accept connections.
    """
    sys.path.append(str(ROOT / "include"))
    import psycopg2

    from stack.processes.databases import Server, create_missing
    from stack.processes.postgres import Cluster, remove_shared_folder, server_options
    from stack.secrets.credentials import Credentials
    from stack.settings import Settings

    settings = Settings(ROOT, folder / "home", 1, 2, 3, free_port(), None)
    settings.make_home()
    credentials = Credentials(settings.home)
    cluster, server = Cluster.of(settings), Server.of(settings, credentials)
    process = None
    try:
        cluster.prepare(credentials)
        process = subprocess.Popen(
            [*cluster.command, *server_options(settings)],
            cwd=cluster.data,
            user=pwd.getpwnam(cluster.user).pw_uid if cluster.user else None,
            extra_groups=[] if cluster.user else None,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while True:
            try:
                server.version()
                break
            except psycopg2.OperationalError:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError("the database for the log does not answer") from None
                time.sleep(0.1)
        create_missing(server, credentials)
        address = server.address("heartline", credentials["heartline_db_password"])
        yield address.replace("postgresql+psycopg2://", "postgresql://")
    finally:
        if process:
            process.send_signal(signal.SIGINT)
            process.wait()
        remove_shared_folder(settings.home)
