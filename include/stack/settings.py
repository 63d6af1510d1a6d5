"""The settings of this clone's stack, from environment variables: state folder, ports, PostgreSQL server."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from heartline import addresses, contract, dag_ids
from stack.errors import UsageError

ROOT = Path(__file__).resolve().parents[2]

REQUIREMENTS = "requirements.txt"
TEST_REQUIREMENTS = "requirements-dev.txt"
SERVING_REQUIREMENTS = "serving/requirements.txt"
VENV = ".venv"
STATE = ".heartline"  # below the clone, unless HEARTLINE_HOME says otherwise
SERVING_VENV = ".venv-serving"

HOST = "127.0.0.1"
DAG = dag_ids.TRAINING
MODEL = contract.MODEL_NAME
USER = "admin"  # of Airflow's user interface
APPROVER = "approver"  # the second user there, who may answer requests for approval

# `down --purge` deletes a folder only if it holds this file.
MARKER_FILE = "HEARTLINE"
UNUSABLE_CHARACTERS = '%"$`\\\n'
MARKER_TEXT = "The state of a local Heartline stack. `./heartline down --purge` deletes this folder.\n"

PORTS = {
    "HEARTLINE_AIRFLOW_PORT": 4200,
    "HEARTLINE_MLFLOW_PORT": 5000,
    "HEARTLINE_SERVICE_PORT": 8080,
    "HEARTLINE_POSTGRES_PORT": 5433,
}
WORKERS = ("heartline", "gthread")  # of the service; checked here so that `up` stops nothing for a value it refuses


@dataclass(frozen=True)
class Settings:
    """The settings of one clone's stack.

    Attributes:
        root: the clone.
        home: the state folder, absolute.
        airflow_port, mlflow_port, service_port, postgres_port: TCP ports on the loopback interface.
        postgres_url: the user's own PostgreSQL server, or None for the embedded one.
        public: the addresses at which people open Airflow, MLflow and the service, by part; links name these.
    """

    root: Path
    home: Path
    airflow_port: int
    mlflow_port: int
    service_port: int
    postgres_port: int
    postgres_url: str | None
    public: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def load(cls, environ: Mapping[str, str] = os.environ, root: Path = ROOT) -> Self:
        """Read the settings.

        Raises:
            UsageError: a port is not a TCP port, two ports are equal, the URL is not PostgreSQL's, or the
                service has no such worker.
        """
        ports = {name: _port(name, environ.get(name) or str(default)) for name, default in PORTS.items()}
        for name, port in ports.items():
            same_port = [other for other in ports if ports[other] == port and other != name]
            if same_port:
                raise UsageError(
                    f"two processes of the stack would listen on port {port}",
                    where=f"settings {name} and {same_port[0]}",
                    expected="a different port for each process",
                    hint=f"set one of them to another port, for example {name}={port + 1}",
                )
        url = environ.get("HEARTLINE_POSTGRES_URL") or None
        if url and not url.startswith(("postgresql://", "postgres://", "postgresql+psycopg2://")):
            raise UsageError(
                "this is not the URL of a PostgreSQL server",
                where="setting HEARTLINE_POSTGRES_URL",
                expected="postgresql://user:password@host:port/database, of a user who may create roles and databases",
                hint="correct it, or unset it to use the embedded PostgreSQL",
            )
        worker = environ.get("HEARTLINE_WORKER")
        if worker and worker not in WORKERS:
            raise UsageError(
                f"the service has no worker {worker!r}",
                where="setting HEARTLINE_WORKER",
                expected=" or ".join(WORKERS),
                hint="correct it, or unset it",
            )
        return cls(
            root=root,
            home=state_folder(environ, root),
            airflow_port=ports["HEARTLINE_AIRFLOW_PORT"],
            mlflow_port=ports["HEARTLINE_MLFLOW_PORT"],
            service_port=ports["HEARTLINE_SERVICE_PORT"],
            postgres_port=ports["HEARTLINE_POSTGRES_PORT"],
            postgres_url=url,
            public=_public_addresses(environ),
        )

    @property
    def airflow_url(self) -> str:
        """Airflow's address, without a slash at the end."""
        return f"http://{HOST}:{self.airflow_port}"

    @property
    def mlflow_url(self) -> str:
        """MLflow's address, without a slash at the end."""
        return f"http://{HOST}:{self.mlflow_port}"

    @property
    def service_url(self) -> str:
        """The service's address, without a slash at the end."""
        return f"http://{HOST}:{self.service_port}"

    @property
    def public_airflow_url(self) -> str:
        """Airflow's address for people, without a slash at the end."""
        return self.public.get(addresses.AIRFLOW, self.airflow_url)

    @property
    def public_mlflow_url(self) -> str:
        """MLflow's address for people, without a slash at the end."""
        return self.public.get(addresses.MLFLOW, self.mlflow_url)

    @property
    def public_service_url(self) -> str:
        """The service's address for people, without a slash at the end."""
        return self.public.get(addresses.SERVICE, self.service_url)

    @property
    def logs(self) -> Path:
        """The folder with a log file for each process."""
        return self.home / "logs"

    @property
    def run(self) -> Path:
        """The folder with the start files of the processes and the supervisor's socket."""
        return self.home / "run"

    def make_home(self) -> None:
        """Create the state folder, for this user only.

        Raises:
            UsageError: the folder holds other files than a stack's state, or its name cannot be used.
            OSError: it cannot be written.
        """
        check_name(self.root, "the clone")
        check_name(self.home, "setting HEARTLINE_HOME")
        own_folder(self.home)
        for folder in (self.logs, self.run):
            folder.mkdir(mode=0o700, exist_ok=True)


def state_folder(environ: Mapping[str, str], root: Path) -> Path:
    """Return the absolute path of the state folder: HEARTLINE_HOME, else the clone's own."""
    return Path(environ.get("HEARTLINE_HOME") or root / STATE).expanduser().resolve()


def check_name(path: Path, what: str) -> None:
    """Refuse a folder whose name MLflow (%) or PostgreSQL (the other characters) cannot handle.

    Raises:
        UsageError: the name has such a character.
    """
    found = sorted(set(UNUSABLE_CHARACTERS) & set(str(path)))
    if found:
        raise UsageError(
            f"the name of this folder holds a character that cannot be used: {' '.join(found)}",
            where=f"{path} ({what})",
            expected="a name without any of " + " ".join(UNUSABLE_CHARACTERS.strip()),
            hint="move it to another folder",
        )


def own_folder(path: Path) -> None:
    """Make ``path`` a state folder. It must be new, empty, or a state folder already.

    Raises:
        UsageError: it holds other files than a stack's state.
        OSError: it cannot be written.
    """
    if (path / MARKER_FILE).exists():
        return
    if path.is_dir() and any(path.iterdir()):
        raise UsageError(
            "this folder holds other files than a Heartline stack's state",
            where=f"{path} (setting HEARTLINE_HOME)",
            expected="a folder that is new, empty, or a Heartline state folder",
            hint=f"choose another folder; if it is a state folder that lost its file {MARKER_FILE}:"
            f" touch '{path / MARKER_FILE}'",
        )
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    (path / MARKER_FILE).write_text(MARKER_TEXT)


def _public_addresses(environ: Mapping[str, str]) -> dict[str, str]:
    found = {}
    for part in addresses.PORTS:
        found[part] = addresses.public(part, environ)
        if problem := addresses.problem(found[part]):
            raise UsageError(
                f"this is not the public address of a server: {problem}",
                where=f"setting {addresses.setting(part)}",
                expected="http:// or https://, a host, and a port and a path where it has one, such as "
                "https://ml.example.org/airflow",
                hint="correct it, or unset it to use the port on this machine",
            )
    return found


def _port(name: str, value: str) -> int:
    if value.isascii() and value.isdigit() and 1 <= int(value) <= 65535:
        return int(value)
    raise UsageError(
        f"{value!r} is not a TCP port",
        where=f"setting {name}",
        expected="a number from 1 to 65535",
        hint=f"correct it, or unset it to use {PORTS[name]}",
    )
