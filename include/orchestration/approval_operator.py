"""The operator with which ``heart_approval`` asks a person, and its retries: a refused answer is asked for again.

Airflow accepts any answer, also one without a reason. The operator checks it where it arrives, from Airflow's database;
an answer that does not count fails the attempt, and the next attempt opens the same request again.
"""

import logging
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.providers.standard.operators.hitl import HITLOperator
from airflow.sdk import ExceptionRetryPolicy, Param, RetryAction
from airflow.sdk.definitions.retry_policy import RetryDecision
from airflow.sdk.exceptions import AirflowSkipException

from heartline import addresses
from heartline.approval.answers import APPROVE, MIN_REASON, REASON, REJECT, AnswerRefusedError
from orchestration import notify
from orchestration.defaults import RETRY_POLICY, WaitingRetryPolicy, delay

log = logging.getLogger("heartline.retries")

AGAIN = timedelta(seconds=1)
ATTEMPTS = 1000
"""Refused answers of a request before its run fails."""


class AskingRetryPolicy(WaitingRetryPolicy):
    """Asks again at once after an answer that does not count; else waits as the other tasks, and does not give up.

    Refused answers use up attempts, so their number says nothing about how long a server has been away.
    """

    def evaluate(self, exception: BaseException, try_number: int, max_tries: int, context: Any = None) -> RetryDecision:
        """Return whether, and after how long, the task is tried again; the arguments are Airflow's."""
        if isinstance(exception, AnswerRefusedError):
            log.warning("The request is open again under Required Actions")
            return RetryDecision.retry(AGAIN, "the answer does not count")
        decision = ExceptionRetryPolicy.evaluate(self, exception, try_number, max_tries, context)
        if decision.action == RetryAction.FAIL:
            log.error("Not tried again: %s", decision.reason)
            return decision
        wait = delay(try_number)
        log.warning("Failed; tried again in %d s, as this may pass by waiting", wait.total_seconds())
        return RetryDecision.retry(wait)


def _message(context: Any, request: Any) -> notify.Message:
    """Return what a team is told of a request."""
    ti = context["ti"]
    return notify.Message(
        event="approval",
        subject=f"Heartline: please answer: {request['subject']}",
        where=f"DAG {ti.dag_id}, run {ti.run_id}; until {request['until']}",
        link=addresses.approval(ti.run_id),
        hint="Airflow, Browse, Required Actions: approve or reject with a reason.",
    )


class AskForApproval(HITLOperator):
    """Asks a person to approve or reject a version.

    Args:
        request: what the task ``request`` returned.
        arguments: of the base class.
    """

    template_fields = (*HITLOperator.template_fields, "request")

    def __init__(self, *, request: Any, **arguments: Any) -> None:
        reason = Param(
            "",
            type="string",
            title="Reason",
            description=f"Why, in at least {MIN_REASON} characters. It is kept in the ledger.",
        )
        # Airflow adds the DAG's parameters and default arguments to those that are given
        own = {
            "subject": "",
            "body": "",
            "options": [APPROVE, REJECT],
            "defaults": REJECT,
            "params": {REASON: reason},
            "retries": ATTEMPTS,
            "retry_policy": AskingRetryPolicy(rules=RETRY_POLICY.rules),
        }
        super().__init__(**arguments | own)
        self.request = request

    def execute(self, context: Any) -> Any:
        """Ask, unless there is nothing to ask; the task then waits in the state ``awaiting_input``."""
        from heartline.pipeline import decide

        if self.request["ends"]:
            raise AirflowSkipException(self.request["ends"])
        self.subject, self.body = self.request["subject"], self.request["body"]
        self.response_timeout = decide.remaining(self.request, datetime.now(UTC))
        self.assigned_users = [{"id": user, "name": user} for user in decide.may_answer(self.request)]
        if context["ti"].try_number == 1:  # a refused answer opens the same request again
            notify.send(_message(context, self.request))
        return super().execute(context)

    def execute_complete(self, context: Any, event: dict[str, Any]) -> Any:
        """Check the answer, and hand it over."""
        from heartline.pipeline import decide

        if "error" in event:
            self.process_trigger_event_error(event)
        return decide.check_answer(self.request, event)
