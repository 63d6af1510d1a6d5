"""What was in production at a time, and each entry as a sentence."""

from datetime import UTC, datetime, timedelta

import pytest

from heartline.ledger import past, sentences
from heartline.ledger.entry import KINDS
from tests.memory_ledger import MemoryLedger

START = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture
def ledger():
    """One entry a day."""
    made = MemoryLedger(lambda: START + timedelta(days=len(made.kept)))
    return made


def moved(ledger, before, after, **facts):
    facts = {"alias": "production", "from": before, "to": after, "how": "promote", "forced": False, **facts}
    return ledger.append("moved", by="anna", version=after or "", facts=facts)


def test_the_state_at_a_time_is_the_last_move_its_approval_and_what_each_host_served(ledger):
    ledger.append("approved", by="bea", version="2", facts={"reason": "better for women"})  # day 0
    moved(ledger, "1", "2")  # day 1
    ledger.append("served", by="service on a", version="2")
    ledger.append("served", by="service on b", version="1", facts={"host": "b.ward"})
    moved(ledger, "2", "3")  # day 4
    ledger.append("served", by="service on a", version="3")
    found = past.at(ledger.kept, START + timedelta(days=3, hours=12))
    assert found.move.version == "2"
    assert found.approval.facts["reason"] == "better for women"
    assert {host: one.version for host, one in found.served.items()} == {"a": "2", "b.ward": "1"}
    later = past.at(ledger.kept, START + timedelta(days=9))
    assert (later.move.version, later.approval) == ("3", None)
    assert later.served["a"].version == "3"
    before = past.at(ledger.kept, START - timedelta(days=1))
    assert (before.move, before.approval, dict(before.served)) == (None, None, {})


def test_a_move_that_was_imported_counts_from_its_own_time(ledger):
    moved(ledger, None, "1", imported=True, when="2025-01-02T00:00:00.000000Z")
    assert past.at(ledger.kept, datetime(2025, 6, 1, tzinfo=UTC)).move.version == "1"
    assert past.at(ledger.kept, datetime(2025, 1, 1, tzinfo=UTC)).move is None


@pytest.mark.parametrize(
    ("kind", "version", "facts", "said"),
    [
        ("registered", "3", {"family": "forest", "verdict": "better"}, "anna registered version 3 (forest, better)"),
        ("registered", "3", {"family": "forest", "winner": False}, "anna registered version 3 (forest, not chosen)"),
        ("requested", "3", {}, "anna asked for the approval of version 3"),
        ("approved", "3", {"reason": "better for women"}, "anna approved version 3: better for women"),
        ("rejected", "3", {"reason": "too few records"}, "anna rejected version 3: too few records"),
        ("withdrawn", "3", {}, "anna withdrew the request for the approval of version 3"),
        ("expired", "3", {}, "nobody answered the request for the approval of version 3 in time"),
        ("moving", "3", {"from": "2", "to": "3"}, "anna is about to move production from version 2 to version 3"),
        (
            "moved",
            "3",
            {"alias": "production", "from": None, "to": "3", "how": "promote", "forced": True, "reason": "now"},
            "anna moved production from no version to version 3 (promote, forced): now",
        ),
        ("refused", "3", {"reason": "no approval"}, "anna refused version 3: no approval"),
        ("served", "3", {}, "anna serves version 3"),
        ("scored", "3", {"rows": 1000}, "anna scored 1000 rows with version 3"),
        ("scored", "3", {"rows": 1}, "anna scored 1 row with version 3"),
        ("alarm", "", {"reason": "Brier score"}, "anna raised an alarm: Brier score"),
        (
            "pruned",
            "",
            {"through": 7, "days": 30},
            "anna removed the entries up to number 7, which were older than 30 days",
        ),
    ],
)
def test_each_kind_has_a_sentence(ledger, kind, version, facts, said):
    assert sentences.sentence(ledger.append(kind, by="anna", version=version, facts=facts)) == said


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "facts", [{}, {"reason": None}, {"from": 1, "to": [2], "how": {}, "rows": "many", "through": ""}]
)
def test_a_sentence_needs_no_fact_and_cannot_hide_text(ledger, kind, facts):
    said = sentences.sentence(ledger.append(kind, by="unknown", version="", facts={**facts, "x": "\u202e"}))
    assert said
    assert said.isprintable()
    odd = sentences.sentence(ledger.append(kind, by="a\x1b[31m\nb", facts={"reason": "r\u202e\n"}))
    assert odd.isprintable()
