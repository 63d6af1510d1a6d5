"""What all DAGs share: owner, retries, retry policy, hooks and tags.

It imports nothing heavy, as each parse of a DAG file imports it.
"""

import logging
from datetime import timedelta
from typing import Any

from airflow.sdk import ExceptionRetryPolicy, RetryAction, RetryRule
from airflow.sdk.definitions.retry_policy import RetryDecision
from airflow.sdk.exceptions import AirflowTaskTimeout

from heartline.errors import PermanentError
from orchestration import hooks, notify

log = logging.getLogger("heartline.retries")

# Airflow's UI filters DAGs by these tags. Every DAG has the first.
TAG_HEARTLINE = "heartline"
TAG_TRAINING = "training"
TAG_SCORING = "scoring"
TAG_APPROVAL = "approval"
TAG_MONITORING = "monitoring"

# 15 s, 30 s, 1, 2, 4 and then every 5 minutes: a server may be away for an hour.
FIRST_DELAY, LONGEST_DELAY = timedelta(seconds=15), timedelta(minutes=5)
RETRIES = 16

PERMANENT = "a retry cannot change this; correct what the message names, then clear the task or trigger a new run"
DEFECT = "this is a defect of the program, which a retry does not change; the stack trace above says where"
# What a server, a network or a disk that is away raises derives from none of these.
DEFECTS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    ImportError,
    LookupError,
    NameError,
    NotImplementedError,
    RecursionError,
    SyntaxError,
    TypeError,
    ValueError,
)


class WaitingRetryPolicy(ExceptionRetryPolicy):
    """Fails at once where waiting cannot help, else tries again for an hour; the task's log ends with which it is."""

    def evaluate(self, exception: BaseException, try_number: int, max_tries: int, context: Any = None) -> RetryDecision:
        """Return whether, and after how long, the task is tried again.

        Args:
            exception: why it failed.
            try_number: of the failed attempt, from 1.
            max_tries: number of its last retry; clearing a task raises it.
            context: Airflow's context; not used.
        """
        decision = super().evaluate(exception, try_number, max_tries, context)
        if decision.action == RetryAction.FAIL:
            log.error("Not tried again: %s", decision.reason)
            return decision
        attempt = RETRIES + 1 - (max_tries + 1 - try_number)
        if try_number > max_tries:
            log.error("Not tried again: attempt %d of %d failed, in about an hour", attempt, RETRIES + 1)
            return RetryDecision.fail("all attempts failed")
        wait = delay(attempt)
        log.warning(
            "Attempt %d of %d failed; tried again in %d s, as this may pass by waiting",
            attempt,
            RETRIES + 1,
            wait.total_seconds(),
        )
        return RetryDecision.retry(wait, f"attempt {attempt} of {RETRIES + 1} failed")


def delay(attempt: int) -> timedelta:
    """Return how long to wait after an attempt, counted from 1."""
    return min(FIRST_DELAY * (1 << max(0, min(attempt - 1, 10))), LONGEST_DELAY)


RETRY_POLICY = WaitingRetryPolicy(
    rules=[
        RetryRule(exception=PermanentError, action=RetryAction.FAIL, reason=PERMANENT),  # and its subclasses
        *(RetryRule(exception=kind, action=RetryAction.FAIL, reason=DEFECT) for kind in DEFECTS),
        RetryRule(
            exception=MemoryError,
            action=RetryAction.FAIL,
            reason="the records need more memory than the task has; a retry would need as much",
        ),
        RetryRule(
            exception=AirflowTaskTimeout,
            action=RetryAction.FAIL,
            reason="the task took longer than its time-out; a retry would take as long",
        ),
    ]
)

DEFAULT_ARGS: dict[str, Any] = {
    "owner": "heartline",
    "retries": RETRIES,
    # of a task whose process was killed, which no policy is asked about
    "retry_delay": FIRST_DELAY,
    "retry_exponential_backoff": 2,
    "max_retry_delay": LONGEST_DELAY,
    "retry_policy": RETRY_POLICY,
    "pre_execute": hooks.skip_when_ended,
    "post_execute": hooks.emit_assets,
    "on_failure_callback": notify.callbacks(),
}
