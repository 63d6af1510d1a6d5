"""`heartline status`: the processes, their health, and the version in production."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

from rich.markup import escape
from rich.table import Table

from heartline import addresses
from heartline.dag_ids import APPROVAL
from heartline.errors import HeartlineError
from heartline.registry.production import alias_history
from stack.clients.dag_health import DagHealth
from stack.clients.mlflow import Registry
from stack.clients.service import refused, served
from stack.commands import monitor
from stack.commands.training.train import client
from stack.processes import orphans
from stack.processes.definitions import AIRFLOW, DAG_PROCESSOR, SCHEDULER, ProcessDefinition
from stack.processes.env_markers import SUPERVISOR
from stack.processes.health import Health, healthy
from stack.processes.lifecycle import Stack
from stack.processes.supervisor import ProcessState, UnexpectedExit
from stack.settings import APPROVER, USER


@dataclass(frozen=True)
class ProcessStatus:
    """The status of one process.

    Attributes:
        name: its name, such as mlflow.
        healthy: whether its health check passed.
        pid: its process id, or None.
        port: its TCP port on the loopback interface, if it has one.
        version: the version of its program, if it reports one.
        since: its start time, ISO 8601 in UTC, or None.
        restarts: the number of unexpected exits since the stack was started.
        note: what is wrong, or how it last ended.
    """

    name: str
    healthy: bool
    pid: int | None = None
    port: int | None = None
    version: str | None = None
    since: str | None = None
    restarts: int = 0
    note: str = ""


@dataclass(frozen=True)
class OpenApproval:
    """A request for approval that waits for an answer.

    Attributes:
        version: the version that it is about.
        since: when it was opened, ISO 8601 in UTC.
        until: when it expires, ISO 8601 in UTC.
        url: of the page in Airflow where it is answered.
    """

    version: str
    since: str
    until: str
    url: str


@dataclass(frozen=True)
class Status:
    """The status of the stack.

    Attributes:
        processes: the processes, the supervisor first.
        registry_reachable: whether MLflow answers.
        production: the version at the alias `production`, or None.
        model: the service's description of the model that it serves, or None.
        last_move: the move that pointed production to this version, or None if it is not in the history.
        problems: what keeps Airflow from running the DAGs, a sentence each.
        notes: what a user should know although it is no problem, such as a paused DAG.
        refused: the version at the alias that the service does not serve, and why, or None.
        approvals: the requests for approval that wait for an answer.
        monitoring: what the monitoring says, in one line, or None if its database does not answer.
    """

    processes: list[ProcessStatus]
    registry_reachable: bool
    production: str | None
    model: dict[str, Any] | None
    last_move: alias_history.Move | None = None
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    refused: str | None = None
    approvals: list[OpenApproval] = field(default_factory=list)
    monitoring: str | None = None

    def healthy(self) -> bool:
        """Tell whether every process is healthy, and Airflow can run the DAGs."""
        return all(process.healthy for process in self.processes) and not self.problems

    def as_dict(self) -> dict[str, Any]:
        """Return the status for ``--json``."""
        last_move = self.last_move.as_dict() if self.last_move else None
        return {"healthy": self.healthy(), **asdict(self), "last_move": last_move}


def check_all(stack: Stack) -> Status:
    """Run all health checks in parallel, within a few seconds."""
    if not stack.supervisor.alive():
        reachable, version, last_move = _production(stack)
        return Status(_unsupervised(stack), reachable, version, served(stack.settings), last_move)
    supervisor, processes, probes = stack.supervisor, stack.supervisor.processes(), stack.probes()
    definitions = [definition for definition in stack.definitions() if definition.name in processes]
    with ThreadPoolExecutor(len(definitions) + 4) as pool:
        answers = {
            definition.name: pool.submit(healthy, processes, definition.name, probes[definition.name])
            for definition in definitions
        }
        production, model = pool.submit(_production, stack), pool.submit(served, stack.settings)
        refusal = pool.submit(refused, stack.settings)
        monitoring = pool.submit(_monitoring, stack)
        exits = supervisor.exits()
        found = {name: answer.result() for name, answer in answers.items()}
        rows = [_row(definition, processes[definition.name], found, exits) for definition in definitions]
        first = ProcessStatus(SUPERVISOR, True, supervisor.pid(), version=supervisor.version())
        reachable, version, last_move = production.result()
        dags, waiting = (_dags(stack), _open_approvals(stack)) if found[AIRFLOW].ok else (DagHealth(), [])
        return Status(
            [first, *rows],
            reachable,
            version,
            model.result(),
            last_move,
            dags.problems,
            dags.notes,
            refusal.result(),
            waiting,
            monitoring.result(),
        )


def _dags(stack: Stack) -> DagHealth:
    try:
        return client(stack).dag_health()
    except HeartlineError as error:
        return DagHealth(unusable=[f"Airflow does not tell whether it can run the DAGs: {error.what}"])


def _open_approvals(stack: Stack) -> list[OpenApproval]:
    """Return the requests that wait for an answer; none where Airflow does not tell, which ``_dags`` reports."""
    airflow = client(stack)
    try:
        runs = {
            str(one["task_instance"]["dag_run_id"]): str(one["created_at"]) for one in airflow.open_requests(APPROVAL)
        }
        told = {run: airflow.returned(APPROVAL, run, "request") for run in runs}
    except HeartlineError:
        return []
    return [
        OpenApproval(str(one["version"]), runs[run], str(one["until"]), addresses.approval(run))
        for run, one in told.items()
        if isinstance(one, dict) and one.get("version")
    ]


def _monitoring(stack: Stack) -> str | None:
    try:
        today = monitor.today()
        return monitor.summary(monitor.gather(monitor.Databases.of(stack), today), today)
    except HeartlineError:
        return None


def _row(
    definition: ProcessDefinition, process: ProcessState, found: dict[str, Health], exits: list[UnexpectedExit]
) -> ProcessStatus:
    health, ended = found[definition.name], [one for one in exits if one.name == definition.name]
    note = health.note if not health.ok else ""
    if ended:
        note = "; ".join(filter(None, [note, f"last ended {ended[-1].when.astimezone(UTC):%H:%M:%S}: {ended[-1].how}"]))
    # The three Airflow processes have one version, which only the api-server reports.
    version = found[AIRFLOW].version if definition.name in (SCHEDULER, DAG_PROCESSOR) else health.version
    since = datetime.fromtimestamp(process.started, UTC).isoformat() if process.pid and process.started else None
    return ProcessStatus(definition.name, health.ok, process.pid, definition.port, version, since, len(ended), note)


def _unsupervised(stack: Stack) -> list[ProcessStatus]:
    first = ProcessStatus(SUPERVISOR, False, note="does not run: ./heartline up")
    running = orphans.oldest_by_name(stack.settings.home)
    others = [
        ProcessStatus(
            definition.name,
            False,
            running[definition.name],
            definition.port,
            note="runs, but no supervisor would restart it",
        )
        if definition.name in running
        else ProcessStatus(definition.name, False, None, definition.port, note="does not run")
        for definition in (stack.definitions() if stack.supervisor.configuration_file.exists() else [])
    ]
    return [first, *others]


def _production(stack: Stack) -> tuple[bool, str | None, alias_history.Move | None]:
    try:
        production = Registry(stack.settings.mlflow_url).production_and_tags()[0]
    except HeartlineError:
        return False, None, None
    try:
        moves = alias_history.moves(stack.ledger.entries(kinds=alias_history.KINDS)) if production else []
    except HeartlineError:
        moves = []
    return True, production or None, moves[-1] if moves and moves[-1].after == production else None


def table(status: Status) -> Table:
    """Return the processes as a table."""
    grid = Table(box=None, padding=(0, 2), header_style="bold")
    for heading in ("process", "health", "pid", "port", "version", "since", "restarts", "note"):
        grid.add_column(heading, justify="right" if heading in ("pid", "port", "restarts") else "left")
    for row in status.processes:
        grid.add_row(
            row.name,
            "[green]healthy[/]" if row.healthy else "[bold red]not healthy[/]",
            str(row.pid or ""),
            str(row.port or ""),
            row.version or "",
            (row.since or "").replace("T", " ")[:19],
            str(row.restarts or ""),
            escape(row.note),
        )
    return grid


def lines(stack: Stack, status: Status) -> list[str]:
    """Return what stands below the table: problems, the version in production, the addresses, the time zone."""
    settings = stack.settings
    found = [f"problem:    {text}" for text in status.problems]
    found += [f"note:       {text}" for text in status.notes]
    found.append(summary(status))
    found += [
        f"approval:   version {one.version} waits since {_minute(one.since)}, until {_minute(one.until)}: {one.url}"
        for one in status.approvals
    ]
    if status.monitoring:
        found.append(f"monitoring: {status.monitoring}")
    if status.refused:
        found.append(f"refused:    {status.refused}")
    found.append(f"Airflow:    {settings.public_airflow_url}{_logins(stack)}")
    found += [f"MLflow:     {settings.public_mlflow_url}", f"Service:    {settings.public_service_url}"]
    if stack.credentials.folder.exists():
        database = stack.server
        found.append(f"PostgreSQL: {database.host}:{database.port} (./heartline db opens it)")
    return [*found, "All times are in UTC."]


def _minute(time: str) -> str:
    return time[:16].replace("T", " ")


def _logins(stack: Stack) -> str:
    files = {USER: stack.login_file, APPROVER: stack.approver_file}
    return "".join(f", user {user}, password in {file}" for user, file in files.items() if file.exists())


def summary(status: Status) -> str:
    """Return one sentence about the version in production."""
    registered = f"version {status.production}" if status.production else "no version"
    if status.model is None:
        return (
            f"production: {registered}, and the service serves none"
            if status.registry_reachable
            else "production: MLflow is unreachable"
        )
    model, version = status.model, str(status.model.get("version"))
    served_version = f"production: version {version} ({model.get('family')}, trained on {model.get('origin')})"
    if not status.registry_reachable:
        return served_version + "; MLflow is unreachable"
    if version != status.production:
        return served_version + f"; the registry says {registered}: ./heartline logs service"
    move = status.last_move
    return (
        f"{served_version}, since {move.when:%Y-%m-%d %H:%M} UTC by {move.by} ({move.how})" if move else served_version
    )
