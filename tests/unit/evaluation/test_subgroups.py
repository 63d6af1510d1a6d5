"""Numbers by sex and age band, and warnings where there are too few records."""

import json

import numpy as np
import pytest

from heartline import contract
from heartline.evaluation import metrics, subgroups
from heartline.storage import record_identity, splits
from heartline.storage.splits import LabelledDataset


def _records(sex, age, labels) -> LabelledDataset:
    features = np.zeros((len(labels), len(contract.FEATURES)))
    features[:, contract.FEATURE_NAMES.index("sex")] = sex
    features[:, contract.FEATURE_NAMES.index("age")] = age
    return LabelledDataset(features, np.asarray(labels), np.arange(len(labels)))


def _named(found: tuple[subgroups.Subgroup, ...]) -> dict[str, subgroups.Subgroup]:
    return {one.name: one for one in found}


def test_every_record_is_in_one_sex_and_one_age_band(cohort):
    records = splits.to_labelled(record_identity.canonical(cohort))
    found = subgroups.evaluate(records, np.full(len(records), 0.5), seed=0)
    assert [(one.kind, one.name) for one in found] == [
        ("sex", "female"),
        ("sex", "male"),
        ("age", "under 45"),
        ("age", "45 to 54"),
        ("age", "55 to 64"),
        ("age", "65 and over"),
    ]
    for kind in ("sex", "age"):
        assert sum(one.n for one in found if one.kind == kind) == len(records)
        assert sum(one.positives for one in found if one.kind == kind) == records.labels.sum()


def test_an_age_band_starts_at_its_first_year():
    found = _named(subgroups.evaluate(_records([0] * 6, [44, 45, 54, 55, 64, 65], [0] * 6), np.zeros(6), seed=0))
    assert [found[name].n for name in ("under 45", "45 to 54", "55 to 64", "65 and over")] == [1, 2, 2, 1]


def test_scores_of_a_subgroup_depend_on_its_members_only():
    random = np.random.default_rng(0)
    labels = random.integers(0, 2, 120)
    sex = np.repeat([0, 1], 60)
    probabilities = np.where(sex == 1, 0.3 * labels + 0.7 * random.random(120), random.random(120))
    male = _named(subgroups.evaluate(_records(sex, [50] * 120, labels), probabilities, seed=3))["male"]
    alone = metrics.evaluate(labels[60:], probabilities[60:], np.arange(60), seed=3)

    assert (male.n, male.positives, male.prevalence) == (60, labels[60:].sum(), labels[60:].mean())
    for name in ("roc_auc", "recall", "specificity"):
        assert male.estimates[name] == alone[name]
    gap = male.estimates["calibration_in_the_large"]
    assert gap.value == pytest.approx(labels[60:].mean() - probabilities[60:].mean())
    # of a mean of 60: 1.96 standard errors on either side
    half = 1.96 * (labels[60:] - probabilities[60:]).std() / np.sqrt(60)
    assert (gap.low, gap.high) == pytest.approx((gap.value - half, gap.value + half), abs=0.15 * half)
    assert male.warnings == ()


def test_too_few_records_give_a_warning_instead_of_a_score():
    labels = np.repeat([0, 1, 0, 1], [10, 9, 30, 9])
    records = _records(np.repeat([0, 1], [19, 39]), [50] * 58, labels)
    found = _named(subgroups.evaluate(records, np.where(labels == 1, 0.7, 0.2), seed=0))

    assert found["female"].warnings == (
        "female: no Calibration in the large, 19 records of at least 20",
        "female: no Recall (sensitivity), 19 records of at least 20",
        "female: no ROC AUC, 19 records of at least 20",
        "female: no Specificity, 19 records of at least 20",
    )
    assert found["male"].warnings == (
        "male: no Recall (sensitivity), 9 records with disease of at least 10",
        "male: no ROC AUC, 9 records with disease of at least 10",
    )
    assert found["male"].estimates["specificity"].value == 1
    assert found["male"].estimates["recall"].value is None
    assert found["under 45"].prevalence is None
    assert found["45 to 54"].warnings == ()
    json.dumps([one.as_dict() for one in found.values()], allow_nan=False)


def test_a_stored_subgroup_is_read_back_also_in_its_first_form():
    labels = np.repeat([0, 1], 30)
    subgroup = subgroups.evaluate(_records([1] * 60, [50] * 60, labels), np.linspace(0, 1, 60), seed=0)[1]
    stored = subgroup.as_dict()
    assert stored["positives"] == 30
    assert subgroups.Subgroup.from_dict(stored) == subgroup
    stored["sick"] = stored.pop("positives")
    assert subgroups.Subgroup.from_dict(stored) == subgroup
