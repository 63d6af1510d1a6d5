"""An evaluation that the first release stored is read; tests/fixtures/v1/evaluation holds it, made by that release."""

import json

import pytest

from heartline.evaluation.cross_validation import Evaluation
from serving.model import evaluation as serving
from tests.conftest import ROOT

STORED = ROOT / "tests" / "fixtures" / "v1" / "evaluation" / "evaluation.json"


@pytest.fixture(scope="module")
def stored() -> dict:
    return json.loads(STORED.read_text())


def test_it_is_read_with_its_subgroups(stored):
    found = Evaluation.from_dict(stored)
    female, male = found.subgroups[:2]
    assert (female.n, female.positives, male.positives) == (32, 9, 45)
    assert female.warnings[0] == "female: no Recall (sensitivity), 9 sick records of at least 10"
    assert found.out_of_fold["roc_auc"].value == stored["out_of_fold"]["roc_auc"]["value"]


def test_its_calibration_keeps_the_name_and_meaning_that_it_was_stored_with(stored):
    found = Evaluation.from_dict(stored)
    for place in ("out_of_fold", "holdout"):
        assert found.as_dict()[place]["calibration_intercept"] == stored[place]["calibration_intercept"]
        assert "calibration_in_the_large" not in found.as_dict()[place]
    assert "calibration_slope" in found.metrics()


def test_it_is_stored_again_in_todays_form(stored):
    again = Evaluation.from_dict(stored).as_dict()
    assert [one["positives"] for one in again["subgroups"]] == [one["sick"] for one in stored["subgroups"]]
    assert Evaluation.from_dict(again) == Evaluation.from_dict(stored)


@pytest.mark.parametrize("form", ["first", "today"])
def test_the_service_reads_either_form(stored, form):
    data = {**stored, **(Evaluation.from_dict(stored).as_dict() if form == "today" else {})}
    found = serving.read(json.dumps(data).encode())
    assert found.metrics is not None, found.reason
    assert found.metrics.profile == "quick"
    assert found.metrics.cross_validation["roc_auc"].value == stored["out_of_fold"]["roc_auc"]["value"]
