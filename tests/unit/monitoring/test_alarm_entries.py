"""An alarm has one entry, is open until a person acknowledges it with a reason, and says so in words."""

from pathlib import Path

import pytest

from heartline import reports
from heartline.errors import MonitoringRefusedError
from heartline.ledger import sentences, store
from heartline.monitoring import alarm_entries
from tests.unit.monitoring.fakes import DIGEST, alarm, date

TEMPLATES = Path(reports.__file__).parent / "templates"


def test_an_alarm_is_entered_once_and_open_until_it_is_acknowledged(ledger_database, reference):
    raised = alarm("harm", reference, date(3))
    first = alarm_entries.enter(raised, DIGEST, by="run one")
    assert alarm_entries.enter(raised, DIGEST, by="run two").number == first.number
    (found,) = alarm_entries.open_alarms()
    assert (found.number, found.alarm) == (first.number, raised)
    entry = alarm_entries.acknowledge(first.number, "  the lab had changed its units  ", by="ada")
    assert alarm_entries.open_alarms() == []
    assert sentences.sentence(entry) == (
        f"ada acknowledged the alarm of entry {first.number} about version 1: the lab had changed its units"
    )
    assert alarm_entries.is_acknowledged(first.number)
    assert not alarm_entries.is_acknowledged(entry.number)
    with pytest.raises(MonitoringRefusedError, match="acknowledged before, by ada: the lab had changed its units"):
        alarm_entries.acknowledge(first.number, "another reason, too late", by="bob")
    assert "there is harm" in sentences.sentence(first)


def test_what_is_no_alarm_or_has_no_reason_is_not_acknowledged(ledger_database, reference):
    deadline = store.append("alarm", by="run x", facts={"alarm": "deadline"}, key="deadline x")
    entry = alarm_entries.enter(alarm("drift", reference, date(3)), DIGEST, by="run one")
    with pytest.raises(MonitoringRefusedError, match="9 characters"):
        alarm_entries.acknowledge(entry.number, "too short", by="ada")
    for number in (deadline.number, 99):
        with pytest.raises(MonitoringRefusedError, match=f"entry {number} is no alarm"):
            alarm_entries.acknowledge(number, "a reason that is long enough", by="ada")
    assert [one.number for one in alarm_entries.open_alarms()] == [entry.number]


def test_the_form_of_the_page_takes_as_many_characters_as_the_rule(ledger_database, reference):
    entry = alarm_entries.enter(alarm("drift", reference, date(3)), DIGEST, by="run one")
    form = (TEMPLATES / "monitoring.html").read_text()
    assert f'minlength="{alarm_entries.MIN_REASON}" maxlength="{alarm_entries.MAX_REASON}"' in form
    typed = "two lines\n" * (alarm_entries.MAX_REASON // 10 - 1) + "ten letter"
    assert len(typed) == alarm_entries.MAX_REASON
    found = alarm_entries.acknowledge(entry.number, typed.replace("\n", "\r\n"), by="ada")  # as browsers send it
    assert found.facts["reason"] == typed
