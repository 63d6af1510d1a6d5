"""What the page on monitoring reads from PostgreSQL: stored reports, open alarms, the version in production."""

from datetime import timedelta

import pytest

from heartline.errors import MonitoringRefusedError
from heartline.ledger import store as ledger
from heartline.monitoring import alarm_entries
from heartline.reports.monitoring.gather import gather
from tests import monitoring_reports as example
from tests.monitoring_reports import TODAY

FIRST = example.LAST - timedelta(days=20)


def _store(monitoring, scenario: str, version: str) -> None:
    for one in example.reports(scenario, first=FIRST, version=version):
        monitoring.save(one, b"{}")


def test_before_the_first_day_there_is_nothing(monitoring):
    found = gather(TODAY)
    assert (found.latest, found.alarms, found.versions) == (None, (), ())


def test_the_version_in_production_its_reports_and_the_open_alarms_are_found(monitoring):
    monitoring.prepare()
    _store(monitoring, "quiet", "7")
    _store(monitoring, "quiet", "8")
    monitoring.complete(example.LAST, ["version 6 is not monitored: it was deleted"])
    ledger.append("moved", by="anna", version="7", facts={"alias": "production", "from": "", "to": "7"})
    ledger.append("moved", by="anna", version="8", facts={"alias": "staging", "from": "", "to": "8"})
    first = alarm_entries.enter(example.alarm("drift", FIRST), "d" * 64, by="run a")
    second = alarm_entries.enter(example.alarm("harm", FIRST), "d" * 64, by="run b")
    alarm_entries.acknowledge(first.number, "checked with the ward", by="ben")

    found = gather(TODAY, environ={})

    assert {one.version for one in found.reports} == {"7"}
    assert [one.date for one in found.reports] == [FIRST + timedelta(days=one) for one in range(21)]
    assert found.versions == ("8", "7")
    assert [one.number for one in found.alarms] == [second.number]
    assert found.notes == ("version 6 is not monitored: it was deleted",)
    assert found.logged
    assert gather(TODAY, version="8").latest.version == "8"
    assert not gather(TODAY, environ={"HEARTLINE_PREDICTION_LOG_URL": "off"}).logged


def test_days_before_a_year_ago_are_not_read(monitoring):
    monitoring.prepare()
    _store(monitoring, "quiet", "7")
    assert gather(TODAY + timedelta(days=360)).reports[0].date > FIRST
    assert gather(TODAY + timedelta(days=400)).latest is None


def test_a_database_that_is_not_configured_is_an_error(monitoring, monkeypatch):
    monkeypatch.delenv("HEARTLINE_MONITORING_URL")
    with pytest.raises(MonitoringRefusedError, match="HEARTLINE_MONITORING_URL"):
        gather(TODAY)
