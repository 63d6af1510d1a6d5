"""What runs, how it is, and what production serves."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from rich.markup import escape
from rich.table import Table

from heartline.errors import HeartlineError
from heartline.registry import alias_history
from stack.clients.mlflow import Registry
from stack.clients.service import served
from stack.processes import orphans
from stack.processes.definitions import AIRFLOW, DAG_PROCESSOR, SCHEDULER, Part
from stack.processes.env_markers import SUPERVISOR
from stack.processes.health import Health, healthy
from stack.processes.lifecycle import Stack
from stack.processes.supervisor import Exit, Process
from stack.settings import USER


@dataclass(frozen=True)
class Row:
    """One process.

    Attributes:
        name: the part.
        healthy: whether it works.
        pid: its process, or None.
        port: its TCP port on the loopback interface, if it has one.
        version: what runs, if it says so.
        since: when it was started, ISO 8601 in local time, or None.
        restarts: how often it ended unasked and was started again, since the stack was started.
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
class Status:
    """The whole stack.

    Attributes:
        rows: the processes, the supervisor first.
        registry: whether the registry answers.
        production: the version that its alias `production` names, or None.
        model: what the service says about the model that it serves, or None.
        moved: the move that brought production there, or None where nobody noted it.
    """

    rows: list[Row]
    registry: bool
    production: str | None
    model: dict[str, Any] | None
    moved: alias_history.Move | None = None

    def healthy(self) -> bool:
        """Tell whether everything works."""
        return all(row.healthy for row in self.rows)

    def as_dict(self) -> dict[str, Any]:
        """Return it for ``--json``."""
        moved = self.moved.as_dict() if self.moved else None
        return {"healthy": self.healthy(), **asdict(self), "moved": moved}


def look(stack: Stack) -> Status:
    """Look at everything, at the same time, within a few seconds."""
    if not stack.supervisor.alive():
        registry, at, moved = _production(stack)
        return Status(_unsupervised(stack), registry, at, served(stack.settings), moved)
    supervisor, processes, probes = stack.supervisor, stack.supervisor.processes(), stack.probes()
    parts = [part for part in stack.parts() if part.name in processes]
    with ThreadPoolExecutor(len(parts) + 2) as pool:
        answers = {part.name: pool.submit(healthy, processes, part.name, probes[part.name]) for part in parts}
        production, model = pool.submit(_production, stack), pool.submit(served, stack.settings)
        exits = supervisor.exits()
        found = {name: answer.result() for name, answer in answers.items()}
        rows = [_row(part, processes[part.name], found, exits) for part in parts]
        first = Row(SUPERVISOR, True, supervisor.pid(), version=supervisor.version())
        registry, at, moved = production.result()
        return Status([first, *rows], registry, at, model.result(), moved)


def _row(part: Part, process: Process, found: dict[str, Health], exits: list[Exit]) -> Row:
    health, ended = found[part.name], [one for one in exits if one.name == part.name]
    note = health.note if not health.ok else ""
    if ended:
        note = "; ".join(filter(None, [note, f"last ended {ended[-1].when:%H:%M:%S}: {ended[-1].how}"]))
    # The three Airflow processes are of one version, which one of them tells.
    version = found[AIRFLOW].version if part.name in (SCHEDULER, DAG_PROCESSOR) else health.version
    since = datetime.fromtimestamp(process.started).isoformat() if process.pid and process.started else None
    return Row(part.name, health.ok, process.pid, part.port, version, since, len(ended), note)


def _unsupervised(stack: Stack) -> list[Row]:
    first = Row(SUPERVISOR, False, note="does not run: ./heartline up")
    rest = orphans.by_part(stack.settings.home)
    left = [
        Row(part.name, False, rest[part.name], part.port, note="runs, but nothing would start it again")
        if part.name in rest
        else Row(part.name, False, None, part.port, note="does not run")
        for part in (stack.parts() if stack.supervisor.configuration_file.exists() else [])
    ]
    return [first, *left]


def _production(stack: Stack) -> tuple[bool, str | None, alias_history.Move | None]:
    try:
        production, tags = Registry(stack.settings.mlflow_url).production_and_tags()
    except HeartlineError:
        return False, None, None
    moves = alias_history.read(tags)
    return True, production or None, moves[-1] if moves and moves[-1].after == production else None


def table(status: Status) -> Table:
    """Return the processes as a table."""
    grid = Table(box=None, padding=(0, 2), header_style="bold")
    for heading in ("part", "health", "pid", "port", "version", "since", "restarts", "note"):
        grid.add_column(heading, justify="right" if heading in ("pid", "port", "restarts") else "left")
    for row in status.rows:
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


def login(stack: Stack) -> str:
    """Return where Airflow's login is."""
    return f"Airflow:    {stack.settings.airflow_url}, user {USER}, password in {stack.login_file}"


def summary(status: Status) -> str:
    """Return, in a sentence, what production serves."""
    registered = f"version {status.production}" if status.production else "no version"
    if status.model is None:
        return (
            f"production: {registered}, and the service serves none"
            if status.registry
            else "production: MLflow is away"
        )
    model, version = status.model, str(status.model.get("version"))
    told = f"production: version {version} ({model.get('family')}, trained on {model.get('origin')})"
    if not status.registry:
        return told + "; MLflow is away"
    if version != status.production:
        return told + f"; the registry says {registered}: ./heartline logs service"
    moved = status.moved
    return f"{told}, since {moved.when:%Y-%m-%d %H:%M} UTC by {moved.by} ({moved.how})" if moved else told
