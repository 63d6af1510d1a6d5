"""Writes what a run decided into the run's note: the verdict, "nothing new", or which task failed.

A task cannot write the note of its own run, as Airflow's task API has no such request. This listener is called by the
scheduler when a run has ended, and writes the note in the same transaction as the run's state.
"""

import logging
import sys
from typing import Any, ClassVar

from airflow.listeners import hookimpl
from airflow.plugins_manager import AirflowPlugin

from heartline import dag_ids

LABEL = "Result: "
MAX_NOTE = 1000  # characters that Airflow keeps

log = logging.getLogger("heartline.run_notes")


@hookimpl
def on_dag_run_success(dag_run: Any, msg: str) -> None:
    """Write the note of the last task that ran."""
    _write(dag_run, failed=False)


@hookimpl
def on_dag_run_failed(dag_run: Any, msg: str) -> None:
    """Write which task failed."""
    _write(dag_run, failed=True)


def _write(dag_run: Any, *, failed: bool) -> None:
    if dag_run.dag_id not in {value for name, value in vars(dag_ids).items() if name.isupper()}:
        return
    from airflow.utils.session import create_session
    from sqlalchemy.orm import object_session

    try:
        # A session of its own: a query that fails in the scheduler's would undo the state of the run, and the scheduler
        # allows no savepoint there.
        with create_session(scoped=False) as own:
            run = own.get(type(dag_run), dag_run.id)
            text = _failed(run, own) if failed else _last_note(run, own)
            if failed and dag_run.dag_id == dag_ids.MONITORING:  # its tasks do not wait for each other
                text = "; ".join(filter(None, [text, _last_note(run, own)]))
            if not text:
                return
            if object_session(dag_run) is None:  # as `dag.test()` hands it over
                dag_run = run
            dag_run.note = with_result(dag_run.note or "", text)
    except Exception:  # the run itself has ended, whatever this is
        log.exception("the note of run %s was not written", dag_run.run_id)


def with_result(note: str, text: str) -> str:
    """Return a note with the result of the run as its last line; a user's own lines stay, an earlier result does not.

    Args:
        note: as it is.
        text: the result, one line.
    """
    kept = [line for line in note.splitlines() if not line.startswith(LABEL)]
    line = f"{LABEL}{text}"[:MAX_NOTE]
    own = "\n".join(kept).rstrip()[: max(0, MAX_NOTE - len(line) - 1)]
    return f"{own}\n{line}" if own else line


def _last_note(dag_run: Any, session: Any) -> str:
    """Return the note of the last task that succeeded; a skipped one may hold the result of an earlier attempt."""
    from airflow.models.xcom import XCOM_RETURN_KEY, XComModel
    from airflow.utils.state import TaskInstanceState

    from heartline.pipeline import handovers

    ended = {
        one.task_id: one.end_date
        for one in dag_run.get_task_instances(state=[TaskInstanceState.SUCCESS], session=session)
        if one.map_index < 0
    }
    returned = XComModel.get_many(
        run_id=dag_run.run_id, dag_ids=dag_run.dag_id, key=XCOM_RETURN_KEY, task_ids=list(ended)
    )
    notes = {one.task_id: handovers.note(XComModel.deserialize_value(one)) for one in session.scalars(returned)}
    for task_id in sorted(ended, key=lambda name: ended[name], reverse=True):
        if notes.get(task_id):
            return notes[task_id]
    return ""


def _failed(dag_run: Any, session: Any) -> str:
    from airflow.utils.state import TaskInstanceState

    failed = dag_run.get_task_instances(state=[TaskInstanceState.FAILED], session=session)
    names = sorted({one.task_id for one in failed})
    logs = "its log says" if len(names) == 1 else "their logs say"
    return f"stopped: {' and '.join(names)} failed; the end of {logs} why" if names else ""


class HeartlineRunNotes(AirflowPlugin):
    """Adds the listener to the scheduler."""

    name = "heartline_run_notes"
    listeners: ClassVar[list[Any]] = [sys.modules[__name__]]
