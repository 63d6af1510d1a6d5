"""The tasks ``ask`` and ``decide`` of ``heart_approval``: check an answer, enter it, and move ``production``."""

import logging
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, TypedDict

from heartline import addresses, dag_ids
from heartline.approval import answers, requests
from heartline.approval.answers import Answer, ApprovalError
from heartline.approval.requests import Asked
from heartline.approval.settings import Settings
from heartline.ledger import store
from heartline.ledger.entry import Entry
from heartline.pipeline.request_approval import Request
from heartline.registry import mlflow_registry, versions
from heartline.registry.production import alias_history, approvals

MOVED = "moved"
SHORTEST_WAIT = timedelta(seconds=1)

log = logging.getLogger(__name__)


class Decided(TypedDict):
    """Returned by ``decide``."""

    note: str
    """The run's note: one line."""
    version: str
    """The version that was asked about."""
    outcome: str
    """``approved``, ``rejected``, ``expired`` or ``withdrawn``."""
    by: str
    """Who answered; "" where nobody did."""
    reason: str
    """Why."""
    production: bool
    """Whether ``production`` is at the version now because of this approval."""
    assets: dict[str, dict[str, Any]]
    """The assets that this task changed, by name, with what is stored beside the event."""


def remaining(request: Request, now: datetime) -> timedelta:
    """Return how long a request still waits for an answer; a refused answer does not prolong it."""
    return max(datetime.fromisoformat(request["until"]) - now, SHORTEST_WAIT)


def may_answer(request: Request) -> list[str]:
    """Return the users who may answer a request; empty for everybody who may answer in Airflow.

    Where two people are needed and the approvers are named, Airflow itself refuses the ones who may not approve.
    """
    settings = Settings.of()
    excluded = request["not_by"] if settings.four_eyes else []
    allowed = [user for user in settings.approvers if user not in excluded]
    if settings.approvers and not allowed:
        raise ApprovalError(
            f"nobody may approve version {request['version']}",
            where=f"setting HEARTLINE_APPROVERS: {', '.join(settings.approvers)}; HEARTLINE_FOUR_EYES: yes",
            expected=f"an approver beside {' and '.join(excluded)}, who triggered the training or asked for this",
            hint="add a user to HEARTLINE_APPROVERS and start the stack again; then clear the task ask",
        )
    return allowed


def check_answer(request: Request, event: Mapping[str, Any]) -> Answer:
    """Check an answer, and sign it if it is an approval; ``answers.check`` has the rules.

    Raises:
        AnswerRefusedError: it does not count. Airflow tries the task ``ask`` again, which asks again.
    """
    return answers.check(event, digest=request["digest"], not_by=request["not_by"], settings=Settings.of())


def decide(request: Request, answer: Answer, *, run: str) -> Decided:
    """Enter the answer in the ledger; after an approval, store it with the version and move ``production``.

    The entry comes first, and each later step looks whether it was made: a task that was killed and runs again leaves
    one entry and one move. What is decided is the request in the ledger, which nobody can change.

    Args:
        request: what ``request`` returned.
        answer: what ``ask`` returned.
        run: id of this run of ``heart_approval``.

    Raises:
        ApprovalError: the version was deleted or changed, production has moved since, or the move is refused.
        RegistryError: MLflow cannot be reached.
        LedgerError: the ledger does not answer.
    """
    known = requests.of_run(requests.known(), run)
    if known is None or (known.asked.version, known.asked.digest) != (request["version"], request["digest"]):
        raise ApprovalError(
            f"the ledger has no request of this run for version {request['version']}",
            where=f"run {run} of {dag_ids.APPROVAL}",
            expected="the request that the task request has entered",
            hint=f"clear the task request; or trigger {dag_ids.APPROVAL} again",
        )
    end = known.end or _end(known.asked, answer, run)
    if end.kind == requests.APPROVED:
        _carry_out(known.asked, end)
    return _decided(known.asked, end)


def _end(asked: Asked, answer: Answer, run: str) -> Entry:
    """Enter the answer, and return the entry that ended the request: a withdrawal may have come first."""
    if answer["kind"] == requests.EXPIRED:
        return requests.end(asked, requests.EXPIRED, by=f"run {run}", facts={})
    facts = {"reason": answer["reason"], "answered": answer["at"]}
    if answer["kind"] == requests.REJECTED:
        return requests.end(asked, requests.REJECTED, by=answer["by"], facts=facts)
    if problem := approvals.problem(answer["approval"], asked.digest, Settings.of().secret):
        raise ApprovalError(
            f"the answer is no approval of version {asked.version}: {problem}",
            where=f"what the task ask of run {run} handed over",
            expected="an approval that this stack has signed",
            hint="clear the task ask, which asks again",
        )
    if why := _outdated(asked):
        end = requests.end(asked, requests.WITHDRAWN, by=f"run {run}", facts={"reason": why, "answer": answer["by"]})
        if end.kind == requests.WITHDRAWN and end.facts.get("reason") == why:
            raise _cannot(asked, why)
        return end
    facts |= {"digest": asked.digest, "approval": answer["approval"]}
    return requests.end(asked, requests.APPROVED, by=answer["by"], facts=facts)


def _outdated(asked: Asked) -> str:
    """Return why an approval is not about today's versions any more; "" where it is."""
    stored = versions.find(asked.version)
    if stored is None:
        return f"version {asked.version} was deleted"
    if stored.digest != asked.digest:
        return f"the files of version {asked.version} have changed"
    production = mlflow_registry.aliased(mlflow_registry.PRODUCTION)
    now = production.number if production else ""
    if now in (asked.production, asked.version):
        return ""
    return f"production has moved since: it was at {_named(asked.production)} and is at {_named(now)}"


def _named(version: str) -> str:
    return f"version {version}" if version else "no version"


def _cannot(asked: Asked, why: str) -> ApprovalError:
    return ApprovalError(
        f"production was not moved to version {asked.version}: {why}",
        where=addresses.model(),
        expected=f"version {asked.version} as it was, and {_named(asked.production)} in production",
        hint=f"if version {asked.version} is still wanted, trigger {dag_ids.APPROVAL} with that version: the new "
        "request states what would change now",
    )


def _carry_out(asked: Asked, end: Entry) -> None:
    """Store the approval with the version, and move ``production``, unless that was done before."""
    moves = store.entries(kinds=(MOVED,))
    if any(one.number > end.number and one.version == asked.version for one in moves):
        return
    versions.approve(asked.version, str(end.facts["approval"]))
    refused = mlflow_registry.move_production(
        asked.version, by=end.by, how=alias_history.APPROVAL, expected=asked.production
    )
    if refused:
        raise ApprovalError(
            f"version {asked.version} is approved, but production was not moved: {refused}",
            where=addresses.model(),
            expected=f"{_named(asked.production)} in production, and the complete files of version {asked.version}",
            hint=f"correct what this names, then ./heartline promote {asked.version}; or trigger {dag_ids.APPROVAL} "
            "with the version, which asks again",
        )


def _decided(asked: Asked, end: Entry) -> Decided:
    production = mlflow_registry.aliased(mlflow_registry.PRODUCTION)
    placed = end.kind == requests.APPROVED and production is not None and production.number == asked.version
    note = requests.in_words(end)
    log.info("%s%s", note, "; production is at it now" if placed else "")
    moved = {"version": asked.version, "before": asked.production, "by": end.by}
    return {
        "note": note,
        "version": asked.version,
        "outcome": end.kind,
        "by": end.by if end.kind in (requests.APPROVED, requests.REJECTED) else "",
        "reason": str(end.facts.get("reason", "")),
        "production": placed,
        "assets": {"production": moved} if placed else {},
    }
