"""What all DAGs share: owner, retries, retry policy and tags.

It is a module of ``include/`` and not of ``dags/``: ``include/`` is on the Python path of every Airflow process, and
Airflow does not scan it for DAGs. It imports nothing heavy, as each parse of a DAG file imports it.
"""

from datetime import timedelta
from typing import Any

from airflow.sdk import ExceptionRetryPolicy, RetryAction, RetryRule

from heartline.errors import PermanentError

# Airflow's UI filters DAGs by these tags. Every DAG has the first.
TAG_HEARTLINE = "heartline"
TAG_TRAINING = "training"

RETRY_POLICY = ExceptionRetryPolicy(
    rules=[
        RetryRule(  # applies to its subclasses, too
            exception=PermanentError,
            action=RetryAction.FAIL,
            reason="a retry cannot change this error: its message says what to correct",
        ),
        RetryRule(
            exception=MemoryError,
            action=RetryAction.FAIL,
            reason="the records need more memory than the task has; a retry would need as much",
        ),
    ]
)

DEFAULT_ARGS: dict[str, Any] = {
    "owner": "heartline",
    "retries": 3,
    "retry_delay": timedelta(seconds=15),
    "retry_policy": RETRY_POLICY,
}
