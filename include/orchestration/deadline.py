"""The deadline of the nightly run: by ``HEARTLINE_DEADLINE`` there is a fresh model, or the team is told.

Airflow finds the class of the deadline by its path, so the scheduler imports this module, through
``plugins/heartline_deadline.py``.
"""

import logging
import os
from collections.abc import Mapping
from datetime import datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from airflow.sdk.definitions.callback import SyncCallback
from airflow.sdk.definitions.deadline import BaseDeadlineReference, DeadlineAlert

from heartline import addresses
from orchestration import notify

SETTING, TIMEZONE = "HEARTLINE_DEADLINE", "HEARTLINE_TIMEZONE"
DEFAULT, OFF = "06:00", "off"
log = logging.getLogger("heartline.deadline")


class AfterSchedule(BaseDeadlineReference):
    """The first time of day ``HEARTLINE_DEADLINE`` after a scheduled run was due; other runs have no deadline."""

    required_kwargs = frozenset({"dag_id", "run_id"})

    def _evaluate_with(self, *, session: Any, dag_id: str, run_id: str) -> datetime | None:
        from airflow.models import DagRun
        from airflow.utils.types import DagRunType
        from sqlalchemy import select

        found = session.execute(
            select(DagRun.run_type, DagRun.run_after).where(DagRun.dag_id == dag_id, DagRun.run_id == run_id)
        ).one_or_none()
        if found is None or found[0] != DagRunType.SCHEDULED:
            return None
        return next_deadline(found[1])


def next_deadline(due: datetime) -> datetime | None:
    """Return the deadline of a run that was due at a time; None where the setting is ``off`` or empty.

    Args:
        due: with a time zone.
    """
    text = _setting()
    if not text:
        return None
    zone = ZoneInfo(os.environ.get(TIMEZONE) or "UTC")
    local = due.astimezone(zone)
    at = datetime.combine(local.date(), time.fromisoformat(text), zone)
    return at if at > local else datetime.combine(local.date() + timedelta(days=1), time.fromisoformat(text), zone)


def _setting() -> str:
    text = os.environ.get(SETTING, DEFAULT).strip()
    return "" if text == OFF else text


def alert() -> DeadlineAlert | None:
    """Return the deadline of a DAG; None where the setting is ``off`` or empty."""
    if not _setting():
        return None
    return DeadlineAlert(
        reference=AfterSchedule(), interval=timedelta(0), callback=SyncCallback(missed), name="a fresh model in time"
    )


def missed(context: Mapping[str, Any]) -> None:
    """Tell once that a run has not succeeded by its deadline.

    Airflow calls this after a failure, too, and may call it twice for one run. The ledger holds which deadlines were
    told of, and which could not be: the next call tries those again.

    Args:
        context: the run as Airflow's REST API shows it, and the deadline.
    """
    run, deadline = context["dag_run"], context["deadline"]
    run_id, state = str(run["dag_run_id"]), str(run["state"])
    if state == "success":
        log.info("run %s has succeeded", run_id)
        return
    what = f"no fresh model by {_setting()}: the run is {state}"
    if not _claim(run_id, str(deadline["id"]), what):
        log.info("the missed deadline of run %s was told of before", run_id)
        return
    problems = notify.send(
        notify.Message(
            event="deadline",
            subject=f"Heartline: {what}",
            where=f"DAG {run['dag_id']}, run {run_id}, deadline {deadline['deadline_time']}",
            link=addresses.airflow_run_of(str(run["dag_id"]), run_id),
            hint="The service goes on with the version in production; dags/README.md says what to do.",
        )
    )
    if problems:
        _untold(run_id, len(problems))


def _claim(run_id: str, deadline: str, what: str) -> bool:
    """Enter the alarm in the ledger; return whether this call is to tell of it, and no other."""
    from heartline.ledger import store

    facts = {"alarm": "deadline", "reason": what, "run_id": run_id, "deadline": deadline, "call": os.urandom(8).hex()}
    try:
        key = f"deadline {run_id}"
        if before := _failures(run_id):
            key = f"{key}, attempt {before + 1}"
        entry = store.append("alarm", by=f"run {run_id}", facts=facts, key=key)
    except store.LedgerError as error:
        log.warning("the ledger is away, so that the deadline of run %s may be told of twice: %s", run_id, error)
        return True
    return bool(entry.facts["call"] == facts["call"])


def _failures(run_id: str) -> int:
    """Return how often the missed deadline of a run could not be told."""
    from heartline.ledger import store

    return sum(one.facts.get("untold") == run_id for one in store.entries(kinds=("alarm",)))


def _untold(run_id: str, connections: int) -> None:
    from heartline.ledger import store

    reason = f"the missed deadline could not be told through {connections} of the connections in {notify.SETTING}"
    try:
        key = f"deadline {run_id}, untold {_failures(run_id) + 1}"
        store.append("alarm", by=f"run {run_id}", facts={"reason": reason, "untold": run_id}, key=key)
    except store.LedgerError as error:
        log.warning("it is not entered that the deadline of run %s could not be told: %s", run_id, error)
