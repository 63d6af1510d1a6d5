"""Verdicts: the winner, the reasons, the wording, and whether production may be moved."""

import math
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from heartline.comparison import verdict as promotion
from heartline.comparison.compare import Comparison, Difference, OutOfFoldPredictions, compare
from heartline.comparison.paired_tests import DeLong, Interval
from heartline.comparison.verdict import MoveDecision, Performance, Recall, VerdictRules
from heartline.comparison.verdict_names import BETTER, NO_DIFFERENCE, PROBABILITIES, TOO_SMALL, VETOED, WORSE
from heartline.evaluation import cross_validation
from heartline.scores import roc_auc
from heartline.storage import record_identity, splits
from heartline.training.families import PROFILES

GOOD = Performance(auc=0.9, slope=1.0, recalls={"female": Recall(0.7, 0.9, 20), "male": Recall(0.8, 0.9, 90)})
SIMPLICITY = {"logistic_regression": 1, "random_forest": 2, "knn": 3, "boosting": 4}


def against(
    low, high, *, challenger="random_forest", p_value=None, brier=(-0.01, 0.005), incumbent="logistic_regression"
):
    """A comparison whose interval goes from low to high."""
    value = (low + high) / 2
    if p_value is None:
        p_value = 0.001 if low > 0 or high < 0 else 0.5
    return Comparison(
        challenger=challenger,
        incumbent=incumbent,
        rows=242,
        aucs=(0.9 + value, 0.9),
        briers=(0.12 + sum(brier) / 2, 0.12),
        auc=Interval(value, low, high),
        p_value=p_value,
        standard_error=(high - low) / 3.92,
        brier=Interval(sum(brier) / 2, *brier),
        draws=2000,
        seed=0,
        delong=DeLong(Interval(value, low, high), 0.01, p_value),
        folds=Difference(challenger, incumbent, value, low, high, p_value),
    )


def decide(*comparisons, performances=None, incumbent="logistic_regression", **other):
    known = dict.fromkeys((*SIMPLICITY, incumbent), GOOD) | (performances or {})
    return promotion.decide(incumbent, comparisons, performances=known, simplicity=SIMPLICITY, **other)


@pytest.mark.parametrize(
    ("one", "winner", "verdict"),
    [
        (against(-0.02, 0.03), "logistic_regression", NO_DIFFERENCE),
        (against(0.01, 0.03), "random_forest", BETTER),
        (against(-0.03, -0.01), "logistic_regression", WORSE),
        (against(0.001, 0.018), "logistic_regression", TOO_SMALL),
        (against(0.01, 0.03, brier=(-0.01, 0.0101)), "logistic_regression", PROBABILITIES),
        (against(0.001, 0.018, brier=(-0.01, 0.0101)), "logistic_regression", TOO_SMALL),
        (against(-0.001, 0.03, brier=(-0.01, 0.0101)), "logistic_regression", NO_DIFFERENCE),
    ],
    ids=["interval over 0", "better", "worse", "within the margin", "worse Brier score", "both", "neither detected"],
)
def test_only_a_better_challenger_wins(one, winner, verdict):
    decided = decide(one)
    assert (decided.winner, decided.incumbent, decided.verdict) == (winner, "logistic_regression", verdict)


def test_the_margin_itself_is_not_enough():
    one = replace(against(0.005, 0.015), auc=Interval(0.01, 0.005, 0.015))
    assert decide(one).verdict == TOO_SMALL
    assert decide(one, rules=VerdictRules(margin=0.009)).verdict == BETTER


def test_of_several_better_ones_the_best_wins():
    decided = decide(against(0.01, 0.03), against(0.02, 0.05, challenger="knn"))
    assert (decided.winner, decided.verdict) == ("knn", BETTER)
    assert decided.sentence.startswith("Knn, the best of 2 challengers, is better than logistic regression: ")


def test_p_values_are_corrected_for_several_challengers():
    """p = 0.03 is significant for a single challenger, and not for the best of three."""
    significant = against(0.001, 0.05, p_value=0.03)
    others = [against(-0.02, 0.02, challenger=name) for name in ("knn", "boosting")]
    assert decide(significant).verdict == BETTER
    decided = decide(significant, *others)
    assert (decided.winner, decided.verdict) == ("logistic_regression", NO_DIFFERENCE)
    assert "it is not significant among several challengers (p = 0.090 by Holm's correction)" in decided.reasons[0]


def test_holm_is_the_published_procedure():
    assert promotion.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert promotion.holm([0.03]) == [0.03]
    assert promotion.holm([0.9, 0.8]) == [1.0, 1.0]
    assert promotion.holm([]) == []


def test_worse_needs_every_challenger_to_be_worse():
    worse = against(-0.03, -0.01)
    assert decide(worse, against(-0.04, -0.02, challenger="knn")).verdict == WORSE
    assert decide(worse, against(-0.02, 0.05, challenger="knn")).verdict == NO_DIFFERENCE


def test_the_verdict_is_about_the_challenger_whose_difference_is_detected():
    vague, small = against(-0.01, 0.05), against(0.001, 0.018, challenger="knn", p_value=0.001)
    decided = decide(vague, small)
    assert (decided.winner, decided.verdict) == ("logistic_regression", TOO_SMALL)
    assert decided.sentence.startswith("Knn, the best of 2 challengers, ranks patients better than logistic regression")


def test_significance_that_several_challengers_take_away_is_no_detection():
    others = [against(-0.02, 0.02, challenger=name) for name in ("knn", "boosting")]
    decided = decide(against(0.001, 0.018, p_value=0.03), *others)
    assert decided.verdict == NO_DIFFERENCE


def test_the_sentence_is_about_the_challenger_that_is_not_worse():
    sure, vague = against(-0.02, -0.001), against(-0.06, 0.01, challenger="knn")
    assert decide(sure, vague).sentence.startswith(
        "There is no detectable difference between knn, the best of 2 challengers, and logistic regression: "
    )


def test_without_a_challenger_the_incumbent_stays():
    decided = decide()
    assert (decided.winner, decided.verdict, decided.reasons) == ("logistic_regression", NO_DIFFERENCE, [])
    assert decided.sentence == "Logistic regression had no challenger, so it stays."


POOR = replace(GOOD, auc=0.7)


@pytest.mark.parametrize(
    ("poor", "comparisons", "winner", "verdict"),
    [
        (["random_forest"], [against(0.01, 0.03)], "logistic_regression", VETOED),
        (["random_forest", "logistic_regression"], [against(0.01, 0.03)], None, VETOED),
        (["logistic_regression"], [against(-0.02, 0.03)], "random_forest", VETOED),
        (["logistic_regression"], [against(-0.03, -0.01)], None, VETOED),
        (["logistic_regression"], [], None, VETOED),
        (["logistic_regression"], [against(0.01, 0.03)], "random_forest", BETTER),
        (["random_forest"], [against(-0.02, 0.03)], "logistic_regression", NO_DIFFERENCE),
        (["knn"], [against(0.01, 0.03), against(0.02, 0.05, challenger="knn")], "random_forest", BETTER),
        (
            ["logistic_regression"],
            [against(-0.02, 0.05, challenger="boosting"), against(-0.02, 0.03, challenger="knn")],
            "knn",
            VETOED,
        ),
    ],
)
def test_a_model_that_violates_the_minimum_requirements_is_replaced_by_the_next_one(poor, comparisons, winner, verdict):
    decided = decide(*comparisons, performances=dict.fromkeys(poor, POOR))
    assert (decided.winner, decided.verdict) == (winner, verdict)


def test_a_veto_names_the_violations():
    decided = decide(against(0.01, 0.03), performances={"random_forest": POOR})
    assert decided.sentence == (
        "Random forest does not meet the minimum requirements (ROC AUC 0.700, at least 0.75 required), "
        "so logistic regression is put forward; production is unchanged until a user promotes a version."
    )
    assert decided.reasons[1] == (
        "random forest does not meet the minimum requirements: ROC AUC 0.700, at least 0.75 required"
    )
    no_winner = decide(performances={"logistic_regression": POOR})
    assert no_winner.sentence == (
        "Logistic regression does not meet the minimum requirements (ROC AUC 0.700, at least 0.75 required), "
        "and no other model does, so no model is selected."
    )


@pytest.mark.parametrize(
    ("performance", "violated"),
    [
        (GOOD, []),
        (replace(GOOD, auc=0.75), []),
        (replace(GOOD, auc=math.nan), ["ROC AUC nan, at least 0.75 required"]),
        (replace(GOOD, slope=0.4), ["calibration slope 0.40, 0.5 to 2 required"]),
        (replace(GOOD, slope=math.inf), ["calibration slope inf, 0.5 to 2 required"]),
        (
            replace(GOOD, recalls={"female": Recall(0.25, 0.45, 20), "male": Recall(0.8, 0.9, 90)}),
            ["recall 0.25 among 20 with disease (female), 95 % interval up to 0.45, at least 0.5 required"],
        ),
        (replace(GOOD, recalls={"female": Recall(0.45, 0.65, 20)}), []),
        (replace(GOOD, recalls={"female": Recall(0.3, 0.5, 20)}), []),
        (replace(GOOD, recalls={"under 45": Recall(0.25, 0.4, 8)}), []),
        (
            Performance(0.6, 3.0, {"male": Recall(math.nan, math.nan, 20)}),
            [
                "ROC AUC 0.600, at least 0.75 required",
                "calibration slope 3.00, 0.5 to 2 required",
                "recall nan among 20 with disease (male), 95 % interval up to nan, at least 0.5 required",
            ],
        ),
    ],
)
def test_minimum_requirements(performance, violated):
    assert promotion.violations(performance, promotion.RULES) == violated


PAIRS = "of 100 pairs of one patient with and one without heart disease, it ranks the patient with disease higher in"


@pytest.mark.parametrize(
    ("one", "in_production", "sentence"),
    [
        (
            against(0.01, 0.03),
            "7",
            f"Random forest is better than logistic regression: {PAIRS} 92.0, logistic regression in 90.0 "
            "(95 % interval of the difference +1.0 to +3.0; 242 patients).",
        ),
        (
            against(-0.02, 0.03),
            "7",
            "There is no detectable difference between random forest and logistic regression: "
            f"{PAIRS} 90.5, logistic regression in 90.0 "
            "(95 % interval of the difference -2.0 to +3.0; 242 patients), "
            "so version 7 (logistic regression) stays in production.",
        ),
        (
            against(-0.03, -0.01),
            "",
            f"Random forest is worse than logistic regression: {PAIRS} 88.0, logistic regression in 90.0 "
            "(95 % interval of the difference -3.0 to -1.0; 242 patients), so the simpler model, logistic regression, "
            "is put forward.",
        ),
        (
            against(0.002, 0.016),
            "7",
            "Random forest ranks patients better than logistic regression, but by too little to matter (the gain does "
            f"not exceed the margin of 0.01): {PAIRS} 90.9, logistic regression in 90.0 "
            "(95 % interval of the difference +0.2 to +1.6; 242 patients), "
            "so version 7 (logistic regression) stays in production.",
        ),
        (
            against(0.01, 0.03, brier=(0.0, 0.02)),
            "7",
            "Random forest ranks patients better than logistic regression, but its probabilities may be worse (its "
            f"Brier score may be worse by 0.020, at most 0.01 is allowed): {PAIRS} 92.0, logistic regression in 90.0 "
            "(95 % interval of the difference +1.0 to +3.0; 242 patients), "
            "so version 7 (logistic regression) stays in production.",
        ),
    ],
    ids=["better", "no difference", "worse", "too little", "probabilities"],
)
def test_the_verdict_in_one_sentence(one, in_production, sentence):
    assert decide(one, in_production=in_production).sentence == sentence


def test_a_reason_has_the_numbers():
    assert decide(against(0.002, 0.016, brier=(-0.004, 0.02))).reasons == [
        "random forest against logistic regression: ROC AUC 0.909 against 0.900, difference +0.009 "
        "(95 % interval +0.002 to +0.016); Brier score 0.128 against 0.120, difference +0.008 "
        "(95 % interval -0.004 to +0.020): too small to matter (the gain does not exceed the margin of 0.01; "
        "its Brier score may be worse by 0.020, at most 0.01 is allowed)"
    ]


def test_the_incumbent_may_have_a_name_that_is_not_a_family():
    one = against(0.01, 0.03, incumbent="production_version_7")
    decided = decide(one, incumbent="production_version_7", in_production="7")
    assert (decided.winner, decided.incumbent, decided.verdict) == ("random_forest", "production_version_7", BETTER)


def test_comparisons_that_do_not_belong_together_are_refused():
    with pytest.raises(ValueError, match="random_forest was compared with knn, not with logistic_regression"):
        decide(against(0.01, 0.03, incumbent="knn"))
    with pytest.raises(ValueError, match="each one takes part once"):
        decide(against(0.01, 0.03), against(0.01, 0.03))
    with pytest.raises(KeyError, match="random_forest"):
        promotion.decide(
            "logistic_regression",
            [against(0.01, 0.03)],
            performances={"logistic_regression": GOOD},
            simplicity=SIMPLICITY,
        )


@pytest.mark.parametrize(
    ("mode", "verdict", "held_back", "expected"),
    [
        ("manual", BETTER, "", MoveDecision(move=False)),
        ("manual", BETTER, "another recipe", MoveDecision(move=False)),
        ("if_better", BETTER, "", MoveDecision(move=True)),
        ("if_better", BETTER, "another recipe", MoveDecision(move=False, reason="another recipe")),
        ("if_better", NO_DIFFERENCE, "", MoveDecision(move=False)),
        ("if_better", NO_DIFFERENCE, "another recipe", MoveDecision(move=False)),
        ("if_better", WORSE, "", MoveDecision(move=False)),
        ("if_better", VETOED, "", MoveDecision(move=False)),
        ("if_better", TOO_SMALL, "", MoveDecision(move=False)),
        ("if_better", PROBABILITIES, "", MoveDecision(move=False)),
    ],
)
def test_a_run_moves_production_only_where_mode_verdict_and_recipe_allow_it(mode, verdict, held_back, expected):
    assert promotion.may_move_production(mode, verdict, held_back) == expected


def test_a_run_does_not_move_production_where_the_evidence_does_not_suffice():
    assert promotion.may_move_production("if_better", BETTER, "", "no look") == MoveDecision(False, "no look")
    assert promotion.may_move_production("if_better", BETTER, "recipe", "no look") == MoveDecision(False, "recipe")
    assert promotion.may_move_production("manual", BETTER, "", "no look") == MoveDecision(move=False)


def test_an_unknown_promotion_mode_is_refused():
    with pytest.raises(
        ValueError, match="unknown promotion mode 'always': expected one of manual, approval, if_better"
    ):
        promotion.may_move_production("always", BETTER, "")


def test_incumbent_is_productions_family_or_the_simplest():
    families = {"random_forest": 2, "logistic_regression": 1}
    assert promotion.choose_incumbent(families, "random_forest") == "random_forest"
    assert promotion.choose_incumbent(families, None) == "logistic_regression"
    assert promotion.choose_incumbent(families, "retired_family") == "logistic_regression"


@pytest.fixture(scope="module")
def against_flipped(cleveland):
    """Compare a family on Cleveland with itself on a copy of which some training labels are flipped.

    Both are scored on the labels as they are; each of the two is the challenger once.
    """
    records = splits.to_labelled(splits.train_test_split(record_identity.canonical(cleveland))[0])
    profile = PROFILES["quick"]
    plan = splits.plan_folds(records, splits=profile.splits, repeats=profile.repeats, seed=0)
    tests = [repeat == fold for repeat in plan for fold in range(profile.splits)]

    @cache
    def predictions(name, family, share, seed):
        wrong = np.random.default_rng(seed).permutation(len(records)) < share * len(records)
        known = replace(records, labels=np.where(wrong, 1 - records.labels, records.labels))
        cv = cross_validation.cross_validate(family, known, plan, profile=profile, seed=0)
        repeats = np.repeat(cv.probabilities, profile.splits, axis=0)
        aucs = [roc_auc(records.labels[test], p[test]) for test, p in zip(tests, repeats, strict=True)]
        return OutOfFoldPredictions(
            name, cv.probabilities.mean(axis=0), records.labels, records.groups, np.array(aucs), {}
        )

    def run(share, seed, family="logistic_regression"):
        clean, flipped = predictions("clean", family, 0, 0), predictions("flipped", family, share, seed)
        pairs = [(clean, flipped), (flipped, clean)]
        return [compare(one, other, splits=profile.splits, seed=0) for one, other in pairs]

    return run


def verdict_on(one):
    performances = {one.challenger: GOOD, one.incumbent: GOOD}
    return promotion.decide(one.incumbent, [one], performances=performances, simplicity={one.challenger: 1})


@pytest.mark.parametrize("seed", range(4))
def test_a_model_of_flipped_labels_never_wins_and_has_worse_probabilities(against_flipped, seed):
    """The verdict *better* is not certain: 235 records are too few for so small a difference (docs/evidence.md)."""
    clean, flipped = against_flipped(0.15, seed)
    assert clean.brier.high < 0, "the clean model has the better probabilities"
    assert verdict_on(clean).verdict in (BETTER, NO_DIFFERENCE)
    assert verdict_on(flipped).verdict in (WORSE, NO_DIFFERENCE)
    assert verdict_on(flipped).winner == "clean"


def test_a_forest_learns_flipped_labels_and_the_clean_one_is_better(against_flipped):
    """A forest fits single labels, so that every fifth being wrong costs it more than a linear model."""
    verdicts = [[verdict_on(one) for one in against_flipped(0.2, seed, "random_forest")] for seed in range(4)]
    assert [clean.verdict for clean, _ in verdicts].count(BETTER) >= 2
    assert {clean.verdict for clean, _ in verdicts} <= {BETTER, NO_DIFFERENCE}
    assert {flipped.winner for _, flipped in verdicts} == {"clean"}


def test_when_enough_labels_are_flipped_the_clean_model_is_better(against_flipped):
    clean, flipped = against_flipped(0.4, 0)
    assert (verdict_on(clean).winner, verdict_on(clean).verdict) == ("clean", BETTER)
    assert (verdict_on(flipped).winner, verdict_on(flipped).verdict) == ("clean", WORSE)


def test_a_clearly_better_challenger_gets_the_verdict_better():
    """The same from end to end, where the evidence suffices: scores of the ROC AUCs 0.96 and 0.91."""
    random = np.random.default_rng(0)
    labels = (np.arange(242) < 110).astype(np.int64)
    common = 0.92 * random.normal(size=242)
    predictions = {}
    for name, distance in (("strong", 2.48), ("weak", 1.9)):
        score = distance * (common + 0.39 * random.normal(size=242) + distance * (labels - 0.5))
        p = 1 / (1 + np.exp(-score))
        predictions[name] = OutOfFoldPredictions(name, p, labels, np.arange(242), np.full(10, roc_auc(labels, p)), {})
    one = compare(predictions["strong"], predictions["weak"], splits=10, seed=0)
    performances = {"strong": GOOD, "weak": GOOD}
    verdict = promotion.decide("weak", [one], performances=performances, simplicity={"strong": 1})
    assert (verdict.winner, verdict.verdict) == ("strong", BETTER)
