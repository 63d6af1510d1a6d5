"""`heartline history`: the entries of the ledger, the state at a time, and whether the chain is intact."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from rich.markup import escape
from rich.table import Table

from heartline.ledger import chain, past, sentences
from heartline.ledger.chain import Break
from heartline.ledger.entry import Entry
from heartline.ledger.store import Store
from heartline.registry.production import alias_history, alias_moves
from stack import console
from stack.clients.mlflow import Registry
from stack.errors import StackError, UsageError

_SHOWN = "%Y-%m-%d %H:%M:%S"
_ATTEMPTS = 20  # to read the entries and the record of the last one, without an entry being added in between


@dataclass(frozen=True)
class Verification:
    """What a verification found.

    Attributes:
        entries: all entries, oldest first.
        broken: the first entry that is not what was entered; None where all are.
        compared: whether they were also compared with the hash that is noted in MLflow.
    """

    entries: Sequence[Entry]
    broken: Break | None
    compared: bool

    @property
    def pruned(self) -> int | None:
        """The number of the last entry that was removed as HEARTLINE_LEDGER_DAYS says, None without one."""
        found = [one.facts.get("through") for one in self.entries if one.kind == "pruned"]
        return int(found[-1]) if found and found[-1] is not None else None

    def as_dict(self) -> dict[str, Any]:
        """Return it for ``--json``."""
        last = self.entries[-1] if self.entries else None
        return {
            "intact": self.broken is None,
            "entries": len(self.entries),
            "first": self.entries[0].number if self.entries else None,
            "last": last.number if last else None,
            "hash": last.hash if last else None,
            "pruned_through": self.pruned,
            "compared_with_mlflow": self.compared,
            "broken": {"number": self.broken.number, "what": self.broken.what} if self.broken else None,
        }

    def lines(self) -> list[str]:
        """Return it for people."""
        if self.broken:
            return [f"the ledger is not intact: {self.broken.what}"]
        last = f", the last one is {self.entries[-1].number} with hash {self.entries[-1].hash}" if self.entries else ""
        found = [f"the ledger is intact: {len(self.entries)} entries{last}"]
        if self.pruned is not None:
            found.append(f"entries up to {self.pruned} were removed by HEARTLINE_LEDGER_DAYS")
        if not self.compared:
            found.append("it was not compared with MLflow, which has no hash of it or does not answer")
        return found


def entries(registry: Registry) -> list[Entry]:
    """Return all entries, oldest first. Enters a move that was made in MLflow's UI.

    Raises:
        LedgerError: the ledger does not answer.
    """
    try:
        alias_moves.record_external_moves(registry)
    except StackError as error:
        console.warn(f"a move that was made in MLflow since the last entry is not shown: {error.what}")
    return registry.ledger.entries()


def verify(ledger: Store, registry: Registry) -> Verification:
    """Verify the chain, also against the hash that is noted in MLflow. It writes nothing.

    Raises:
        LedgerError: the ledger does not answer.
    """
    try:
        noted = alias_history.noted_head(registry.history())
    except StackError:
        noted = None
    for _ in range(_ATTEMPTS):
        head = ledger.head()
        found = ledger.entries()
        if not (head and found and found[-1].number > head.number):
            break  # no entry was added in between
    return Verification(found, chain.verify(found, head, [noted] if noted else []), noted is not None)


def as_dict(entry: Entry) -> dict[str, Any]:
    """Return an entry for ``--json``; a move also has the fields that each move had up to version 0.4."""
    moved = alias_history.of_entry(entry).as_dict() if entry.kind in ("moving", "moved") else {}
    return {
        **moved,
        "number": entry.number,
        "when": past.since(entry).strftime(chain.TIME),
        "kind": entry.kind,
        "version": entry.version or None,
        "by": entry.by,
        "sentence": sentences.sentence(entry),
        "facts": dict(entry.facts),
        "entered": entry.at.strftime(chain.TIME),
        "writer": entry.writer,
        "key": entry.key,
        "previous": entry.previous,
        "hash": entry.hash,
    }


def table(found: Sequence[Entry]) -> Table:
    """Return entries as a table, the last one first, without the announcements of moves that were made."""
    made = {entry.facts.get("announced") for entry in found if entry.kind == "moved"}
    grid = Table(box=None, padding=(0, 2), header_style="bold")
    for heading in ("number", "when (UTC)", "what"):
        grid.add_column(heading, justify="right" if heading == "number" else "left")
    for one in reversed(found):
        if one.number not in made:
            grid.add_row(str(one.number), past.since(one).strftime(_SHOWN), escape(sentences.sentence(one)))
    return grid


def parse_time(text: str) -> datetime:
    """Return the time that the user typed: ISO 8601, in UTC unless it names another time zone.

    Raises:
        UsageError: it is no such time.
    """
    try:
        found = datetime.fromisoformat(text)
        return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise UsageError(
            f"{text!r} is not a time",
            where="command line: --at",
            expected="a date, or a date and a time, such as 2026-03-01 or 2026-03-01T12:30:00+01:00; UTC by default",
            hint="correct it",
        ) from None


def state_as_dict(found: Sequence[Entry], time: datetime) -> dict[str, Any]:
    """Return the state at a time for ``--json``."""
    state = past.at(found, time)
    return {
        "at": time.astimezone(UTC).strftime(chain.TIME),
        "production": as_dict(state.move) if state.move and state.move.version else None,
        "last_move": as_dict(state.move) if state.move else None,
        "approval": as_dict(state.approval) if state.approval else None,
        "served": [
            {"host": host, "version": one.version or None, "since": past.since(one).strftime(chain.TIME)}
            for host, one in sorted(state.served.items())
        ],
    }


def state_lines(found: Sequence[Entry], time: datetime) -> list[str]:
    """Return the state at a time for people."""
    state = past.at(found, time)
    shown = f"{time.astimezone(UTC):{_SHOWN}} UTC"
    if state.move is None:
        lines = [f"{shown}: no move of production is known until then"]
    else:
        version = f"version {state.move.version}" if state.move.version else "no version"
        moved = past.since(state.move).strftime(_SHOWN)
        lines = [f"{shown}: {version} was in production", f"since {moved} UTC: {sentences.sentence(state.move)}"]
    if state.approval:
        lines.append(f"{past.since(state.approval):{_SHOWN}} UTC: {sentences.sentence(state.approval)}")
    if not state.served:
        lines.append("which version the service served is not known")
    for host, one in sorted(state.served.items()):
        lines.append(f"the service on {host} served version {one.version} since {past.since(one):{_SHOWN}} UTC")
    return lines
