"""A report is stored as JSON and read again."""

from datetime import date

import msgspec
import pytest

from heartline.monitoring.report import Awaited, Completeness, Drift, Harm, Report

REPORT = Report(
    date=date(2026, 3, 1),
    version="7",
    digest="d" * 64,
    reference_records=303,
    first=date(2026, 2, 1),
    harm=Harm(1.5, 2.0, 100.0, 0.12, 0.02, 40, (), (), {"brier": 0.13}),
    drift=Drift(0.2, 1.0, 100.0, 1e-5, 280, ()),
    completeness=Completeness(10, None, None, 0.1, 0.2, {"invalid-record": 2}, 0.01),
    awaited=Awaited(280, 40, 0, 3.0, ()),
    shadow=None,
    alarms=(),
    rate="at most 2 % in the life of a reference",
)


def test_a_report_survives_its_json():
    data = REPORT.to_json()
    found = Report.from_json(data)
    assert found.to_json() == data
    assert (found.date, found.harm.estimated, found.shadow) == (REPORT.date, REPORT.harm.estimated, None)


def test_another_document_is_refused():
    with pytest.raises(msgspec.ValidationError):
        Report.from_json(b'{"date": "2026-03-01"}')
