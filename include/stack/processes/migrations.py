"""Bringing the schemas of Airflow's and MLflow's databases up to date, only when there is something to do."""

import json
import subprocess
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path

from stack import console
from stack.errors import UnhealthyError
from stack.processes.databases import Server
from stack.processes.definitions import AIRFLOW, MLFLOW, Part, base_environment
from stack.processes.health import log_end
from stack.settings import Settings

RECORD = "migrated.json"
LIMIT = 600.0  # seconds


class Migrations:
    """What is known of the schemas, by the record in the state folder."""

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

    def mlflow(self, part: Part) -> None:
        """Upgrade MLflow's schema. A new database is left to the server, which makes its tables when it starts.

        Raises:
            UnhealthyError: the migration failed; shows the end of its log.
        """
        if self.known.get(MLFLOW, self.current[MLFLOW]) != self.current[MLFLOW]:
            self._run(part, ["-m", "mlflow", "db", "upgrade"])

    def airflow(self, part: Part) -> None:
        """Create or upgrade Airflow's schema.

        Raises:
            UnhealthyError: the migration failed; shows the end of its log.
        """
        if self.known.get(AIRFLOW) != self.current[AIRFLOW]:
            self._run(part, ["-m", "airflow", "db", "migrate"])

    def record(self) -> None:
        """Remember that the schemas are those of the installed versions."""
        if self.known != self.current:
            self.path.write_text(json.dumps(self.current) + "\n")

    def _run(self, part: Part, arguments: list[str]) -> None:
        log: Path = self.settings.logs / f"{part.name}-database.log"
        with console.step(f"{part.name} database schema"), log.open("w") as file:
            done = subprocess.run(
                [part.command[0], *arguments],
                env=base_environment() | part.settings,
                cwd=part.folder,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                check=False,
                timeout=LIMIT,
            )
        if done.returncode:
            raise UnhealthyError(
                f"the schema of {part.name}'s database could not be brought up to date",
                where=log_end(log),
                expected=f"`{' '.join(arguments[1:])}` to succeed",
                hint="correct what the log says, then ./heartline up again",
            )
