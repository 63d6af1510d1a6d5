"""Defines the processes of the stack: command, environment, folder and port of each. Starts nothing."""

import hashlib
import json
import os
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlsplit

from heartline import addresses
from heartline.ingestion import source_catalog
from heartline.ledger import schema, store
from heartline.registry.production import approvals
from stack import mapping_choice
from stack.processes import reading_roles
from stack.processes.databases import LEDGER_DATABASE, Server
from stack.processes.env_markers import DIGEST_VARIABLE, PROCESS_VARIABLE, STACK_VARIABLE, start_file
from stack.processes.environment import base_environment, download_settings, loader_paths
from stack.processes.postgres import Cluster, server_options
from stack.secrets import api_keys
from stack.secrets.credentials import Credentials, write_private
from stack.settings import APPROVER, HOST, REQUIREMENTS, SERVING_REQUIREMENTS, SERVING_VENV, USER, VENV, Settings
from stack.source_choice import absolute, nightly, readable_folders

# A change of these settings restarts the processes that read them.
_PIPELINE = tuple(
    f"HEARTLINE_{name}"
    for name in (
        "APPROVAL_DAYS",
        "APPROVERS",
        "CACHE_DIR",
        "DATA",
        "DRIFT_RATE",
        "HARM_MARGIN",
        "HARM_RATE",
        "MONITORING_SCHEDULE",
        "NOTIFY",
        "FOUR_EYES",
        "OFFLINE",
        "OUTCOMES",
        "OUTCOMES_QUERY",
        "PATIENT",
        "REQUIRE_APPROVAL",
        "SCHEDULE",
        "SOURCE_FOLDERS",
        "SOURCE_MAX_BYTES",
        "SOURCE_MAX_ROWS",
        "SOURCE_NETWORKS",
        "SOURCE_SECONDS",
        "TIMEZONE",
        "UCI_URL",
        "WEEKLY_RATE",
    )
)
_SERVICE = tuple(
    f"HEARTLINE_{name}"
    for name in (
        "ALLOWED_HOSTS",
        "ALLOW_ANONYMOUS",
        "MAX_BODY_BYTES",
        "MAX_RECORDS",
        "MAX_WAITING",
        "MODEL_ALIAS",
        "MODEL_NAME",
        "POLL_SECONDS",
        "PREDICTION_LOG_DAYS",
        "PREDICTION_LOG_SPILL_BYTES",
        "REQUEST_SECONDS",
        "REQUIRE_APPROVAL",
        "SERVICE_HOST",
        "SERVICE_THREADS",
        "SERVICE_WORKERS",
        "WORKER",
    )
)

# A task's log ends with what Heartline says, not with the task's return value and its operator; airflow_local_settings
# does the same for other libraries.
LOG_LEVELS = ",".join(f"{name}=WARNING" for name in ("airflow.dag_processing", "airflow.task.operators", "task"))

# A LocalExecutor that imports the libraries of the tasks once, and waits for events instead of the scheduler.
EXECUTOR = "heartline_executor.PreloadingExecutor"

# Airflow's processes import these once: a change restarts them.
_IMPORTED = (
    "include/stack/airflow_config/*.py",
    "plugins/*.py",
    "include/orchestration/*.py",
    "include/heartline/*.py",
    "include/heartline/training/family_names.py",
    *(
        f"include/heartline/{name}/*.py"
        for name in ("ledger", "monitoring", "registry", "reports", "reports/monitoring", "storage")
    ),
    "include/heartline/reports/templates/*",
)

POSTGRES, MLFLOW, AIRFLOW, SCHEDULER, DAG_PROCESSOR, SERVICE = (
    "postgres",
    "mlflow",
    "airflow",
    "scheduler",
    "dag-processor",
    "service",
)


MONITORING_URL = "HEARTLINE_MONITORING_URL"  # what the monitoring keeps
PREDICTIONS_URL = "HEARTLINE_PREDICTIONS_URL"  # the prediction log, as the monitoring reads it

# The stack sets these itself, or only the launcher reads them.
_NOT_PASSED_ON = re.compile(
    r"HEARTLINE_(\w+_PORT|API_KEYS|APPROVAL_SECRET|BUNDLE|CACHE|DATABASE_URL|HOME|LEDGER_DAYS|LEDGER_URL|LOCK|MLFLOW_URL"
    r"|MONITORING_URL|PART|PART_DIGEST|POSTGRES_URL|PATIENT_SECRET|PREDICTIONS_URL|PREDICTION_LOG_URL|PROCESS|PROCESS_DIGEST|PYTHON|REAL_DATA|SOURCE"
    r"|STACK|STORE)$"
)


@dataclass(frozen=True)
class ProcessDefinition:
    """One process that the supervisor runs.

    Attributes:
        name: its name in the supervisor and in ``status``; its log file is named after it.
        command: the command line, with an absolute path.
        settings: environment variables that it gets in addition to the user's.
        folder: its working directory.
        port: the TCP port it listens on, if any.
        port_variable: the setting that changes the port.
        stop_signal: the signal that stops it.
        stop_seconds: until it is killed because it has not ended.
        user: the operating-system user who runs it, or None for the calling one.
    """

    name: str
    command: tuple[str, ...]
    settings: dict[str, str]
    folder: Path
    port: int | None = None
    port_variable: str | None = None
    stop_signal: str = "TERM"
    stop_seconds: int = 6
    user: str | None = None

    def environment(self) -> dict[str, str]:
        """Return all environment variables of the process, without its markers."""
        return base_environment() | self.settings

    def digest(self) -> str:
        """Return the sha256 of all that the process is started with: one with another digest is out of date."""
        whole = asdict(self) | {"environment": self.environment()}
        return hashlib.sha256(json.dumps(whole, sort_keys=True, default=str).encode()).hexdigest()

    def write(self, settings: Settings) -> None:
        """Write the start file that ``stack.processes.exec_process`` reads, readable by this user only."""
        markers = {STACK_VARIABLE: str(settings.home), PROCESS_VARIABLE: self.name, DIGEST_VARIABLE: self.digest()}
        start = {
            "command": self.command,
            "environment": self.environment() | markers,
            "folder": str(self.folder),
            "user": self.user,
        }
        write_private(start_file(settings.home, self.name), json.dumps(start, indent=1))


def define_processes(settings: Settings, credentials: Credentials) -> list[ProcessDefinition]:
    """Return all processes in their start order; without ``postgres`` if HEARTLINE_POSTGRES_URL names a server."""
    server = Server.of(settings, credentials)
    python = str(settings.root / VENV / "bin" / "python")
    code = loader_paths() | {"HEARTLINE_LOCK": _digest(settings.root, [REQUIREMENTS, *_IMPORTED])}
    airflow = code | _airflow(settings, credentials, server)
    ledger = {store.VARIABLE: ledger_url(server, credentials)}
    monitoring = {MONITORING_URL: monitoring_url(server, credentials)}
    everything = [
        _mlflow(settings, code, server, credentials, python),
        ProcessDefinition(
            AIRFLOW,
            (python, "-m", "airflow", "api-server"),
            # its plugins read the ledger and what the monitoring has stored, and say whether predictions are logged
            airflow | ledger | monitoring | _log_switched_off(),
            settings.home,
            settings.airflow_port,
            "HEARTLINE_AIRFLOW_PORT",
        ),
        # Without its log server: the api-server reads the task logs from the same disk. Its tasks hash the values of
        # patients and sign approvals; no other process of Airflow gets these secrets.
        ProcessDefinition(
            SCHEDULER,
            (python, "-m", "airflow", "scheduler", "--skip-serve-logs"),
            airflow
            | ledger
            | monitoring
            | {
                PREDICTIONS_URL: predictions_url(server, credentials),
                source_catalog.PATIENT_SECRET: credentials["patient_secret"],
                approvals.SECRET: credentials["approval_secret"],
            },
            settings.home,
        ),
        ProcessDefinition(DAG_PROCESSOR, (python, "-m", "airflow", "dag-processor"), airflow, settings.home),
        _service(settings, server, credentials),
    ]
    return everything if settings.postgres_url else [_postgres(settings), *everything]


def _postgres(settings: Settings) -> ProcessDefinition:
    cluster = Cluster.of(settings)
    return ProcessDefinition(
        POSTGRES,
        (*cluster.command, *server_options(settings)),
        {"LC_ALL": "C"},
        cluster.data,
        settings.postgres_port,
        "HEARTLINE_POSTGRES_PORT",
        stop_signal="INT",  # fast shutdown; TERM would wait for open sessions
        user=cluster.user,
    )


def _mlflow(
    settings: Settings, code: dict[str, str], server: Server, credentials: Credentials, python: str
) -> ProcessDefinition:
    port, public = settings.mlflow_port, urlsplit(settings.public_mlflow_url)
    return ProcessDefinition(
        MLFLOW,
        (python, "-m", "mlflow", "server", "--host", HOST, "--port", str(port), "--workers", "1", "--serve-artifacts"),
        code
        | {
            "MLFLOW_BACKEND_STORE_URI": server.address("mlflow", credentials["mlflow_db_password"]),
            "MLFLOW_ARTIFACTS_DESTINATION": str(settings.home / "artifacts"),
            "MLFLOW_SERVER_ALLOWED_HOSTS": ",".join(
                dict.fromkeys([HOST, f"{HOST}:{port}", "localhost", f"localhost:{port}", public.netloc])
            ),
            "MLFLOW_SERVER_CORS_ALLOWED_ORIGINS": f"{public.scheme}://{public.netloc}",
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # seven unused processes of 200 MB
        },
        settings.home,
        port,
        "HEARTLINE_MLFLOW_PORT",
    )


def _service(settings: Settings, server: Server, credentials: Credentials) -> ProcessDefinition:
    python = str(settings.root / SERVING_VENV / "bin" / "python")
    return ProcessDefinition(
        SERVICE,
        (python, "-m", "gunicorn", "-c", str(settings.root / "serving" / "gunicorn.conf.py")),
        {"HEARTLINE_POLL_SECONDS": "2"}  # polling a registry on the same machine is cheap
        | loader_paths()
        | _given(_SERVICE)
        | _other_settings()
        | {
            "HEARTLINE_LOCK": _digest(settings.root, [SERVING_REQUIREMENTS, "serving/**/*.py"]),
            "HEARTLINE_MLFLOW_URL": settings.mlflow_url,
            "HEARTLINE_CACHE": str(settings.home / "cache" / "models"),
            "HEARTLINE_SERVICE_PORT": str(settings.service_port),
            addresses.setting(addresses.SERVICE): settings.public_service_url,
            api_keys.VARIABLE: api_keys.in_force(settings),
            "HEARTLINE_PREDICTION_LOG_URL": os.environ.get("HEARTLINE_PREDICTION_LOG_URL")
            or server.address("predictions", credentials["predictions_db_password"], driver=None),
            store.VARIABLE: ledger_url(server, credentials, schema.SERVICE),
            "HEARTLINE_APPROVAL_SECRET": credentials["approval_secret"],
        },
        settings.root,
        settings.service_port,
        "HEARTLINE_SERVICE_PORT",
        stop_seconds=25,  # longer than graceful_timeout in serving/gunicorn.conf.py
    )


def _airflow(settings: Settings, credentials: Credentials, server: Server) -> dict[str, str]:
    """Return the settings of every Airflow process and every task."""
    include = settings.root / "include"
    password = credentials["airflow_db_password"]
    airflow_home = settings.home / "airflow"
    own = _other_settings() | _given(_PIPELINE) | download_settings() | _connections()
    if source := nightly(settings.home):
        own["HEARTLINE_SOURCE"] = absolute(source)
    if "HEARTLINE_DEADLINE" in os.environ:  # an empty one means that there is none
        own["HEARTLINE_DEADLINE"] = os.environ["HEARTLINE_DEADLINE"]
    if mapping := mapping_choice.nightly(settings.home):
        own["HEARTLINE_MAPPING"] = mapping
    return own | {
        "PYTHONPATH": f"{include}{os.pathsep}{include / 'stack' / 'airflow_config'}",
        "HEARTLINE_HOME": str(settings.home),
        "HEARTLINE_SOURCE_FOLDERS": readable_folders(settings.root),
        "HEARTLINE_STORE": os.environ.get("HEARTLINE_STORE") or f"file://{settings.home / 'store'}",
        "HEARTLINE_DATABASE_URL": os.environ.get("HEARTLINE_DATABASE_URL")
        or server.address("heartline", credentials["heartline_db_password"]),
        "HEARTLINE_DATA_DOCS_URL": f"{settings.public_airflow_url}/data-docs",  # behind Airflow's login
        addresses.setting(addresses.AIRFLOW): settings.public_airflow_url,
        addresses.setting(addresses.MLFLOW): settings.public_mlflow_url,
        addresses.setting(addresses.SERVICE): settings.public_service_url,
        # runs the smoke test of a model before it is registered
        "HEARTLINE_SERVING_PYTHON": str(settings.root / SERVING_VENV / "bin" / "python"),
        "MLFLOW_TRACKING_URI": settings.mlflow_url,
        "HEARTLINE_ALIAS_LOCK_URL": alias_lock_url(server, credentials),
        "HEARTLINE_READYZ_URL": f"{settings.service_url}/readyz",
        "AIRFLOW_HOME": str(airflow_home),
        "AIRFLOW__API__BASE_URL": settings.public_airflow_url,
        "AIRFLOW__API__HOST": HOST,
        "AIRFLOW__API__PORT": str(settings.airflow_port),
        "AIRFLOW__API__WORKERS": "1",
        "AIRFLOW__API__SECRET_KEY": credentials["airflow_api_secret_key"],
        "AIRFLOW__API_AUTH__JWT_SECRET": credentials["airflow_jwt_secret"],
        "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "false",
        "AIRFLOW__CORE__DAGS_FOLDER": str(settings.root / "dags"),
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{settings.airflow_url}/execution/",
        "AIRFLOW__CORE__EXECUTOR": EXECUTOR,
        "AIRFLOW__CORE__FERNET_KEY": credentials["airflow_fernet_key"],
        "AIRFLOW__CORE__LOAD_EXAMPLES": "false",
        "AIRFLOW__CORE__PARALLELISM": "4",
        # Airflow 3.3.2 refuses a deadline's callback the connections of its database, before it looks here
        "AIRFLOW__WORKERS__SECRETS_BACKEND": "airflow.secrets.environment_variables.EnvironmentVariablesBackend",
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(settings.root / "plugins"),
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(passwords_file(settings)),
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": f"{USER}:admin,{APPROVER}:user",
        "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "10",  # seconds until a new DAG file is seen, instead of 300
        # A file that has changed is read at once. The others are read again only for what they import.
        "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "300",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": server.address("airflow", password),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN_ASYNC": server.address("airflow", password, "asyncpg"),
        "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(airflow_home / "logs"),
        "AIRFLOW__LOGGING__NAMESPACE_LEVELS": LOG_LEVELS,
        "MLFLOW_CONFIGURE_LOGGING": "false",  # else its INFO goes to stderr, which Airflow shows as ERROR
        # A killed task is noticed within half a minute instead of five.
        "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "15",
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "60",
        "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0",  # the executor waits, for an event
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "false",
    }


def _log_switched_off() -> dict[str, str]:
    """Return the setting of the prediction log where it says that there is none; an address is a secret."""
    return {name: "off" for name in ("HEARTLINE_PREDICTION_LOG_URL",) if os.environ.get(name) == "off"}


def alias_lock_url(server: Server, credentials: Credentials) -> str:
    """Return the URL of the database whose lock every mover of an alias holds: commands, tasks and runs."""
    return server.address("heartline", credentials["heartline_db_password"], driver=None)


def ledger_url(server: Server, credentials: Credentials, role: str = schema.WRITER) -> str:
    """Return the URL with which a role writes to the ledger: that of tasks and commands, or that of the service."""
    return server.address(role, credentials[f"{role}_db_password"], driver=None, database=LEDGER_DATABASE)


def monitoring_url(server: Server, credentials: Credentials) -> str:
    """Return the URL of the database in which the monitoring keeps its state, for its role."""
    return _reading_url(server, credentials, reading_roles.MONITORING, reading_roles.SCHEMA_DATABASE)


def predictions_url(server: Server, credentials: Credentials) -> str:
    """Return the URL of the prediction log for the monitoring: a setting, else the stack's own."""
    given = os.environ.get(PREDICTIONS_URL)
    return given or _reading_url(server, credentials, reading_roles.MONITORING, reading_roles.LOG_DATABASE)


def _reading_url(server: Server, credentials: Credentials, role: str, database: str) -> str:
    return server.address(role, credentials[f"{role}_db_password"], driver=None, database=database)


def passwords_file(settings: Settings) -> Path:
    """Return the path of the file from which Airflow reads its users' passwords."""
    return settings.home / "airflow" / "passwords.json"


def _other_settings() -> dict[str, str]:
    """Return the variables of this project that are in neither list; the pipeline and the service get them."""
    names = (name for name in os.environ if name.startswith("HEARTLINE_") and not _NOT_PASSED_ON.match(name))
    return _given(name for name in names if name not in (*_PIPELINE, *_SERVICE))


def _connections() -> dict[str, str]:
    """Return the connections of Airflow that ``HEARTLINE_NOTIFY`` names, as far as they are environment variables."""
    targets = os.environ.get("HEARTLINE_NOTIFY", "").split(",")
    return _given(f"AIRFLOW_CONN_{target.strip().partition(':')[2].upper()}" for target in targets)


def _given(names: Iterable[str]) -> dict[str, str]:
    return {name: os.environ[name] for name in names if os.environ.get(name)}


def _digest(root: Path, patterns: Iterable[str]) -> str:
    found = sorted(path for pattern in patterns for path in root.glob(pattern) if path.is_file())
    return hashlib.sha256(b"".join(path.read_bytes() for path in found)).hexdigest()[:16]
