"""`heartline monitor`: today in one sentence, open alarms, key figures; the page as a file; acknowledging an alarm."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import click
from rich.markup import escape
from rich.table import Table

from heartline.errors import MonitoringRefusedError
from heartline.monitoring import alarm_entries
from heartline.reports.monitoring import gather as gathering
from heartline.reports.monitoring import key_figures, sentence
from heartline.reports.monitoring import page as pages
from heartline.reports.monitoring.history import Monitored
from stack import console
from stack.errors import UsageError
from stack.processes.definitions import SERVICE
from stack.processes.env_markers import started_with

if TYPE_CHECKING:  # it needs the supervisor, which the image of docker compose has not
    from stack.processes.lifecycle import Stack


def today() -> date:
    """Return the present day, UTC."""
    return datetime.now(UTC).date()


@dataclass(frozen=True)
class Databases:
    """Where reports and alarms are.

    Attributes:
        monitoring: URL of the database of the monitoring.
        ledger: URL of that of the ledger.
        environ: the settings of the service, which say whether it logs its predictions.
    """

    monitoring: str
    ledger: str
    environ: Mapping[str, str]

    @classmethod
    def of(cls, stack: "Stack") -> Self:
        """Return those of a stack on this machine."""
        return cls(stack.monitoring_url, stack.ledger_url, started_with(stack.settings.home, SERVICE))


def show(
    databases: Databases,
    version: str,
    *,
    page: Path | None,
    number: int | None,
    reason: str | None,
    by: str,
    as_json: bool,
) -> bool:
    """Do what the options of the command say, and return whether an alarm is open.

    Args:
        databases: where reports and alarms are.
        version: "" for the one in production.
        page: the file to which the page is written; None for none.
        number: of the alarm that is acknowledged; None for none.
        reason: for that.
        by: the user, for that.
        as_json: whether JSON is printed.

    Raises:
        UsageError: a wrong option.
        MonitoringError: the database of the monitoring does not answer.
        LedgerError: the ledger's database does not answer.
        OSError: the page cannot be written.
    """
    if reason is not None and number is None:
        raise click.UsageError("--reason is for --acknowledge N")
    day = today()
    if number is not None:
        acknowledge(databases, number, reason, by=by)
        console.say(f"alarm {number} is acknowledged")
    found = gather(databases, day, version)
    if page is not None and str(page) == "-":
        raise UsageError(
            "the page needs a file",
            where="--page",
            expected="the name of a file, such as monitoring.html",
            hint="name one",
        )
    if page is not None:
        page.write_bytes(pages.render(found, today=day))
        console.say(f"the page is in {page}")
    if as_json:
        print(json.dumps(as_dict(found, day), indent=2))
    else:
        for line in lines(found, day):
            console.out.print(line, markup=False)
        if (figures := table(found)) is not None:
            console.out.print()
            console.out.print(figures)
    return bool(found.alarms)


def gather(databases: Databases, day: date, version: str = "") -> Monitored:
    """Return the reports of a version and all open alarms.

    Args:
        databases: where they are.
        day: the present day, UTC.
        version: "" for the one in production.

    Raises:
        MonitoringError: the database of the monitoring does not answer.
        LedgerError: the ledger's database does not answer.
        UsageError: that version has no report.
    """
    found = gathering.gather(
        day, version=version, url=databases.monitoring, ledger=databases.ledger, environ=databases.environ
    )
    if version and found.latest is None:
        raise UsageError(
            f"version {version} has no report",
            where="command line: --version",
            expected="one of " + (", ".join(found.versions) or "the versions that were monitored; there is none yet"),
            hint="leave the option out for the version in production",
        )
    return found


def acknowledge(databases: Databases, number: int, reason: str | None, *, by: str) -> None:
    """Enter in the ledger that a user has seen an alarm.

    Args:
        databases: where the ledger is.
        number: of the alarm's entry.
        reason: what was found or done, at least ten characters.
        by: the user.

    Raises:
        UsageError: there is no such alarm, or no sufficient reason.
        LedgerError: the ledger's database does not answer.
    """
    try:
        alarm_entries.acknowledge(number, reason or "", by=by, url=databases.ledger)
    except MonitoringRefusedError as error:
        raise UsageError(error.what, where=error.where, expected=error.expected, hint=error.hint) from error


def lines(monitored: Monitored, day: date) -> list[str]:
    """Return today's sentences and the open alarms, for people."""
    said = sentence.of(monitored, day)
    found = [f"{said.headline}.", *said.more]
    for one in sorted(monitored.alarms, key=lambda one: sentence.by_urgency(one.alarm)):
        alarm = one.alarm
        found += [
            "",
            f"alarm {one.number}: {sentence.TITLES.get(alarm.kind, alarm.kind)}, {alarm.date}, version {alarm.version}",
            f"  {alarm.sentence}",
            f"  false alarms: {alarm.rate}",
            *(f"  {action}" for action in sentence.ACTIONS.get(alarm.kind, ())),
            f'  ./heartline monitor --acknowledge {one.number} --reason "…"',
        ]
    return found


def table(monitored: Monitored) -> Table | None:
    """Return the key figures of the last day as a table; None without a report."""
    if monitored.latest is None:
        return None
    grid = Table(box=None, padding=(0, 2), header_style="bold")
    for heading in (f"version {monitored.latest.version}, {monitored.latest.date}", "figure", "value", ""):
        grid.add_column(escape(heading))
    before = ""
    for one in key_figures.of(monitored.latest):
        grid.add_row("" if one.question == before else one.question, *map(escape, (one.name, one.value, one.beside)))
        before = one.question
    return grid


def as_dict(monitored: Monitored, day: date) -> dict[str, Any]:
    """Return it for ``--json``; ``report`` is the last day's whole report."""
    said, report = sentence.of(monitored, day), monitored.latest
    return {
        "sentence": said.headline,
        "more": list(said.more),
        "day": report.date.isoformat() if report else None,
        "version": report.version if report else None,
        "versions": list(monitored.versions),
        "logged": monitored.logged,
        "open_alarms": [
            {
                "number": one.number,
                "kind": one.alarm.kind,
                "day": one.alarm.date.isoformat(),
                "version": one.alarm.version,
                "sentence": one.alarm.sentence,
                "false_alarms": one.alarm.rate,
                "figures": dict(one.alarm.figures),
            }
            for one in monitored.alarms
        ],
        "false_alarms": report.rate if report else None,
        "figures": [
            {"question": one.question, "name": one.name, "value": one.value, "beside": one.beside}
            for one in (key_figures.of(report) if report else ())
        ],
        "report": json.loads(report.to_json()) if report else None,
    }


def summary(monitored: Monitored, day: date) -> str:
    """Return one line, for ``status``."""
    count = len(monitored.alarms)
    alarms = f"{sentence.counted(count, 'open alarm')}: " if count else ""
    return f"{alarms}{sentence.of(monitored, day).headline}" + (" (./heartline monitor)" if count else "")
