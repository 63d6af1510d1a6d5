"""Upgrades the schemas of Airflow's and MLflow's databases, only when an installed version has changed."""

import json
import subprocess
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path

from stack import console
from stack.errors import UnhealthyError
from stack.processes.databases import Server
from stack.processes.definitions import AIRFLOW, MLFLOW, ProcessDefinition, base_environment
from stack.processes.health import log_end
from stack.settings import Settings

RECORD = "migrated.json"
MIGRATION_TIMEOUT = 600.0  # seconds


class Migrations:
    """The schema versions that the state folder's record names, and how to bring them up to date."""

    def __init__(self, settings: Settings, server: Server) -> None:
        self.settings = settings
        self.path = settings.home / RECORD
        self.current = {
            "server": sha256(f"{server.host}:{server.port}".encode()).hexdigest(),
            AIRFLOW: version("apache-airflow"),
            MLFLOW: version("mlflow"),
        }
        known = json.loads(self.path.read_text()) if self.path.exists() else {}
        self.known: dict[str, str] = known if known.get("server") == self.current["server"] else {}

    def mlflow(self, definition: ProcessDefinition) -> None:
        """Upgrade MLflow's schema. A new database is left alone: the server creates its tables when it starts.

        Raises:
            UnhealthyError: the migration failed; shows the end of its log.
        """
        if self.known.get(MLFLOW, self.current[MLFLOW]) != self.current[MLFLOW]:
            self._run(definition, ["-m", "mlflow", "db", "upgrade"])

    def airflow(self, definition: ProcessDefinition) -> None:
        """Create or upgrade Airflow's schema.

        Raises:
            UnhealthyError: the migration failed; shows the end of its log.
        """
        if self.known.get(AIRFLOW) != self.current[AIRFLOW]:
            self._run(definition, ["-m", "airflow", "db", "migrate"])

    def record(self) -> None:
        """Write down that the schemas are those of the installed versions."""
        if self.known != self.current:
            self.path.write_text(json.dumps(self.current) + "\n")

    def _run(self, definition: ProcessDefinition, arguments: list[str]) -> None:
        log: Path = self.settings.logs / f"{definition.name}-database.log"
        with console.step(f"{definition.name} database schema"), log.open("w") as file:
            done = subprocess.run(
                [definition.command[0], *arguments],
                env=base_environment() | definition.settings,
                cwd=definition.folder,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                check=False,
                timeout=MIGRATION_TIMEOUT,
            )
        if done.returncode:
            raise UnhealthyError(
                f"the schema of {definition.name}'s database could not be upgraded",
                where=log_end(log),
                expected=f"`{' '.join(arguments[1:])}` to succeed",
                hint="fix the cause that the log names, then ./heartline up again",
            )
