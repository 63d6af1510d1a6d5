"""The tasks ``ask`` and ``decide``: from an answer to the move of production, and everything that may come between."""

from datetime import timedelta

import pytest

from heartline.approval import answers
from heartline.approval.answers import ApprovalError
from heartline.errors import LedgerError, PermanentError, RegistryError
from heartline.pipeline import decide as deciding
from heartline.pipeline import request_approval
from heartline.registry.production import approvals
from tests.unit.approval.fakes import DIGESTS, KEY, NOON, Killed, install
from tests.unit.approval.test_answers import event

REASON = "it is better for women"


@pytest.fixture
def world(monkeypatch):
    return install(monkeypatch)


def request(run="run 1", version="7"):
    return request_approval.request(version, run=run, by="admin", events=(), active=lambda one: True, now=NOON)


def decide(asked, option="Approve", run="run 1", **more):
    return deciding.decide(asked, deciding.check_answer(asked, event(option, **more)), run=run)


def moves(world):
    return [one.version for one in world.ledger.rows if one.kind == "moved"]


def test_an_approval_is_entered_signed_and_moves_production(world):
    decided = decide(request())

    assert decided["note"] == f"version 7 approved by approver: {REASON}"
    assert (decided["outcome"], decided["by"], decided["production"]) == ("approved", "approver", True)
    assert decided["assets"] == {"production": {"version": "7", "before": "5", "by": "approver"}}
    assert world.registry.production == "7"
    assert approvals.problem(world.registry.tags["7"][approvals.TAG], DIGESTS["7"], KEY) == ""
    assert world.ledger.kinds() == [("requested", "7"), ("approved", "7"), ("moved", "7")]
    assert (world.ledger.rows[1].by, world.ledger.rows[1].facts["reason"]) == ("approver", REASON)
    assert (world.ledger.rows[2].by, world.ledger.rows[2].facts) == ("approver", {"how": "approval", "reason": REASON})


def test_the_version_in_production_can_be_approved_later(world):
    world.set(required=True)
    decided = decide(request(version="5"))

    assert (decided["outcome"], decided["production"]) == ("approved", True)
    assert approvals.problem(world.registry.tags["5"][approvals.TAG], DIGESTS["5"], KEY) == ""
    assert moves(world) == []


def test_a_rejection_is_entered_with_its_reason(world):
    decided = decide(request(), "Reject")

    assert decided["note"] == f"version 7 rejected by approver: {REASON}"
    assert (decided["production"], decided["assets"]) == (False, {})
    assert world.registry.production == "5"
    assert world.ledger.kinds() == [("requested", "7"), ("rejected", "7")]
    assert approvals.TAG not in world.registry.tags_of("7")


def test_a_request_that_nobody_answered_expires(world):
    decided = decide(request(), "Reject", user=None, reason=None)

    assert decided["note"] == "version 7 was not approved: nobody answered in time"
    assert (decided["outcome"], decided["by"]) == ("expired", "")
    assert world.ledger.kinds() == [("requested", "7"), ("expired", "7")]


def test_a_second_answer_to_a_cleared_task_changes_nothing(world):
    asked = request()
    decide(asked, "Reject")
    decided = decide(asked, "Approve", user="bob")

    assert decided["note"] == f"version 7 rejected by approver: {REASON}"
    assert world.registry.production == "5"
    assert world.ledger.kinds() == [("requested", "7"), ("rejected", "7")]


def test_a_cleared_task_leaves_one_approval_and_one_move(world):
    asked = request()
    assert decide(asked) == decide(asked)
    assert world.ledger.kinds() == [("requested", "7"), ("approved", "7"), ("moved", "7")]


def test_a_cleared_task_does_not_undo_a_later_move(world):
    asked = request()
    decide(asked)
    world.registry.move_production("8", by="anna", how="promote", expected="7", reason="it is faster")
    decided = decide(asked)

    assert world.registry.production == "8"
    assert (decided["outcome"], decided["production"], decided["assets"]) == ("approved", False, {})


def test_an_answer_after_production_moved_elsewhere_moves_nothing(world):
    asked = request()
    world.registry.production = "6"
    with pytest.raises(ApprovalError, match="was at version 5 and is at version 6") as caught:
        decide(asked)

    assert "trigger heart_approval" in caught.value.hint
    assert world.registry.production == "6"
    assert world.ledger.kinds() == [("requested", "7"), ("withdrawn", "7")]
    assert approvals.TAG not in world.registry.tags_of("7")
    assert decide(asked)["outcome"] == "withdrawn"  # once the task is cleared


def test_an_approval_of_what_is_in_production_by_now_is_entered_without_a_move(world):
    asked = request()
    world.registry.production = "7"
    decided = decide(asked)

    assert (decided["outcome"], decided["production"]) == ("approved", True)
    assert moves(world) == []


def test_an_answer_about_a_deleted_version_approves_nothing(world):
    asked = request()
    world.registry.deleted = {"7"}
    with pytest.raises(ApprovalError, match="version 7 was deleted"):
        decide(asked)
    assert world.ledger.kinds() == [("requested", "7"), ("withdrawn", "7")]


def test_an_answer_about_changed_files_approves_nothing(world, monkeypatch):
    asked = request()
    monkeypatch.setitem(DIGESTS, "7", "ff" * 32)
    with pytest.raises(ApprovalError, match="files of version 7 have changed"):
        decide(asked)


def test_an_answer_to_a_request_that_was_withdrawn_meanwhile_counts_for_nothing(world):
    asked = request()
    request("run 2", "8")
    decided = decide(asked)

    assert decided["outcome"] == "withdrawn"
    assert "replaced it" in decided["note"]
    assert world.registry.production == "5"


def test_a_refused_move_keeps_the_approval_and_says_how_to_go_on(world):
    asked = request()
    world.registry.refusal = "version 7 was trained on the synthetic sample"
    with pytest.raises(ApprovalError, match="approved, but production was not moved") as caught:
        decide(asked)
    assert "./heartline promote 7" in caught.value.hint
    world.registry.refusal = ""
    assert decide(asked)["production"]
    assert moves(world) == ["7"]


@pytest.mark.parametrize("where", ["approved", "approve", "move", "moved"])
def test_a_killed_task_that_runs_again_leaves_one_approval_and_one_move(world, where):
    asked = request()
    if where == "approved":
        world.ledger.kill_after = where
    else:
        world.registry.kill_at = where
    with pytest.raises(Killed):
        decide(asked)
    world.ledger.kill_after = world.registry.kill_at = ""

    assert decide(asked)["production"]
    assert world.ledger.kinds() == [("requested", "7"), ("approved", "7"), ("moved", "7")]
    assert approvals.problem(world.registry.tags["7"][approvals.TAG], DIGESTS["7"], KEY) == ""


@pytest.mark.parametrize("server", ["ledger", "registry"])
def test_a_server_that_is_away_during_the_decision_is_waited_for(world, server):
    asked = request()
    getattr(world, server).away = True
    with pytest.raises((LedgerError, RegistryError)) as caught:
        decide(asked)
    assert not isinstance(caught.value, PermanentError)
    getattr(world, server).away = False
    assert decide(asked)["production"]


def test_an_answer_that_was_changed_on_its_way_is_refused(world):
    """Airflow's users may change what a task handed over."""
    asked = request()
    answer = deciding.check_answer(asked, event("Reject"))
    with pytest.raises(ApprovalError, match="is no approval of version 7: nobody has approved it"):
        deciding.decide(asked, answer | {"kind": "approved"}, run="run 1")
    of_another = answers.check(event(), digest=DIGESTS["8"], not_by=(), settings=world.settings)
    with pytest.raises(ApprovalError, match="belongs to other files"):
        deciding.decide(asked, of_another, run="run 1")
    assert world.ledger.kinds() == [("requested", "7")]


def test_a_request_that_was_changed_on_its_way_is_refused(world):
    asked = request()
    for changed in ({"version": "8"}, {"digest": DIGESTS["8"]}):
        with pytest.raises(ApprovalError, match="the ledger has no request"):
            decide(asked | changed)
    with pytest.raises(ApprovalError, match="the ledger has no request"):
        decide(asked, run="another run")


def test_a_refused_answer_does_not_prolong_the_request(world):
    asked = request()
    assert deciding.remaining(asked, NOON) == timedelta(days=3)
    assert deciding.remaining(asked, NOON + timedelta(days=2)) == timedelta(days=1)
    assert deciding.remaining(asked, NOON + timedelta(days=4)) == timedelta(seconds=1)


def test_airflow_refuses_the_one_who_triggered_where_the_approvers_are_named(world):
    asked = request()
    assert deciding.may_answer(asked) == []
    world.set(approvers=("admin", "approver"), four_eyes=True)
    assert deciding.may_answer(asked) == ["approver"]
    world.set(four_eyes=False)
    assert deciding.may_answer(asked) == ["admin", "approver"]


def test_a_request_that_nobody_could_approve_is_an_error(world):
    asked = request()
    world.set(approvers=("admin",), four_eyes=True)
    with pytest.raises(ApprovalError, match="nobody may approve version 7"):
        deciding.may_answer(asked)
