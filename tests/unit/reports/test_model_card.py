"""The model card: its sections and warnings, and that it runs no script and loads nothing."""

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from heartline.comparison.verdict import Verdict
from heartline.evaluation import metrics
from heartline.evaluation.cross_validation import Evaluation
from heartline.evaluation.metrics import Estimate
from heartline.reports import model_card
from tests.conftest import ROOT
from tests.pages import EVIL, Page
from tests.unit.comparison.cases import ABOUT, candidate, judged

STORED = ROOT / "tests" / "fixtures" / "v1" / "evaluation" / "evaluation.json"

COUNTS = {"rows": "303", "used": "300", "duplicates": "1", "quarantined": "2", "encoding": "uci"}


@pytest.fixture(scope="module")
def lr():
    return replace(candidate(), parameters={"max_iter": 1000, "C": 0.1})


@pytest.fixture(scope="module")
def rf():
    return candidate("rf", "Random forest", gain=0.2)


@pytest.fixture(scope="module")
def verdict(lr, rf) -> Verdict:
    return judged(lr, rf)[0]


@pytest.fixture(scope="module")
def card(lr, verdict) -> Page:
    return Page(model_card.render(lr, verdict, about={**ABOUT, **COUNTS}))


def test_it_starts_with_the_model_and_that_it_is_no_medical_device(card):
    assert card.text.startswith(
        "Model card: Logistic regression Model card Logistic regression: the probability of heart disease "
        "A model of heart-disease. This is the selected model. "
        "Not a medical device. It has not been approved for the care of patients. Intended use"
    )


def test_the_threshold_is_called_a_convention(card):
    assert "A probability of 0.5 or more is the prediction “with disease”. This threshold is a convention" in card.text


def test_its_sections_are_those_of_a_model_card(card):
    headings = (
        "Intended use",
        "Not intended",
        "Data",
        "Recipe",
        "Tuning",
        "Scores",
        "Calibration",
        "By sex and age",
        "Limits",
        "The comparison",
        "Data set, licence and citation",
    )
    found = [card.text.find(f" {one} ") for one in headings]
    assert -1 not in found
    assert found == sorted(found)
    assert "Mitchell and others (2019), “Model Cards for Model Reporting”" in card.text


def test_the_data_are_counted_and_named(card):
    assert "240 training records, 111 of them with disease." in card.text
    assert (
        "Run manual__1 Source cleveland.csv Origin uci Codes read as uci Rows in the source 303 Records used 300 "
        f"Duplicate rows 1 Rows in quarantine 2 Snapshot (sha256) {'5a' * 32}"
    ) in card.text


def test_the_recipe_and_the_choices_of_the_folds_are_shown(card):
    assert "Hyperparameters of this model C 0.1 max_iter 1000 Tuning In each fold" in card.text
    assert "The choices of the folds: C=0.1 8 of 10 folds C=1.0 2 of 10 folds Scores" in card.text


@pytest.mark.parametrize("chosen", [{}, {"": 10}])
def test_without_a_search_space_nothing_was_tuned(verdict, chosen):
    text = Page(model_card.render(candidate(chosen=chosen), verdict, about=ABOUT)).text
    assert "Nothing was tuned: the hyperparameters are fixed." in text


def test_scores_have_intervals_and_small_groups_have_words(lr, card):
    one = lr.evaluation.out_of_fold["roc_auc"]
    shown = f"{one.value:.3f} {one.low:.3f} to {one.high:.3f}"
    assert f"ROC AUC pairs of a patient with and one without disease in the right order {shown} {shown} " in card.text
    assert "ROC AUC within single folds, mean ± standard deviation over folds: 0.912 ± 0.031." in card.text
    assert "Sex: female 12 records, 3 with disease Logistic regression 12 records of at least 20 " in card.text
    assert "female: no ROC AUC, 12 records of at least 20." in card.text


@pytest.mark.parametrize(
    ("slope", "meaning"),
    [
        (Estimate(0.6, 0.5, 0.9, 9), "0.600 (95 % interval 0.500 to 0.900): the model is overconfident: its probab"),
        (Estimate(2.0, 1.5, 2.9, 9), "2.000 (95 % interval 1.500 to 2.900): the model is underconfident: its prob"),
        (Estimate(1.1, 0.9, 1.3, 9), "1.100 (95 % interval 0.900 to 1.300): no detectable deviation from 1."),
    ],
)
def test_the_calibration_is_explained(lr, verdict, slope, meaning):
    one = candidate(out_of_fold={**lr.evaluation.out_of_fold, "calibration_slope": slope})
    assert f"Calibration slope {meaning}" in Page(model_card.render(one, verdict, about=ABOUT)).text


def test_risks_are_higher_than_predicted_where_the_intercept_at_the_fitted_slope_is_below_0(lr, verdict):
    random = np.random.default_rng(0)
    log_odds = random.normal(-3, 1.5, 4000)  # as predicted
    labels = (random.random(4000) < expit(0.5 * log_odds - 0.4)).astype("int64")
    joint = LogisticRegression(C=np.inf, tol=1e-8).fit(log_odds[:, None], labels)
    probabilities = expit(log_odds)
    assert joint.intercept_[0] < 0 < labels.mean() - probabilities.mean()
    found = metrics.evaluate(labels, probabilities, np.arange(4000), seed=0, draws=200)
    text = Page(model_card.render(candidate(out_of_fold=found), verdict, about=ABOUT)).text
    shown = f"{found['calibration_in_the_large'].value:.3f}"
    assert f"Calibration in the large {shown} (95 % interval " in text
    (sentence,) = (one for one in text.split(". ") if "Calibration in the large 0." in one and "interval" in one)
    assert sentence.endswith("risks are higher than predicted")


def test_an_evaluation_stored_before_0_4_has_a_card(lr, verdict):
    first = Evaluation.from_dict(json.loads(STORED.read_text()))
    assert "calibration_intercept" in first.out_of_fold
    old = candidate(out_of_fold=first.out_of_fold, holdout=first.holdout)
    text = Page(model_card.render(old, verdict, about=ABOUT)).text
    assert "Calibration in the large: not measured by the release that trained this model." in text
    assert "Calibration slope " in text


def test_a_calibration_that_is_not_defined_says_why(lr, verdict):
    missing = Estimate(None, None, None, 9, "all records have the disease")
    one = candidate(out_of_fold={**lr.evaluation.out_of_fold, "calibration_slope": missing})
    html = model_card.render(one, verdict, about=ABOUT)
    assert "Calibration slope: all records have the disease." in Page(html).text
    assert b"None" not in html
    assert b">nan" not in html


@pytest.mark.parametrize(
    ("winner", "role"),
    [
        ("lr", "This is the selected model."),
        ("rf", "This model was not selected; rf was."),
        (None, "No model of this comparison was selected."),
    ],
)
def test_its_role_in_the_comparison_is_shown(lr, winner, role):
    verdict = Verdict(winner, "lr", "vetoed", ["a reason"], "So it is.")
    text = Page(model_card.render(lr, verdict, about=ABOUT)).text
    assert role in text
    assert "The comparison vetoed So it is. a reason" in text


def test_only_uci_is_cited_and_called_one_centre_with_303_patients(lr, verdict, card):
    other = Page(model_card.render(lr, verdict, about={**ABOUT, "origin": "postgres"})).text
    assert "doi 10.24432/C52P4X" in card.text
    assert "Creative Commons Attribution 4.0" in card.text
    assert "One centre, 303 patients" in card.text
    assert "10.24432" not in other
    assert "303 patients" not in other
    assert "Records from a database." in other
    assert "No records of another centre have tested it." in other


def test_the_sample_and_the_quick_profile_are_warned_of(lr, verdict, card):
    text = Page(model_card.render(lr, verdict, about={**ABOUT, "origin": "sample", "profile": "quick"})).text
    for warning in ("Synthetic sample: these patients do not exist.", "Quick profile: fewer folds"):
        assert warning in text
        assert warning not in card.text
    assert "Trained on synthetic records: it must not be used on patients, not even for study." in text


def test_all_input_is_shown_as_text(lr):
    evil = replace(lr, title=EVIL, parameters={EVIL: EVIL})
    verdict = Verdict("lr", "lr", "better", [EVIL], EVIL)
    page = Page(model_card.render(evil, verdict, about={**dict.fromkeys(ABOUT, EVIL), EVIL: EVIL}))
    assert "script" not in {tag for tag, _ in page.tags}
    assert page.text.count(EVIL) >= len(ABOUT) + 8


def test_the_card_runs_no_script_loads_nothing_and_is_reproducible(lr, verdict):
    html = model_card.render(lr, verdict, about=ABOUT)
    tags = Page(html).tags
    assert html == model_card.render(lr, verdict, about=ABOUT)
    assert not {"script", "link", "iframe", "img", "object", "base", "a"} & {tag for tag, _ in tags}
    assert b"http" not in html
    assert len(html) < 50_000


def test_incomplete_facts_are_refused(lr, verdict):
    with pytest.raises(ValueError, match=r"^about does not say: profile$"):
        model_card.render(lr, verdict, about={name: ABOUT[name] for name in ABOUT if name != "profile"})
