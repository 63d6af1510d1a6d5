"""The operator with which ``heart_approval`` asks a person, and its retries: a refused answer is asked for again.

Airflow accepts any answer, also one without a reason. The operator checks it where it arrives, from Airflow's database;
an answer that does not count fails the attempt, and the next attempt opens the same request again.
"""

import logging
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.providers.standard.operators.hitl import HITLOperator
from airflow.sdk import Param, RetryAction
from airflow.sdk.definitions.retry_policy import RetryDecision
from airflow.sdk.exceptions import AirflowSkipException

from heartline.approval.answers import APPROVE, MIN_REASON, REASON, REJECT, AnswerRefusedError
from orchestration.defaults import RETRY_POLICY, WaitingRetryPolicy

log = logging.getLogger("heartline.retries")

AGAIN = timedelta(seconds=1)
ATTEMPTS = 1000
"""Refused answers of a request before its run fails."""


class AskingRetryPolicy(WaitingRetryPolicy):
    """Asks again at once after an answer that does not count; else as the other tasks."""

    def evaluate(self, exception: BaseException, try_number: int, max_tries: int, context: Any = None) -> RetryDecision:
        """Return whether, and after how long, the task is tried again; the arguments are Airflow's."""
        if isinstance(exception, AnswerRefusedError):
            log.warning("The request is open again under Required Actions")
            return RetryDecision.retry(AGAIN, "the answer does not count")
        decision = super().evaluate(exception, try_number, max_tries, context)
        return decision if decision.action == RetryAction.FAIL else RetryDecision.retry(decision.retry_delay)


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
        return super().execute(context)

    def execute_complete(self, context: Any, event: dict[str, Any]) -> Any:
        """Check the answer, and hand it over."""
        from heartline.pipeline import decide

        if "error" in event:
            self.process_trigger_event_error(event)
        return decide.check_answer(self.request, event)
