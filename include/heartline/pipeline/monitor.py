"""The tasks of ``heart_monitoring``: ``outcomes``, ``days``, ``alarms``, ``net``. Each can be killed and run again."""

import datetime
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NotRequired, TypedDict

from heartline.errors import memory_limit
from heartline.ledger import past
from heartline.ledger import store as ledger
from heartline.monitoring import alarm_entries, outcome_import, settings
from heartline.monitoring.daily import Monitor, last_ended
from heartline.monitoring.prediction_log import PredictionLog
from heartline.monitoring.report import Alarm
from heartline.monitoring.store import Store
from heartline.parameters import monitoring as parameters
from heartline.reports.monitoring import history, sentence

TRAINED_RUN = "harm__{entry}"
"""Id of the training run that the net starts for an alarm."""

log = logging.getLogger(__name__)


class Monitored(TypedDict):
    """Returned by ``days``."""

    day: str
    """The last day, ISO 8601."""
    computed: list[str]
    """The days that this run has computed."""
    note: str
    """How many days were computed, in one sentence."""


class Alarmed(TypedDict):
    """Returned by ``alarms``."""

    raised: list[int]
    """Numbers of the entries of alarms that this run has told of, or whose event it emits."""
    emitted: list[int]
    """Those of them whose event it emits."""
    note: str
    """The run's note: what the page says first."""
    assets: NotRequired[dict[str, dict[str, Any]]]
    """By asset what its event says."""


class Read(TypedDict):
    """Returned by ``outcomes``."""

    rows: int
    """Rows of the source."""
    added: int
    """New outcomes, corrections among them."""
    refused: dict[str, int]
    """How many rows were refused for each reason."""
    file: str
    """URI of the refused rows; "" for none."""


@memory_limit("task outcomes")
def outcomes(
    source: str | None,
    query: str | None,
    *,
    given: Mapping[str, object] | None = None,
    now: datetime.datetime | None = None,
) -> Read:
    """Add the outcomes of a source to the prediction log.

    Args:
        source: the parameter ``outcomes``; None where outcomes come by ``POST /outcomes`` only.
        query: SQL for a database.
        given: all that the run was given, to be checked first: Airflow passes unknown keys on.
        now: the time, with a time zone; None for the present one.

    Raises:
        ParameterError: a parameter is wrong.
        SourceError: the source cannot be reached or read.
        DataError: it is no table of outcomes.
        MonitoringError: the database of the log does not answer.
        OutOfMemoryError: the outcomes of the source do not fit in memory.
    """
    if given is not None:
        parameters.check(given)
    if source is None:
        log.info("no source of outcomes is named; they come by POST /outcomes only")
        return {"rows": 0, "added": 0, "refused": {}, "file": ""}
    found = outcome_import.run(source, query=query, now=now or datetime.datetime.now(datetime.UTC))
    for reason, count in found.refused.items():
        log.warning("%d rows are refused: %s", count, reason)
    return {"rows": found.rows, "added": found.added, "refused": dict(found.refused), "file": found.file}


@memory_limit("task days")
def days(
    day: str | None,
    *,
    given: Mapping[str, object] | None = None,
    now: datetime.datetime | None = None,
    monitor: Monitor | None = None,
) -> Monitored:
    """Compute the days that are missing until a day, in their order.

    Args:
        day: ISO 8601; None for yesterday, UTC.
        given: all that the run was given, to be checked first.
        now: the time, with a time zone; None for the present one.
        monitor: what it is computed from; None for what the environment names.

    Raises:
        ParameterError: there is no such day, or it has not ended.
        MonitoringError: a database does not answer.
        RegistryError: MLflow cannot be reached.
        LedgerError: the ledger does not answer.
        StoreError: the store cannot be read.
        OutOfMemoryError: the records of a day do not fit in memory.
    """
    if given is not None:
        parameters.check(given)
    now = now or datetime.datetime.now(datetime.UTC)
    wanted = parameters.day(day) if day else None
    monitor = monitor or _monitor()
    computed = monitor.run(wanted, now)
    last = wanted or last_ended(now)
    note = f"{len(computed)} {'day' if len(computed) == 1 else 'days'} computed, the last one is {last}"
    log.info("%s", note)
    return {"day": last.isoformat(), "computed": [one.isoformat() for one in computed], "note": note}


def _monitor() -> Monitor:
    from heartline.monitoring import advance, state

    return Monitor(Store(), PredictionLog(), settings.of(), advance.advance, state.State.from_json)


def alarms(
    monitored: Mapping[str, Any],
    *,
    run: str,
    tell: Callable[[Alarm, int], Sequence[str]],
    started: Callable[[], int],
    store: Store | None = None,
) -> Alarmed:
    """Enter the alarms of all stored days in the ledger, tell the team, and emit the asset *harm*.

    Each alarm has one entry. Whoever is killed between two steps is followed by a run that does the rest: the team may
    be told twice then, and never not at all.

    Args:
        monitored: what ``days`` returned.
        run: id of the run.
        tell: tells the team of an alarm, whose entry in the ledger has this number; returns what could not be sent.
        started: returns how many training runs have started so far.
        store: of the monitoring; None for that of the environment.

    Raises:
        MonitoringError: the database does not answer.
        LedgerError: the ledger does not answer.
    """
    store = store or Store()
    handled = store.handled()
    raised: list[int] = []
    emitted: list[int] = []
    harm: dict[str, Any] = {}
    for digest, alarm in store.alarms():
        key = alarm_entries.key(alarm)
        before = handled.get(key)
        emits = alarm.kind == alarm_entries.HARM and not (before and before.emitted)
        if before and before.told and not emits:
            continue
        number = before.entry if before else alarm_entries.enter(alarm, digest, by=f"run {run}").number
        store.raised(key, number, started())
        if not (before and before.told):
            log.warning("alarm %d: %s", number, alarm.sentence)
            if not tell(alarm, number):  # else the next run tells of it
                store.done(key, "told")
        if emits:
            harm = {"version": alarm.version, "day": alarm.date.isoformat(), "entry": number, "run_id": run}
            store.done(key, "emitted")
            emitted.append(number)
        raised.append(number)
    note = _note(store, datetime.date.fromisoformat(str(monitored["day"])))
    result: Alarmed = {"raised": raised, "emitted": emitted, "note": note, "assets": {}}
    if harm:
        result["assets"] = {"harm": harm}
    return result


def _note(store: Store, day: datetime.date) -> str:
    """Return the run's note: what the page says first."""
    entries = ledger.entries(kinds=(alarm_entries.ALARM, alarm_entries.ACKNOWLEDGED, "moved"))
    move = past.at(entries, datetime.datetime.max.replace(tzinfo=datetime.UTC)).move
    known = history.build(
        store.reports(history.since(day)),
        alarm_entries.open_alarms(entries),
        production=str(move.facts.get("to") or "") if move else "",
        notes=store.notes(day),
    )
    return sentence.of(known, day).headline


def net(alarmed: Mapping[str, Any], *, started: Callable[[], int], store: Store | None = None) -> list[str]:
    """Return the ids of the training runs that are to be started: for open alarms of harm that have started none.

    Airflow can lose the event of an asset (apache/airflow#56050). An alarm whose event this run emits is left to that
    event; the next day's run looks whether any training run has started since.

    Args:
        alarmed: what ``alarms`` returned.
        started: returns how many training runs have started so far.
        store: of the monitoring; None for that of the environment.

    Raises:
        MonitoringError: the database does not answer.
        LedgerError: the ledger does not answer.
    """
    store = store or Store()
    harm = {one.number for one in alarm_entries.open_alarms() if one.alarm.kind == alarm_entries.HARM}
    waiting = [
        one
        for one in store.handled().values()
        if one.entry in harm and one.entry not in alarmed["emitted"] and started() <= one.runs
    ]
    for one in waiting:
        log.warning("alarm %d has started no training run; one is started now", one.entry)
    return [TRAINED_RUN.format(entry=one.entry) for one in waiting]
