"""Reads what the page on monitoring shows: the stored reports, and the open alarms of the ledger."""

import os
from collections.abc import Mapping
from datetime import date

from heartline.ledger import store as ledger_store
from heartline.ledger.entry import Entry
from heartline.monitoring import alarm_entries, store
from heartline.reports.monitoring import history
from heartline.reports.monitoring.history import Monitored

LOG_SETTING = "HEARTLINE_PREDICTION_LOG_URL"
OFF = "off"
KINDS = (alarm_entries.ALARM, alarm_entries.ACKNOWLEDGED, "moved")


def gather(
    today: date,
    *,
    version: str = "",
    url: str | None = None,
    ledger: str | None = None,
    environ: Mapping[str, str] = os.environ,
) -> Monitored:
    """Return the reports of a version and all open alarms.

    Args:
        today: the present day, UTC.
        version: the one that was asked for; "" for the one in production.
        url: of the database of the monitoring; None for that of ``HEARTLINE_MONITORING_URL``.
        ledger: of the database of the ledger; None for that of ``HEARTLINE_LEDGER_URL``.
        environ: the settings of the stack.

    Raises:
        MonitoringError: the database of the monitoring does not answer.
        LedgerError: the ledger's database does not answer.
    """
    entries = ledger_store.entries(kinds=KINDS, url=ledger)
    reports = store.reports(history.since(today), url=url)
    return history.build(
        reports,
        alarm_entries.open_alarms(entries),
        version=version,
        production=_production(entries),
        logged=environ.get(LOG_SETTING) != OFF,
        notes=store.Store(url).notes(reports[-1].date) if reports else (),
    )


def _production(entries: list[Entry]) -> str:
    moves = [one for one in entries if one.kind == "moved" and one.facts.get("alias", "production") == "production"]
    return str(moves[-1].facts.get("to") or "") if moves else ""
