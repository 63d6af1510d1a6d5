"""Tells a team of failed tasks, missed deadlines and requests for approval, through connections of Airflow.

The setting ``HEARTLINE_NOTIFY`` names them, such as ``smtp:team_mail, slack:team, webhook:pager``: the kind, and the id
of a connection of Airflow. Without it nobody is told. A message that cannot be sent is logged; nothing else changes.

Each parse of a DAG file imports this module. The providers are imported when there is something to tell.
"""

import html
import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from heartline import addresses, dag_ids, visible
from heartline.errors import DataError, HeartlineError, ParameterError, SourceError

if TYPE_CHECKING:
    from heartline.monitoring.report import Alarm

SETTING = "HEARTLINE_NOTIFY"
SECONDS = 10  # that a server may take
REFUSED = "the records, their source or a parameter were refused"
log = logging.getLogger("heartline.notify")


@dataclass(frozen=True)
class Message:
    """What a team is told; it holds no values of patients.

    Attributes:
        event: ``failure``, ``deadline``, ``approval``, or ``monitoring_`` and the kind of an alarm, for programs.
        subject: one line.
        where: DAG, run and task.
        link: web address of the run.
        hint: where to read on.
    """

    event: str
    subject: str
    where: str
    link: str
    hint: str

    def text(self) -> str:
        """Return the message as plain text."""
        return f"{self.subject}\n{self.where}\n{self.hint}\n{self.link}"


def callbacks() -> list[Callable[[Any], None]]:
    """Return the callbacks of a failed task: none where nobody is to be told."""
    return [failed] if os.environ.get(SETTING) else []


def failed(context: Mapping[str, Any]) -> None:
    """Tell of a task that failed and is not tried again; an operator's ``on_failure_callback``.

    Args:
        context: Airflow's context.
    """
    ti = context["ti"]
    mapped = ti.map_index is not None and ti.map_index >= 0
    task = f"{ti.task_id} [{ti.map_index}]" if mapped else ti.task_id
    send(
        Message(
            event="failure",
            subject=f"Heartline: {task} of {ti.dag_id} failed: {reason(context.get('exception'))}",
            where=f"DAG {ti.dag_id}, run {ti.run_id}, task {task}, attempt {ti.try_number}",
            link=addresses.airflow_run_of(ti.dag_id, ti.run_id),
            hint="The end of the task's log says what was expected and what to do; dags/README.md has a runbook.",
        )
    )


def alarm(raised: "Alarm", entry: int) -> list[str]:
    """Tell of an alarm of the monitoring.

    Args:
        raised: the alarm; it holds no values of patients.
        entry: number of its entry in the ledger.

    Returns:
        why it could not be sent, one line for each connection that failed.
    """
    return send(
        Message(
            event=f"monitoring_{raised.kind}",
            subject=f"Heartline: {raised.kind}: {visible.visible(raised.sentence, visible.LONG)}",
            where=f"version {raised.version}, day {raised.date}, entry {entry} of the ledger; {raised.rate}",
            link=addresses.dag(dag_ids.MONITORING),
            hint="It is shown until a person acknowledges it with a reason; dags/README.md says what each alarm means.",
        )
    )


def reason(error: object) -> str:
    """Return why a task failed, in one line without values of records.

    An error about records, their source or a parameter may quote what it found, so it is not repeated.
    """
    if isinstance(error, DataError | SourceError | ParameterError):
        return REFUSED
    if isinstance(error, HeartlineError):
        return visible.visible(error.what)
    return type(error).__name__ if error is not None else "its process ended"


def send(message: Message) -> list[str]:
    """Send a message to everybody that the setting names.

    Args:
        message: what to send.

    Returns:
        why it could not be sent, one line for each connection that failed.
    """
    problems = []
    for target in filter(None, (part.strip() for part in os.environ.get(SETTING, "").split(","))):
        try:
            kind, _, connection = target.partition(":")
            _SENDERS[kind](connection, message)
            log.info("told %s of: %s", target, message.subject)
        except Exception as error:  # whatever it is, the task or the deadline must not suffer from it
            problems.append(f"{target}: {type(error).__name__}: {error}")
            log.error("%s was not told of %r: %s: %s", target, message.subject, type(error).__name__, error)
    return problems


# Each notifier's `notify` is called, and not the notifier: that would render what a message quotes as a Jinja template.


def _mail(connection: str, message: Message) -> None:
    from airflow.providers.smtp.notifications.smtp import SmtpNotifier
    from airflow.sdk import BaseHook

    to = str(BaseHook.get_connection(connection).extra_dejson.get("to") or "")
    if not to:
        raise ValueError(
            f'the connection {connection} has no recipients: its extra needs "to", such as "a@b.org, c@d.org"'
        )
    lines = html.escape(message.text()).replace("\n", "<br>")
    SmtpNotifier(
        to=[one.strip() for one in to.split(",")],
        subject=message.subject,
        html_content=f"<p>{lines}</p>",
        smtp_conn_id=connection,
    ).notify({})


def _slack(connection: str, message: Message) -> None:
    from airflow.providers.slack.notifications.slack_webhook import SlackWebhookNotifier

    escaped = message.text().replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    SlackWebhookNotifier(slack_webhook_conn_id=connection, text=escaped, timeout=SECONDS).notify({})  # type: ignore[no-untyped-call]


def _webhook(connection: str, message: Message) -> None:
    from airflow.providers.http.notifications.http import HttpNotifier

    HttpNotifier(
        http_conn_id=connection,
        json={**asdict(message), "text": message.text()},
        extra_options={"timeout": SECONDS},
    ).notify({})


_SENDERS: Mapping[str, Callable[[str, Message], None]] = {"smtp": _mail, "slack": _slack, "webhook": _webhook}
