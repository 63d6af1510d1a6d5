"""Which answers count, and what is signed."""

from datetime import UTC, datetime

import pytest

from heartline.approval import answers
from heartline.approval.answers import AnswerRefusedError, ApprovalError
from heartline.approval.settings import Settings
from heartline.registry.production import approvals

KEY = "k" * 64
DIGEST = "ab" * 32
REASON = "it is better for women"


def event(option="Approve", user="approver", reason=REASON):
    return {
        "chosen_options": [option],
        "params_input": {} if reason is None else {"reason": reason},
        "responded_at": datetime(2026, 11, 30, 2, tzinfo=UTC),
        "responded_by_user": user and {"id": user, "name": user},
        "timedout": user is None,
    }


def check(found, *, not_by=("admin",), **settings):
    return answers.check(found, digest=DIGEST, not_by=not_by, settings=Settings(**{"secret": KEY, **settings}))


def test_an_approval_is_signed_for_the_files_that_were_asked_about():
    answer = check(event())

    assert (answer["kind"], answer["by"], answer["reason"]) == ("approved", "approver", REASON)
    assert answer["at"] == "2026-11-30T02:00:00+00:00"
    assert approvals.problem(answer["approval"], DIGEST, KEY) == ""


def test_a_rejection_is_not_signed():
    answer = check(event("Reject"))

    assert (answer["kind"], answer["approval"]) == ("rejected", "")


def test_a_request_that_nobody_answered_has_expired():
    assert check(event("Reject", user=None, reason=None))["kind"] == "expired"


@pytest.mark.parametrize("reason", [None, "", "ok", "         ok         ", "x" * 2001])
@pytest.mark.parametrize("option", ["Approve", "Reject"])
def test_an_answer_needs_a_reason(option, reason):
    with pytest.raises(AnswerRefusedError, match="does not count") as caught:
        check(event(option, reason=reason))
    assert "10 to 2000 characters" in caught.value.expected
    assert "Required Actions" in caught.value.hint


def test_with_four_eyes_the_one_who_triggered_the_training_cannot_approve():
    with pytest.raises(AnswerRefusedError, match="admin triggered the training"):
        check(event(user="admin"), four_eyes=True)
    assert check(event(user="admin"), four_eyes=False)["kind"] == "approved"
    assert check(event(user="approver"), four_eyes=True)["kind"] == "approved"


def test_with_four_eyes_the_one_who_triggered_the_training_may_reject():
    assert check(event("Reject", user="admin"), four_eyes=True)["kind"] == "rejected"


def test_only_a_named_approver_may_answer():
    with pytest.raises(AnswerRefusedError, match="visitor may not answer"):
        check(event("Reject", user="visitor"), approvers=("approver", "ann"))
    assert check(event(), approvers=("approver",))["kind"] == "approved"


def test_without_a_secret_nothing_is_approved():
    with pytest.raises(ApprovalError, match="cannot be signed"):
        check(event(), secret="")


def test_the_settings_have_defaults():
    found = Settings.of({})
    assert (found.approvers, found.wait.days, found.four_eyes, found.required, found.secret) == (
        (),
        3,
        False,
        False,
        "",
    )


def test_the_settings_are_read():
    found = Settings.of(
        {
            "HEARTLINE_APPROVERS": " ann, bob ,ann,",
            "HEARTLINE_APPROVAL_DAYS": "0.5",
            "HEARTLINE_FOUR_EYES": "yes",
            "HEARTLINE_REQUIRE_APPROVAL": "yes",
            "HEARTLINE_APPROVAL_SECRET": KEY,
        }
    )
    assert (found.approvers, found.wait.total_seconds()) == (("ann", "bob"), 43200)
    assert (found.four_eyes, found.required, found.secret) == (True, True, KEY)
