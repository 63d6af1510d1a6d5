"""What the monitoring keeps: made where it is missing, written once, read for the page."""

from heartline.monitoring import store as stores
from heartline.monitoring.store import Store
from tests.unit.monitoring.fakes import date, report


def test_the_tables_are_made_once_and_before_that_there_is_no_report(monitoring):
    assert monitoring.reports() == []
    assert monitoring.latest() == []
    for _ in range(2):
        monitoring.prepare()
    assert monitoring.completed() is None


def test_a_stored_day_stays_as_it_is(monitoring, reference):
    monitoring.prepare()
    monitoring.save(report(date(1), reference, 3), b'{"a": 1}')
    monitoring.save(report(date(1), reference, 4), b'{"a": 2}')
    monitoring.save(report(date(3), reference, 5), b'{"a": 3}')
    assert monitoring.last(reference.digest, before=date(3)).state == b'{"a": 1}'
    assert monitoring.last(reference.digest, before=date(9)).day == date(3)
    assert monitoring.last(reference.digest, before=date(1)) is None
    assert [one.completeness.records for one in stores.reports(date(1))] == [3, 5]
    assert [one.date for one in stores.reports(date(2))] == [date(3)]
    assert [one.date for one in stores.latest()] == [date(3)]
    assert monitoring.report(reference.digest, date(1)).completeness.records == 3


def test_days_and_what_was_done_about_alarms(monitoring: Store):
    monitoring.prepare()
    monitoring.complete(date(1), ["version 2 is not monitored: it was deleted"])
    monitoring.complete(date(1), [])
    assert monitoring.completed() == date(1)
    assert monitoring.notes(date(1)) == ["version 2 is not monitored: it was deleted"]
    assert monitoring.notes(date(2)) == []
    monitoring.raised("key", 7, 3)
    monitoring.raised("key", 8, 9)
    monitoring.done("key", "told")
    assert monitoring.handled() == {"key": stores.Handled("key", 7, 3, told=True, emitted=False)}
