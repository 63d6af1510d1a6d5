"""What a person's answer to a request needs, and the signature of an approval."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TypedDict

from heartline.approval.requests import APPROVED, EXPIRED, REJECTED
from heartline.approval.settings import Settings
from heartline.errors import HeartlineError, PermanentError
from heartline.registry.production import approvals

APPROVE, REJECT = "Approve", "Reject"
REASON = "reason"
MIN_REASON = 10
"""Characters of a reason, without spaces around it."""
MAX_REASON = 2000


class AnswerRefusedError(HeartlineError):
    """An answer does not count; the request is asked again."""


class ApprovalError(PermanentError):
    """A version cannot be approved, or not be put into production after its approval."""


class Answer(TypedDict):
    """An answer that counts, as the task ``ask`` hands it over."""

    kind: str
    """``approved``, ``rejected`` or ``expired``."""
    by: str
    """The user; "" where the request expired."""
    at: str
    """When, ISO 8601 in UTC."""
    reason: str
    """As the user wrote it."""
    approval: str
    """The signed approval; "" unless ``kind`` is ``approved``."""


def check(event: Mapping[str, Any], *, digest: str, not_by: Sequence[str], settings: Settings) -> Answer:
    """Check an answer, and sign it if it is an approval.

    The approval is signed here, where the answer comes from Airflow's database, and not in the next task, which gets it
    by XCom: Airflow's users may change an XCom.

    Args:
        event: of a ``HITLOperator``.
        digest: sha256 of the manifest.json of the version that is asked about.
        not_by: the users who may not approve if two people are needed.
        settings: of approvals.

    Raises:
        AnswerRefusedError: the reason is too short, or the user may not answer so.
        ApprovalError: there is no secret to sign with.
    """
    at = _time(event.get("responded_at"))
    user = str((event.get("responded_by_user") or {}).get("name") or "")
    if not user:  # nobody answered: Airflow has taken the default
        return {"kind": EXPIRED, "by": "", "at": at, "reason": "", "approval": ""}
    reason = str((event.get("params_input") or {}).get(REASON) or "").strip()
    kind = APPROVED if event.get("chosen_options") == [APPROVE] else REJECTED
    _expect_reason(reason, user)
    _expect_allowed(kind, user, not_by, settings)
    approval = _signed(digest, user, at, reason, settings) if kind == APPROVED else ""
    return {"kind": kind, "by": user, "at": at, "reason": reason, "approval": approval}


def _signed(digest: str, user: str, at: str, reason: str, settings: Settings) -> str:
    if not settings.secret:
        raise ApprovalError(
            "the approval cannot be signed: there is no secret",
            where=f"setting {approvals.SECRET} of the scheduler, whose tasks sign",
            expected="the secret approval_secret of the stack",
            hint="./heartline up generates it (docker compose: ./heartline init); then clear the task ask, which asks "
            "again",
        )
    return approvals.sign(digest, by=user, at=at, reason=reason, key=settings.secret).as_text()


def _time(value: Any) -> str:
    found = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
    return found.astimezone(UTC).isoformat()


def _expect_reason(reason: str, user: str) -> None:
    if MIN_REASON <= len(reason) <= MAX_REASON:
        return
    raise AnswerRefusedError(
        f"the answer of {user} does not count: its reason has {len(reason)} characters",
        where=f"field {REASON} of the request",
        expected=f"a reason of {MIN_REASON} to {MAX_REASON} characters",
        hint="answer again under Required Actions, where the request is open again, and write the reason",
    )


def _expect_allowed(kind: str, user: str, not_by: Sequence[str], settings: Settings) -> None:
    if settings.approvers and user not in settings.approvers:
        raise AnswerRefusedError(
            f"the answer of {user} does not count: {user} may not answer",
            where="setting HEARTLINE_APPROVERS",
            expected=f"an answer of {' or '.join(settings.approvers)}",
            hint="one of them answers under Required Actions, where the request is open again",
        )
    if kind == APPROVED and settings.four_eyes and user in not_by:
        raise AnswerRefusedError(
            f"the approval of {user} does not count: {user} triggered the training or asked for this approval",
            where="setting HEARTLINE_FOUR_EYES: two people are needed",
            expected="the approval of another user",
            hint="another user answers under Required Actions, where the request is open again; "
            f"{user} may reject the version there",
        )
