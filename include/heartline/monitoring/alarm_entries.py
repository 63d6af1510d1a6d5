"""Alarms of the monitoring in the ledger: entered once, open until a person acknowledges them with a reason.

It imports nothing heavy: Airflow's pages and the command line ask it, too.
"""

import datetime
from collections.abc import Sequence
from dataclasses import dataclass

from heartline.errors import MonitoringRefusedError
from heartline.ledger import store
from heartline.ledger.entry import Entry
from heartline.monitoring.report import ALARMS as KINDS
from heartline.monitoring.report import HARM as HARM
from heartline.monitoring.report import Alarm

ALARM, ACKNOWLEDGED = "alarm", "acknowledged"
MIN_REASON, MAX_REASON = 10, 2000


@dataclass(frozen=True)
class OpenAlarm:
    """An alarm that nobody has acknowledged.

    Attributes:
        number: of its entry in the ledger.
        alarm: what was found.
    """

    number: int
    alarm: Alarm


def key(alarm: Alarm) -> str:
    """Return the key of an alarm's entry: the same alarm has the same, however often a day is run."""
    return f"monitoring {alarm.key}"


def enter(alarm: Alarm, digest: str, *, by: str, url: str | None = None) -> Entry:
    """Enter an alarm, and return its entry; where it is there already, that one.

    Raises:
        LedgerError: the ledger does not answer.
    """
    facts = {
        "alarm": alarm.kind,
        "key": alarm.key,
        "day": alarm.date.isoformat(),
        "sentence": alarm.sentence,
        "rate": alarm.rate,
        "figures": dict(alarm.figures),
        "digest": digest,
    }
    return store.append(ALARM, by=by, version=alarm.version, facts=facts, key=key(alarm), url=url)


def open_alarms(entries: Sequence[Entry] | None = None, *, url: str | None = None) -> list[OpenAlarm]:
    """Return the alarms that nobody has acknowledged, oldest first.

    Args:
        entries: of the ledger, those of the kinds ``alarm`` and ``acknowledged`` at least; None to read them.
        url: of the ledger; by default that of the environment.

    Raises:
        LedgerError: the ledger does not answer.
    """
    if entries is None:
        entries = store.entries(kinds=(ALARM, ACKNOWLEDGED), url=url)
    done = {one.facts.get("alarm") for one in entries if one.kind == ACKNOWLEDGED}
    return [OpenAlarm(one.number, _alarm(one)) for one in entries if _is_ours(one) and one.number not in done]


def _is_ours(entry: Entry) -> bool:
    """Return whether an alarm is one of the monitoring: the ledger also holds those of missed deadlines."""
    return entry.kind == ALARM and entry.facts.get("alarm") in KINDS


def _alarm(entry: Entry) -> Alarm:
    facts = entry.facts
    return Alarm(
        kind=str(facts["alarm"]),
        key=str(facts.get("key", "")),
        date=datetime.date.fromisoformat(str(facts["day"])),
        version=entry.version,
        sentence=str(facts.get("sentence", "")),
        rate=str(facts.get("rate", "")),
        figures=dict(facts.get("figures") or {}),
    )


def is_acknowledged(number: int, *, url: str | None = None) -> bool:
    """Return whether the ledger has an acknowledgement of this alarm.

    Args:
        number: of the alarm's entry.
        url: of the ledger; by default that of the environment.

    Raises:
        LedgerError: the ledger does not answer.
    """
    return any(one.facts.get("alarm") == number for one in store.entries(kinds=(ACKNOWLEDGED,), url=url))


def acknowledge(number: int, reason: str, *, by: str, url: str | None = None) -> Entry:
    """Enter that a person has seen an alarm, and return the entry.

    Args:
        number: of the alarm's entry.
        reason: what the person found or did, 10 to 2000 characters.
        by: the user.
        url: of the ledger; by default that of the environment.

    Raises:
        MonitoringRefusedError: there is no such alarm, it was acknowledged before, or the reason is too short or too
            long.
        LedgerError: the ledger does not answer.
    """
    reason = reason.replace("\r\n", "\n").strip()  # browsers send a line break as two characters, and count it as one
    if not MIN_REASON <= len(reason) <= MAX_REASON:
        raise MonitoringRefusedError(
            f"the alarm is not acknowledged: the reason has {len(reason)} characters",
            where=f"alarm {number}",
            expected=f"a reason of {MIN_REASON} to {MAX_REASON} characters",
            hint="write what was found, or what was done about it",
        )
    found = store.entries(kinds=(ALARM, ACKNOWLEDGED), url=url)
    alarm = next((one for one in found if one.number == number and _is_ours(one)), None)
    if alarm is None:
        raise MonitoringRefusedError(
            f"entry {number} is no alarm of the monitoring",
            where="the ledger",
            expected="the number of an alarm that the page Monitoring shows",
            hint="./heartline history lists all entries with their numbers",
        )
    if before := next((one for one in found if one.kind == ACKNOWLEDGED and one.facts.get("alarm") == number), None):
        raise MonitoringRefusedError(
            f"alarm {number} was acknowledged before, by {before.by}: {before.facts.get('reason', '')}",
            where=f"entry {before.number} of the ledger",
            expected="an alarm that is open",
            hint="nothing is to be done; this reason is not entered",
        )
    return store.append(
        ACKNOWLEDGED,
        by=by,
        version=alarm.version,
        facts={"alarm": number, "reason": reason},
        key=f"acknowledged {number}",
        url=url,
    )
