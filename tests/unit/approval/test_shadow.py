"""The state of the shadow on a request for approval, and a candidate that is better there."""

from dataclasses import replace
from datetime import date

import pytest

from heartline.comparison.verdict_names import NO_DIFFERENCE
from heartline.errors import MonitoringError
from heartline.monitoring import store
from heartline.monitoring.report import Interval, Shadow
from heartline.pipeline import request_approval
from heartline.reports.approval_request import NO_SHADOW
from tests.unit.approval.fakes import DIGESTS, NOON, install
from tests.unit.monitoring.test_report import REPORT

SHADOW = Shadow("7", 800, 10, 6, 0.2, 120, Interval(0.012, -0.004, 0.028), 3.5, 0.1, 100.0)


@pytest.fixture
def asked(monkeypatch):
    """Return a function that asks about version 7, with reports of production."""
    world = install(monkeypatch)
    world.registry.tags["7"] = {"verdict": NO_DIFFERENCE}
    monkeypatch.setenv(store.VARIABLE, "postgresql://monitoring@127.0.0.1:1/heartline")

    def asked(*shadows, version=None, digest=DIGESTS["5"], error=None):
        def latest():
            if error:
                raise error
            return [replace(REPORT, date=date(2026, 3, 1), digest=digest, shadow=one) for one in shadows]

        monkeypatch.setattr(store, "latest", latest)
        return request_approval.request(
            version, run="run 1", by=None, events=[{"version": "7"}], active=lambda run: True, now=NOON
        )

    return asked


def test_agreement_changed_records_and_the_paired_comparison_are_stated(asked):
    body = asked(SHADOW, version="7")["body"]
    assert (
        "Version 7 answered 800 of production's records in the shadow, 98.0% of them with the same prediction: 10 "
        "would change to *heart disease* and 6 to *no heart disease*. Paired comparison after 120 outcomes: not "
        "decided yet (e-value 3.5 for better and 0.1 for worse, decided at 100); its Brier score is lower by 0.012 "
        "(-0.004 to 0.028)."
    ) in body


@pytest.mark.parametrize("shadows", [(), (None,), (replace(SHADOW, version="6"),)])
def test_no_shadow_yet(asked, shadows):
    assert NO_SHADOW in asked(*shadows, version="7")["body"]


def test_a_shadow_of_another_production_does_not_count(asked):
    assert NO_SHADOW in asked(SHADOW, version="7", digest="0" * 64)["body"]


def test_a_database_that_is_away_does_not_keep_a_person_from_being_asked(asked):
    away = MonitoringError("the database cannot be reached", where="w", expected="e", hint="h")
    assert "needs no answer" in asked(error=away)["ends"]
    assert "not known: the database cannot be reached" in asked(version="7", error=away)["body"]


def test_a_candidate_that_is_better_in_the_shadow_is_asked_about(asked):
    assert "needs no answer" in asked(SHADOW)["ends"]
    found = asked(replace(SHADOW, better=140.0))
    assert found["version"] == "7"
    assert "*better* in the shadow" in found["body"]
    assert "the candidate is *better* (e-value 140" in found["body"]
