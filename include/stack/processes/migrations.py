"""Creates and upgrades the schemas of Airflow's and MLflow's databases. The databases say which revision they have."""

import importlib.util
import re
import subprocess
from enum import Enum
from pathlib import Path

import psycopg2  # type: ignore[import-untyped]

from stack import console
from stack.errors import MachineError, UnhealthyError
from stack.processes.databases import Server
from stack.processes.definitions import AIRFLOW, MLFLOW, ProcessDefinition
from stack.processes.health import log_end
from stack.secrets.credentials import Credentials
from stack.settings import Settings

MIGRATION_TIMEOUT = 600.0  # seconds

# Where each package keeps its alembic revisions, one in each file.
_REVISIONS = {AIRFLOW: ("airflow", "migrations/versions"), MLFLOW: ("mlflow", "store/db_migrations/versions")}
_REVISION = re.compile(r"""^(down_)?revision(?:: .*?)? = ["'](\w+)["']""", re.MULTILINE)
# `mlflow db upgrade URL`, without the URL and its password on a command line
_UPGRADE_MLFLOW = "import os; from mlflow.db import upgrade; upgrade([os.environ['MLFLOW_BACKEND_STORE_URI']])"


class Schema(Enum):
    """The state of a database's schema, compared with the installed package."""

    ABSENT = "absent"
    OLDER = "older"
    CURRENT = "current"


class Migrations:
    """Asks both databases for the revision of their schema, and brings it up to date."""

    def __init__(self, settings: Settings, server: Server, credentials: Credentials) -> None:
        self.settings = settings
        self.server = server
        self.credentials = credentials

    def state(self, name: str) -> Schema:
        """Return the state of the schema of the database ``airflow`` or ``mlflow``.

        Raises:
            MachineError: the database has a revision that the installed package does not know.
            psycopg2.Error: the server does not answer.
        """
        found = self._revision(name)
        if found is None:
            return Schema.ABSENT
        known, newest = installed_revisions(name)
        if found in newest:
            return Schema.CURRENT
        if found in known:
            return Schema.OLDER
        raise MachineError(
            f"the schema of the database {name} was made by another release of {_REVISIONS[name][0]}: revision {found}",
            where=f"{self.server.host}:{self.server.port}, database {name}, table alembic_version",
            expected=f"a revision up to {', '.join(sorted(newest))}",
            hint="use the release of Heartline that last started this stack, or a newer one",
        )

    def mlflow(self, definition: ProcessDefinition, state: Schema) -> None:
        """Upgrade MLflow's schema. An empty database is left alone: the server creates its tables when it starts.

        Raises:
            UnhealthyError: the migration failed; shows the end of its log.
        """
        if state == Schema.OLDER:
            self._run(definition, ["-c", _UPGRADE_MLFLOW])

    def airflow(self, definition: ProcessDefinition, state: Schema) -> None:
        """Create or upgrade Airflow's schema.

        Raises:
            UnhealthyError: the migration failed; shows the end of its log.
        """
        if state != Schema.CURRENT:
            self._run(definition, ["-m", "airflow", "db", "migrate"])

    def _revision(self, name: str) -> str | None:
        connection = self.server.connect(name, self.credentials[f"{name}_db_password"], name)
        try:
            with connection.cursor() as cursor:
                cursor.execute("SELECT version_num FROM alembic_version")
                found = cursor.fetchone()
                return str(found[0]) if found else None
        except psycopg2.errors.UndefinedTable:
            return None
        finally:
            connection.close()

    def _run(self, definition: ProcessDefinition, arguments: list[str]) -> None:
        log: Path = self.settings.logs / f"{definition.name}-database.log"
        with console.step(f"{definition.name} database schema"), log.open("w") as file:
            done = subprocess.run(
                [definition.command[0], *arguments],
                env=definition.environment(),
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
                expected="the migration to succeed",
                hint="fix the cause that the log names, then ./heartline up again",
            )


def installed_revisions(name: str) -> tuple[set[str], set[str]]:
    """Return all revisions of the schema that the installed package knows, and the newest of them.

    They are read from the text of the files: importing Airflow or MLflow takes seconds.
    """
    package, folder = _REVISIONS[name]
    spec = importlib.util.find_spec(package)
    if not spec or not spec.origin:
        return set(), set()
    known: set[str] = set()
    replaced: set[str] = set()
    for path in (Path(spec.origin).parent / folder).glob("*.py"):
        for down, revision in _REVISION.findall(path.read_text(encoding="utf-8")):
            (replaced if down else known).add(revision)
    return known, known - replaced
