"""The task ``request``: when a person is asked, and what happens to older requests."""

import json
from datetime import timedelta

import pytest

from heartline.approval.answers import ApprovalError
from heartline.comparison.verdict_names import NO_DIFFERENCE
from heartline.errors import LedgerError, RegistryError
from heartline.pipeline import request_approval
from heartline.registry.production import approvals
from tests.unit.approval.fakes import DIGESTS, KEY, NOON, Killed, install

EVENT = {"version": "7", "verdict": "better", "run_id": "training 1", "triggered_by": "admin", "requested": False}


@pytest.fixture
def world(monkeypatch):
    return install(monkeypatch)


def request(world, run="run 1", version=None, by=None, events=(), now=NOON):
    world.active.add(run)
    return request_approval.request(
        version, run=run, by=by, events=events, active=lambda one: one in world.active, now=now
    )


def test_a_better_candidate_is_asked_about(world):
    found = request(world, events=[EVENT])

    assert (found["ends"], found["version"], found["digest"]) == ("", "7", DIGESTS["7"])
    assert found["subject"] == "Version 7 for production in place of version 5: better"
    assert "its verdict is *better*" in found["body"]
    (entry,) = world.ledger.rows
    assert (entry.kind, entry.version, entry.by) == ("requested", "7", "run run 1")
    assert entry.facts["production"] == "5"
    assert entry.facts["not_by"] == ["admin"]
    assert entry.facts["until"] == (NOON + timedelta(days=3)).isoformat()


def test_a_night_without_a_difference_asks_nobody(world):
    world.registry.tags["7"] = {"verdict": NO_DIFFERENCE}
    found = request(world, events=[EVENT | {"verdict": NO_DIFFERENCE}])

    assert "needs no answer" in found["ends"]
    assert found["note"] == found["ends"]
    assert world.ledger.rows == []


def test_a_training_run_with_promotion_approval_asks_whatever_the_verdict(world):
    world.registry.tags["7"] = {"verdict": NO_DIFFERENCE}
    found = request(world, events=[EVENT | {"requested": True}])

    assert found["version"] == "7"
    assert "promotion approval" in found["body"]


def test_a_user_may_ask_about_any_version(world):
    world.registry.tags["3"] = {"verdict": NO_DIFFERENCE}
    found = request(world, version="3", by="ann")

    assert (found["version"], found["not_by"]) == ("3", ["ann"])
    assert world.ledger.rows[0].by == "ann"


def test_the_one_who_trained_and_the_one_who_asked_are_both_excluded(world):
    world.registry.tags["7"] = {"heartline.candidate": json.dumps(EVENT)}
    assert request(world, version="7", by="ann")["not_by"] == ["admin", "ann"]


def test_nobody_is_excluded_because_of_the_schedule(world):
    assert request(world, events=[EVENT | {"triggered_by": "schedule"}])["not_by"] == []


@pytest.mark.parametrize("version", ["99", "x", "²"])
def test_a_version_that_does_not_exist_is_refused(world, version):
    with pytest.raises(ApprovalError, match="no version"):
        request(world, version=version)


def test_the_version_in_production_needs_no_answer(world):
    assert "in production already" in request(world, version="5", by="ann")["ends"]
    assert "in production already" in request(world, events=[EVENT | {"version": "5"}])["ends"]


def test_the_version_in_production_is_asked_about_where_it_lacks_the_approval_that_is_required(world):
    world.set(required=True)
    found = request(world, version="5", by="ann")
    assert found["version"] == "5"
    assert found["subject"].startswith("Version 5, which is in production, needs an approval")
    assert "answers already" in found["body"]
    signed = approvals.sign(DIGESTS["5"], by="ann", at="2026-11-30T12:00:00+00:00", reason="it is right", key=KEY)
    world.registry.tags["5"] = {approvals.TAG: signed.as_text()}
    assert "in production already" in request(world, run="run 2", version="5", by="ann")["ends"]


def test_without_production_a_person_is_asked_only_where_approval_is_required(world):
    world.registry.production = ""
    world.registry.tags["7"] = {"verdict": NO_DIFFERENCE}
    assert "needs no answer" in request(world, events=[EVENT])["ends"]
    world.set(required=True)
    found = request(world, run="run 2", events=[EVENT])
    assert found["subject"].startswith("Version 7 for production, the first one")


def test_a_deleted_candidate_is_not_asked_about(world):
    world.registry.deleted = {"7"}
    assert "was deleted" in request(world, events=[EVENT])["ends"]


def test_of_several_events_the_latest_that_needs_an_answer_counts(world):
    world.registry.tags["8"] = {"verdict": NO_DIFFERENCE}
    events = [EVENT | {"version": "6"}, EVENT, EVENT | {"version": "8"}]
    assert request(world, events=events)["version"] == "7"


def test_without_an_event_the_staged_version_is_looked_at(world):
    """The daily run: Airflow may have lost the event."""
    world.registry.tags["7"] = {
        "verdict": NO_DIFFERENCE,
        "heartline.candidate": json.dumps(EVENT | {"requested": True}),
    }
    found = request(world)
    assert (found["version"], found["not_by"]) == ("7", ["admin"])


def test_without_a_staged_version_nobody_is_asked(world):
    world.registry.staging = ""
    assert request(world)["ends"] == "no version is staged"


@pytest.mark.parametrize("tag", ["{", "[]", ""])
def test_a_tag_that_cannot_be_read_is_no_reason_to_fail(world, tag):
    world.registry.tags["7"] = {"heartline.candidate": tag}
    assert request(world)["version"] == "7"


def test_the_daily_run_does_not_repeat_an_open_request(world):
    request(world, events=[EVENT])
    assert "waits for an answer already, in run run 1" in request(world, run="run 2")["ends"]
    assert world.ledger.kinds() == [("requested", "7")]


def test_the_daily_run_replaces_a_request_whose_run_is_gone(world):
    """Its run was deleted, or has failed: nobody can answer it any more."""
    request(world, events=[EVENT])
    world.active.clear()
    found = request(world, run="run 2")
    assert (found["version"], found["withdrawn"]) == ("7", [])
    assert world.ledger.kinds() == [("requested", "7"), ("requested", "7"), ("withdrawn", "7")]


@pytest.mark.parametrize("kind", ["rejected", "expired", "approved"])
def test_an_answered_version_is_not_asked_about_again_each_day(world, kind):
    request(world, events=[EVENT])
    facts = {"run": "run 1", "reason": "too few women"}
    world.ledger.append(kind, by="ann", version="7", facts=facts, key="answer run 1")
    found = request(world, run="run 2")
    assert 'trigger heart_approval with {"version": "7"}' in found["ends"]


def test_a_user_may_ask_again_after_a_rejection(world):
    request(world, events=[EVENT])
    facts = {"run": "run 1", "reason": "too few women"}
    world.ledger.append("rejected", by="ann", version="7", facts=facts, key="answer run 1")
    assert request(world, run="run 2", version="7", by="bob")["ends"] == ""


def test_another_training_run_with_promotion_approval_asks_again(world):
    asked = EVENT | {"requested": True}
    request(world, events=[asked])
    facts = {"run": "run 1", "reason": "too few women"}
    world.ledger.append("rejected", by="ann", version="7", facts=facts, key="answer run 1")
    assert "rejected by ann" in request(world, run="run 2", events=[asked])["ends"]
    assert request(world, run="run 3", events=[asked | {"run_id": "training 2"}])["ends"] == ""


def test_a_newer_candidate_withdraws_the_open_request(world):
    request(world, events=[EVENT])
    found = request(world, run="run 2", events=[EVENT | {"version": "8"}])

    assert found["withdrawn"] == ["run 1"]
    assert request_approval.replaced(found) == ["run 1"]
    withdrawn = world.ledger.rows[-1]
    assert (withdrawn.kind, withdrawn.version, withdrawn.by) == ("withdrawn", "7", "run run 2")
    cleared = request(world, run="run 1", events=[EVENT])
    assert cleared["ends"] == "the request for version 7 was withdrawn: a newer request, for version 8, replaced it"


def test_an_answer_that_came_first_is_not_withdrawn(world):
    request(world, events=[EVENT])
    world.ledger.append("approved", by="ann", version="7", facts={"run": "run 1"}, key="answer run 1")
    found = request(world, run="run 2", events=[EVENT | {"version": "8"}])
    assert found["withdrawn"] == []
    assert ("withdrawn", "7") not in world.ledger.kinds()


@pytest.mark.parametrize("killed_after", ["requested", "withdrawn"])
def test_a_killed_task_that_runs_again_enters_one_request(world, killed_after):
    request(world, events=[EVENT])
    world.ledger.kill_after = killed_after
    with pytest.raises(Killed):
        request(world, run="run 2", events=[EVENT | {"version": "8"}])
    world.ledger.kill_after = ""
    found = request(world, run="run 2", events=[EVENT | {"version": "8"}], now=NOON + timedelta(hours=1))

    assert (found["version"], found["withdrawn"]) == ("8", ["run 1"])
    assert found["until"] == (NOON + timedelta(days=3)).isoformat()
    assert world.ledger.kinds() == [("requested", "7"), ("requested", "8"), ("withdrawn", "7")]


def test_a_ledger_or_mlflow_that_is_away_is_a_reason_to_try_again(world):
    world.ledger.away = True
    with pytest.raises(LedgerError):
        request(world, events=[EVENT])
    world.ledger.away, world.registry.away = False, True
    with pytest.raises(RegistryError):
        request(world, events=[EVENT])
