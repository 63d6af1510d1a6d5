"""What the monitoring keeps: made where it is missing, written once, read for the page."""

from dataclasses import replace

from heartline.monitoring import database
from heartline.monitoring import store as stores
from heartline.monitoring.store import Store, Stored
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
    assert monitoring.last(reference.digest, before=date(9)) == Stored(reference.digest, date(3), b'{"a": 3}')
    assert monitoring.last(reference.digest, before=date(3)) is None
    assert [one.completeness.records for one in stores.reports(date(1))] == [3, 5]
    assert [one.date for one in stores.reports(date(2))] == [date(3)]
    assert [one.date for one in stores.latest()] == [date(3)]
    assert monitoring.report(reference.digest, date(1)).completeness.records == 3


def test_only_the_newest_state_of_a_version_is_kept(monitoring, reference):
    """The difference of two states is what arrived between them, which may be one patient."""
    monitoring.prepare()
    other = replace(reference, digest="e" * 64)
    for day in (1, 2):
        monitoring.save(report(date(day), reference), b"{}")
        monitoring.save(report(date(day), other), b"{}")
    with database.transaction(monitoring._url, stores.VARIABLE) as cursor:
        cursor.execute("SELECT digest, day FROM monitoring.state ORDER BY 1")
        assert cursor.fetchall() == [(reference.digest, date(2)), ("e" * 64, date(2))]
        cursor.execute(
            "SELECT table_name FROM information_schema.columns "
            "WHERE table_schema = 'monitoring' AND column_name = 'state'"
        )
        assert cursor.fetchall() == [("state",)]


def test_the_state_of_the_version_that_was_in_production_last(monitoring, reference):
    monitoring.prepare()
    assert monitoring.last_in_production(before=date(9)) is None
    other = replace(reference, digest="e" * 64)
    monitoring.save(report(date(1), reference), b"1")
    monitoring.save(report(date(2), other), b"2")
    monitoring.save(report(date(3), reference), b"3", in_production=False)
    assert monitoring.last_in_production(before=date(4)) == Stored("e" * 64, date(2), b"2")
    monitoring.save(report(date(4), other), b"late", in_production=False)
    assert monitoring.last_in_production(before=date(4)) == Stored("e" * 64, date(4), b"late")
    monitoring.save(report(date(4), reference), b"4")
    assert monitoring.last_in_production(before=date(5)) == Stored(reference.digest, date(4), b"4")


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
