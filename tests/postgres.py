"""A PostgreSQL server for tests: the embedded binaries, with a temporary data folder."""

import pwd
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

import psutil
import psycopg2

from heartline.ledger import schema
from heartline.ledger.entry import FIRST
from stack.processes.databases import LEDGER_DATABASE, Server, create_missing
from stack.processes.definitions import ledger_url
from stack.processes.postgres import Cluster, remove_shared_folder, server_options
from stack.secrets.credentials import Credentials
from stack.settings import Settings
from tests.running import ROOT, free_ports
from tests.waiting import until

ROLE = "predictions"


class Postgres:
    """A cluster with the roles and databases that `up` makes, and its server process."""

    def __init__(self, home: Path) -> None:
        self._settings = Settings(ROOT, home, 1, 2, 3, free_ports(1)[0], None)
        self._settings.make_home()
        credentials = self._credentials = Credentials(home)
        self._cluster = Cluster.of(self._settings)
        self._process: subprocess.Popen[bytes] | None = None
        self._cluster.prepare(credentials)
        self.server = Server.of(self._settings, credentials)
        self.password = credentials[f"{ROLE}_db_password"]
        self.url = self.server.address(ROLE, self.password, driver=None)
        self.ledger_url = ledger_url(self.server, credentials)
        self.service_ledger_url = ledger_url(self.server, credentials, schema.SERVICE)
        try:
            self.start()
            self.provide()
        except BaseException:
            self.remove()
            raise

    def provide(self) -> None:
        """Create what is missing, as `up` does."""
        create_missing(self.server, self._credentials)

    def login(self, role: str) -> str:
        """Return the name and the password of a role, as in a URL."""
        return f"{role}:{self._credentials[f'{role}_db_password']}"

    def start(self) -> None:
        """Start it, unless it runs, and wait until it answers."""
        if self._process:
            return
        user = self._cluster.user
        self._process = subprocess.Popen(
            [*self._cluster.command, *server_options(self._settings), "-c", "fsync=off"],
            cwd=self._cluster.data,
            user=pwd.getpwnam(user).pw_uid if user else None,
            extra_groups=[] if user else None,
            stderr=subprocess.DEVNULL,
        )
        until(self._answers, passing=psycopg2.OperationalError)

    def stop(self, how: signal.Signals = signal.SIGQUIT) -> None:
        """Stop it, by default at once, as ``pg_ctl stop -m immediate`` does."""
        if self._process:
            self._process.send_signal(how)
            self._process.wait(120)
            self._process = None

    def freeze(self) -> None:
        """Stop the server and all its sessions with SIGSTOP: connections are accepted and not answered."""
        self._signal_all(signal.SIGSTOP)

    def thaw(self) -> None:
        """Continue it."""
        self._signal_all(signal.SIGCONT)

    def run(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        """Return the rows of a statement of the log's role; it takes values in their order, or one mapping of them."""
        connection = psycopg2.connect(self.url)
        connection.autocommit = True
        try:
            with connection.cursor() as cursor:
                cursor.execute(query, values[0] if values and isinstance(values[0], dict) else values)
                return list(cursor.fetchall()) if cursor.description else []
        finally:
            connection.close()

    def clear(self) -> None:
        """Delete the tables of the log."""
        self.run("DROP TABLE IF EXISTS outcome, rejected, prediction, model, prediction_log")

    def administer(self, *statements: str) -> None:
        """Run statements in the ledger's database as the server's superuser, without the ledger's triggers."""
        connection = self.server.connect(database=LEDGER_DATABASE)
        try:
            with connection.cursor() as cursor:
                cursor.execute("SET session_replication_role = replica")
                for statement in statements:
                    cursor.execute(statement)
        finally:
            connection.close()

    def empty_ledger(self) -> None:
        """Delete the entries of the ledger."""
        head = f"INSERT INTO ledger.head (number, hash) VALUES (0, '{FIRST}')"
        self.administer("TRUNCATE ledger.entries, ledger.head", head)

    def remove(self) -> None:
        """Stop it and delete its folder."""
        self.stop()
        remove_shared_folder(self._settings.home)
        shutil.rmtree(self._settings.home)

    def _answers(self) -> str:
        assert self._process
        assert self._process.poll() is None
        return self.server.version()

    def _signal_all(self, how: signal.Signals) -> None:
        assert self._process
        main = psutil.Process(self._process.pid)
        for process in [main, *main.children(recursive=True)]:
            process.send_signal(how)
