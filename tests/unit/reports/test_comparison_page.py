"""The comparison page: its text, and that it runs no script and loads nothing."""

import re
from dataclasses import replace

import pytest
from matplotlib.figure import Figure

from heartline.comparison.candidates import ProductionModel
from heartline.comparison.looks import Look, NewRecords
from heartline.comparison.paired_tests import Interval
from heartline.comparison.verdict import Verdict
from heartline.evaluation.metrics import Estimate
from heartline.reports import comparison_figures, comparison_page, tables
from tests.pages import EVIL, Page
from tests.unit.comparison.cases import ABOUT, candidate, judged


@pytest.fixture(scope="module")
def lr():
    return candidate()


@pytest.fixture(scope="module")
def rf():
    return candidate("rf", "Random forest", gain=0.2)


def render(*candidates, production=None, about=ABOUT, verdict=None, **more) -> bytes:
    found, comparisons = judged(*candidates)
    return comparison_page.render(verdict or found, comparisons, candidates, production=production, about=about, **more)


@pytest.fixture
def undrawn(monkeypatch):
    """No figures, which take most of a page's time."""
    pictures = dict.fromkeys(("roc", "calibration", "auc", "brier"), "")
    monkeypatch.setattr(comparison_figures, "draw", lambda *_, **__: pictures)


@pytest.fixture(scope="module")
def two(lr, rf) -> bytes:
    return render(lr, rf)


def test_the_page_starts_with_the_verdict_and_its_reasons(lr, rf, two):
    verdict, _ = judged(lr, rf)
    text = Page(two).text
    assert verdict.verdict == "no detectable difference"
    assert text.startswith(
        "No detectable difference Model comparison: which model is selected, and why "
        f"No detectable difference {verdict.sentence} Reasons {verdict.reasons[0]} "
        "Verdict no detectable difference Selected Logistic regression The models"
    )


def test_every_score_has_its_interval_for_each_model_out_of_fold_and_held_out(lr, rf, two):
    text = Page(two).text
    for one in lr.evaluation.out_of_fold.values():
        assert text.count(f" {one.value:.3f} {one.low:.3f} to {one.high:.3f} ") >= 2
    shown = [
        f"{one.value:.3f} {one.low:.3f} to {one.high:.3f}"
        for one in (model.evaluation.out_of_fold["brier"] for model in (lr, rf))
    ]
    assert f"Brier score 0 is best: mean squared error of the probability {' '.join(shown)} RMSE" in text
    assert text.index("Out of fold: 240 records") < text.index("Hold-out: 60 records")


def test_the_differences_are_shown_by_each_method_with_the_margins(lr, rf, two):
    _, (found,) = judged(lr, rf)
    text = Page(two).text
    auc, delong, folds, brier = found.auc, found.delong, found.folds, found.brier
    assert (
        f"ROC AUC, bootstrap (decides) {auc.value:+.3f} {auc.low:+.3f} to {auc.high:+.3f} {found.p_value:.3f} "
        f"ROC AUC, DeLong {delong.auc.value:+.3f} {delong.auc.low:+.3f} to {delong.auc.high:+.3f} {delong.p_value:.3f} "
        f"ROC AUC within folds, Nadeau–Bengio {folds.delta:+.3f} {folds.low:+.3f} to {folds.high:+.3f} "
    ) in text
    assert f"Brier score, bootstrap {brier.value:+.3f} {brier.low:+.3f} to {brier.high:+.3f} " in text
    labels = [attributes["aria-label"] for tag, attributes in Page(two).tags if tag == "svg" and "role" in attributes]
    assert labels == [
        "Differences in ROC AUC with their 95 % intervals",
        "Differences in Brier score with their 95 % intervals",
        "ROC curves of all models",
        "Calibration of all models",
    ]
    assert "margin, +0.01" in text


def test_an_interval_is_drawn_where_its_numbers_and_the_margin_are():
    figure = Figure()
    comparison_figures.intervals(
        figure, [comparison_figures.Row("Bootstrap", Interval(0.02, -0.01, 0.05), True)], 0.013, 0.04, "Difference"
    )
    (axis,) = figure.axes
    across = {line.get_label(): list(line.get_xdata()) for line in axis.lines}
    assert across["no difference"] == [0, 0]
    assert across["margin, +0.013"] == [0.013, 0.013]
    (bars,) = axis.collections
    assert bars.get_segments()[0][:, 0] == pytest.approx([-0.01, 0.05])
    assert axis.get_xlim() == pytest.approx((-0.053, 0.053))


def test_the_margins_are_those_of_the_rules(lr, rf):
    rules = comparison_page.VerdictRules(margin=0.023, brier_margin=0.004)
    text = Page(render(lr, rf, rules=rules)).text
    assert "margin, +0.023" in text
    assert "margin, +0.004" in text
    assert "right of the margin of 0.023" in text
    assert "left of the margin of 0.004" in text


def test_the_confusion_matrix_counts_at_the_threshold(lr, two):
    predicted, positive = lr.predictions.probabilities >= 0.5, lr.predictions.labels == 1
    counts = [int((predicted == guess)[positive == truth].sum()) for truth in (False, True) for guess in (False, True)]
    rows = tables.confusion(lr.predictions)
    assert [cell["count"] for row in rows for cell in row["cells"]] == [str(count) for count in counts]
    assert [sum(cell["share"] for cell in row["cells"]) for row in rows] == pytest.approx([1, 1])
    assert [[cell["right"] for cell in row["cells"]] for row in rows] == [[True, False], [False, True]]
    share = f"{100 * counts[0] / (counts[0] + counts[1]):.0f}"
    assert (
        f"Predicted: without disease Predicted: with disease Without disease {counts[0]}{share} % right {counts[1]}"
        in Page(two).text
    )


def test_a_group_that_is_too_small_is_shown_as_words(two):
    text = Page(two).text
    note = "12 records of at least 20"
    assert (
        f"Sex: female 12 records, 3 with disease Logistic regression {' '.join([note] * 4)} Random forest {note}"
        in text
    )
    assert "Sex: male 160 records, 90 with disease Logistic regression 0." in text


def test_the_page_ends_with_data_and_settings(two):
    assert Page(two).text.endswith(
        "Data and settings Run manual__1 Source cleveland.csv Origin uci "
        f"Snapshot (sha256) {'5a' * 32} Folds (sha256) {'f0' * 32} Data contract 1.1.0 Profile full "
        "Single folds 10 for each model, the same for all Bootstrap of the difference 200 draws, seed 0"
    )


def test_full_evidence_on_real_records_carries_no_warning(two):
    assert not [attributes for _, attributes in Page(two).tags if attributes.get("role") == "note"]


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(
    ("changed", "warning"),
    [
        (
            {"origin": "sample"},
            "Synthetic sample: these patients do not exist. The numbers show that the pipeline works; they say "
            "nothing about real patients.",
        ),
        (
            {"profile": "quick"},
            "Quick profile: fewer folds, repeats and trees than the full profile. Its numbers are for experiments, "
            "not for decisions.",
        ),
    ],
)
def test_the_sample_and_the_quick_profile_are_warned_of_before_any_score(lr, changed, warning):
    text = Page(render(lr, about={**ABOUT, **changed})).text
    assert text.count(warning) == 1
    assert text.index(warning) < text.index("All scores")


def test_without_a_production_model_the_page_says_so(two):
    assert "The model in production No model is in production yet." in Page(two).text


@pytest.mark.usefixtures("undrawn")
def test_the_production_model_is_shown_on_the_hold_out_and_on_unseen_records(lr):
    production = ProductionModel(
        "5",
        "file",
        holdout={"roc_auc": Estimate(0.871, 0.771, 0.961, 60)},
        holdout_rows=60,
        unseen={"roc_auc": Estimate(None, None, None, 3, "no record is without the disease")},
        unseen_rows=3,
    )
    text = Page(render(lr, production=production)).text
    assert (
        "Version 5, trained on records of origin file: the served model, not trained again. It does not "
        "enter the verdict. Score This run's hold-out, n = 60 Records it was not trained on, n = 3 "
        "ROC AUC 0.871 0.771 to 0.961 no record is without the disease Data and settings"
    ) in text


@pytest.mark.usefixtures("undrawn")
def test_a_production_model_that_could_not_be_scored_has_the_reason(lr):
    text = Page(render(lr, production=ProductionModel("5", "uci", note="its bundle is missing"))).text
    assert "It does not enter the verdict. its bundle is missing Data and settings" in text


def test_the_page_says_which_look_it_is_and_what_it_spends(lr, rf, undrawn):
    new = NewRecords(61, 59, "the look of 2026-05-01 02:00 UTC")
    text = Page(render(lr, rf, look=Look(2, 0.005, new=new))).text
    assert "Look 2 of the last 365 days Level that it spends 0.0050, one-sided p-value of Random forest 0." in text
    assert "New training records 61 since the look of 2026-05-01 02:00 UTC; a look needs 59" in text
    assert "A run may move production to Random forest no" in text


def test_the_page_says_why_a_comparison_is_no_look(lr, rf, undrawn):
    text = Page(render(lr, rf, look=Look(None, None, "12 new training records since May, the next look needs 59"))).text
    assert "Look none: 12 new training records since May, the next look needs 59 p-value of Random forest" in text
    assert "A run may move production to Random forest no" in text
    assert "Level that it spends" not in text


def test_p_values_name_their_hypothesis(two):
    assert "p-value (two-sided; H0: no difference)" in Page(two).text


def test_one_model_alone_has_no_difference_to_show(lr):
    page = Page(render(lr))
    assert page.text.startswith("Nothing to compare with ")
    assert "Differences Only one model took part, so there is no difference to show." in page.text
    assert len([tag for tag, attributes in page.tags if tag == "svg" and "role" in attributes]) == 2


def test_three_models_stand_side_by_side_the_incumbent_first(lr, rf):
    knn = candidate("knn", "k-nearest neighbours", gain=-0.4)
    verdict, comparisons = judged(lr, rf, knn)
    page = Page(comparison_page.render(verdict, comparisons, [knn, rf, lr], production=None, about=ABOUT))
    assert (
        "The models Logistic regression incumbent winner k-nearest neighbours challenger Random forest challenger The"
        in page.text
    )
    assert "k-nearest neighbours: Bootstrap (decides)" in page.text
    assert "Random forest: DeLong" in page.text


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(
    ("verdict", "winner", "headline", "tone"),
    [
        ("better", "rf", "Random forest is better", "outcome "),
        ("worse", "lr", "Logistic regression is better than its challengers", "outcome same"),
        ("no detectable difference", "lr", "No detectable difference", "outcome same"),
        ("too small to matter", "lr", "A difference too small to matter", "outcome same"),
        ("probabilities may be worse", "lr", "Probabilities may be worse", "outcome same"),
        ("vetoed", "lr", "Minimum requirements not met", "outcome fair"),
        ("vetoed", None, "Minimum requirements not met", "outcome bad"),
    ],
)
def test_each_verdict_has_its_headline_and_colour(lr, rf, verdict, winner, headline, tone):
    page = Page(render(lr, rf, verdict=Verdict(winner, "lr", verdict, [], "So it is.")))
    selected = {"lr": "Logistic regression", "rf": "Random forest", None: "none"}[winner]
    assert page.text.startswith(headline)
    assert f"{headline} So it is. Verdict {verdict} Selected {selected} The models" in page.text
    assert next(attributes["class"] for tag, attributes in page.tags if tag == "section") == tone


def test_an_undefined_score_is_shown_as_words(lr):
    undefined = Estimate(None, None, None, 0, "no record is predicted positive")
    one = candidate(
        out_of_fold={**lr.evaluation.out_of_fold, "precision": undefined, "f1": Estimate(float("nan"), None, None, 0)},
        holdout={},
    )
    html = render(one)
    text = Page(html).text
    assert not re.search(rb"\b(nan|inf|None)\b", html)
    assert "Precision of the predicted positives, the share with disease no record is predicted positive" in text
    assert "F1 harmonic mean of precision and recall not determined" in text
    assert "Hold-out: 0 records" in text


@pytest.mark.usefixtures("undrawn")
def test_folds_that_did_not_converge_are_reported(lr):
    assert "Warning: it did not converge in 3 of 10 folds" in Page(render(candidate(unconverged=3))).text


@pytest.mark.usefixtures("undrawn")
def test_remarks_stand_among_the_reasons(lr, rf):
    verdict, _ = judged(lr, rf)
    assert f"{verdict.reasons[0]} knn cannot be served" in Page(render(lr, rf, remarks=["knn cannot be served"])).text


def test_all_input_is_shown_as_text(lr, rf):
    evil = replace(rf, title=EVIL)
    html = render(
        lr,
        evil,
        production=ProductionModel(EVIL, EVIL, note=EVIL),
        about={**dict.fromkeys(ABOUT, EVIL), EVIL: EVIL},
        remarks=[EVIL],
        verdict=Verdict("rf", "lr", "better", [EVIL], EVIL),
    )
    page = Page(html)
    assert "script" not in {tag for tag, _ in page.tags}
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
    assert page.text.count(EVIL) >= len(ABOUT) + 10


def test_the_page_runs_no_script_and_loads_nothing(two):
    page = Page(two)
    assert not {"script", "link", "iframe", "img", "object", "base"} & {tag for tag, _ in page.tags}
    assert [tag for tag, _ in page.tags].count("style") == 1
    links = [value for _, attributes in page.tags for name, value in attributes.items() if name in ("href", "src")]
    assert {str(link)[0] for link in links} == {"#"}
    assert b"http" not in two
    assert b"@import" not in two
    assert set(re.findall(rb"url\((.)", two)) == {b"#"}


def test_the_figures_share_no_id_and_refer_to_their_own(lr, rf, two):
    page = Page(two)
    assert len(page.ids) == len(set(page.ids))
    pointed = re.findall(r'(?:href="|url\()#([^")]+)', two.decode())
    assert pointed
    assert set(pointed) <= set(page.ids)


def test_the_same_input_gives_the_same_bytes_of_bounded_size(lr, rf, two):
    assert render(lr, rf) == two
    assert len(two) < 200_000


def test_curves_of_many_records_stay_small():
    many = candidate(rows=50_000)
    assert len(render(many)) < 200_000


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda lr, rf: ([lr], ABOUT), "not among the candidates: rf"),
        (lambda lr, rf: ([lr, rf, lr], ABOUT), "a candidate comes twice: ['lr', 'rf', 'lr']"),
        (
            lambda lr, rf: ([lr, rf], {"run": "1", "origin": "uci"}),
            "about does not say: source, snapshot, folds, contract, profile",
        ),
    ],
)
def test_incomplete_input_is_refused(lr, rf, change, message):
    verdict, comparisons = judged(lr, rf)
    candidates, about = change(lr, rf)
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        comparison_page.render(verdict, comparisons, candidates, production=None, about=about)
