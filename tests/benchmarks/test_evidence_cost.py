"""The plain program computes Heartline's numbers, at a size that takes seconds; and the page shows the figures."""

import json

import evidence_cost
import numpy as np
import plain_evidence
import pytest
from sklearn.linear_model import LogisticRegression

from heartline.comparison import paired_tests
from heartline.evaluation import cross_validation, metrics
from heartline.storage import record_identity, splits
from heartline.training import families, fast_forest, tuning
from tests.conftest import ROOT

PROFILE = families.Profile("test", splits=4, repeats=1, trees=60)
PAGE = ROOT / "docs" / "evaluation.md"


@pytest.fixture(scope="module")
def records(cohort) -> splits.LabelledDataset:
    return splits.to_labelled(record_identity.canonical(cohort))


@pytest.mark.parametrize("name", families.FAMILIES)
def test_both_programs_predict_and_choose_the_same(records, name):
    plan = splits.plan_folds(records, splits=4, repeats=1, seed=1)
    ours = cross_validation.cross_validate(name, records, plan, profile=PROFILE, seed=1)
    theirs = plain_evidence.cross_validate(name, records, plan, PROFILE, 1)
    tolerance = 1e-9 if families.family(name).tolerance else 0
    assert np.abs(ours.probabilities - theirs["probabilities"]).max() <= tolerance
    assert theirs["fold_aucs"] == pytest.approx(ours.fold_aucs, abs=1e-15)
    assert [dict(one) for one in ours.chosen] == theirs["chosen"]
    assert np.array(theirs["importance"]) == pytest.approx(ours.importance, abs=1e-15)


def test_both_programs_give_the_same_intervals(records):
    random = np.random.default_rng(0)
    probabilities, others = (np.clip(random.normal(0.3 + 0.4 * records.labels, 0.25), 0.01, 0.99) for _ in range(2))
    ours = metrics.evaluate(records.labels, probabilities, records.groups, seed=2, draws=100)
    for name, ends in plain_evidence.scores(records, probabilities, 2, draws=100).items():
        assert ends == pytest.approx((ours[name].value, ours[name].low, ours[name].high), abs=1e-15), name
    delta = paired_tests.bootstrap(records.labels, probabilities, others, records.groups, draws=100, seed=2).auc
    found = plain_evidence.paired_bootstrap(records, probabilities, others, 2, draws=100)
    assert found == pytest.approx((delta.value, delta.low, delta.high), abs=1e-15)


def test_a_fold_takes_a_bounded_number_of_fits_by_scikit_learn(records, monkeypatch):
    """The cost of a cross-validation is its fits: this holds their number, not their time."""
    plan = splits.plan_folds(records, splits=4, repeats=3, seed=1)
    fits = {"public": 0, "trees": 0}
    public, grow = LogisticRegression.fit, fast_forest.Forest._grow

    def fit(self, *given):
        fits["public"] += 1
        return public(self, *given)

    def growing(self, seeds, *given):
        fits["trees"] += len(seeds)
        return grow(self, seeds, *given)

    monkeypatch.setattr(LogisticRegression, "fit", fit)
    monkeypatch.setattr(fast_forest.Forest, "_grow", growing)
    for name in families.FAMILIES:
        cross_validation.cross_validate(name, records, plan, profile=PROFILE, seed=1)
    candidates, forests = (len(families.family(name).grid) for name in families.FAMILIES)
    assert fits["public"] == candidates * tuning.FOLDS + 1, "only the first fold, with which the fast one is compared"
    assert fits["trees"] == 12 * (forests * tuning.FOREST + PROFILE.trees - tuning.FOREST), "no tree is grown twice"


FOUND = {
    "profile": "full",
    "basis": "the synthetic sample",
    "machine": {"processor": "2 × P", "python": "3.11.7"},
    "ways": {
        "heartline": {
            "imports": 5.0,
            "warm": 10.0,
            "warm_cpu": 9.0,
            "requests": 180,
            "spent": {"checks": 1.0, "registration": 1.5, "families": 7.5},
            "cpu": {"checks": 0.9, "registration": 0.4, "families": 7.7},
        },
        "plain": {
            "imports": 5.0,
            "warm": 90.0,
            "warm_cpu": 90.0,
            "requests": 30,
            "spent": {"checks": 1.0, "registration": 3.0, "folds": 86.0},
            "cpu": {"checks": 0.9, "registration": 2.0, "folds": 87.1},
        },
    },
    "max_abs_diff": {"exact_probabilities": 0.0, "probabilities": 2e-13, "chosen": 0.0}
    | dict.fromkeys(evidence_cost.ROUNDED, 3e-16),
}


def test_the_page_shows_the_measured_figures():
    text = evidence_cost.markdown(FOUND)
    assert "| checks | 1.0 | 0.9 | 1.0 | 0.9 |" in text
    assert "| folds | 86.0 | 87.1 |  |  |" in text
    assert "| families |  |  | 7.5 | 7.7 |" in text
    assert "takes 1/9.0 of the time (aim 1/8: met), 1/6.3 with imports (aim 1/6: met), 1/10.0 of the CPU" in text
    assert "sends 180 requests to MLflow" in text
    assert "equal to the last bit, the logistic regression's probabilities differ by at most 2e-13" in text
    assert "differ by at most 3e-16" in text


@pytest.mark.parametrize(("kind", "difference"), [("exact_probabilities", 1e-16), ("probabilities", 0.01)])
def test_the_page_shows_missed_aims_and_differences(kind, difference):
    slow = json.loads(json.dumps(FOUND))
    slow["ways"]["plain"]["warm"] = 20.0
    slow["max_abs_diff"][kind] = difference
    text = evidence_cost.markdown(slow)
    assert "takes 1/2.0 of the time (aim 1/8: NOT met)" in text
    assert "DIFFER" in text
    assert "equal to the last bit" not in text


def test_the_page_has_the_markers_of_the_measured_part():
    assert evidence_cost.has_place(PAGE.read_text())
