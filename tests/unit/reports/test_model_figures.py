"""The figures of a family: which there are, their numbers, and that their bytes are reproducible."""

import io
import re
import subprocess
import sys
from dataclasses import replace

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image
from sklearn.metrics import confusion_matrix, roc_auc_score

from heartline import contract
from heartline.evaluation import cross_validation, curves, importance
from heartline.reports import model_figures
from heartline.storage import record_identity, splits
from heartline.storage.splits import LabelledDataset
from heartline.training import families
from tests.conftest import ROOT

PROFILE = families.Profile("test", splits=4, repeats=2, trees=20)
SHARED = ["roc", "precision_recall", "confusion_matrix", "calibration", "scores", "importance"]


@pytest.fixture(scope="module")
def records(cohort) -> LabelledDataset:
    return splits.to_labelled(record_identity.canonical(cohort))


@pytest.fixture(scope="module")
def evidence(records) -> dict[str, model_figures.FigureData]:
    plan = splits.plan_folds(records, splits=4, repeats=2, seed=0)
    found = {}
    for name, family in families.FAMILIES.items():
        cv = cross_validation.cross_validate(name, records, plan, profile=PROFILE, seed=0)
        model = families.fit(name, records, profile=PROFILE, seed=0)
        numbers = cross_validation.evaluate(cv, records, records, families.probability(model, records.features), seed=0)
        found[name] = model_figures.FigureData.of(family.title, model, records, (cv, numbers), profile="test", seed=0)
    return found


def _drawn(picture, evidence: model_figures.FigureData) -> Figure:
    figure = Figure(figsize=model_figures.SIZE)
    picture(figure, evidence)
    return figure


def _words(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.findobj(mpl.text.Text) if text.get_text()]


def test_each_family_has_the_same_pictures_and_a_linear_one_its_odds_ratios(evidence):
    assert list(model_figures.draw(evidence["random_forest"])) == [f"{name}.svg" for name in SHARED]
    assert list(model_figures.draw(evidence["logistic_regression"])) == [
        f"{name}.svg" for name in [*SHARED, "odds_ratios"]
    ]


def test_same_evidence_same_bytes_whatever_matplotlib_is_set_to(evidence):
    first = model_figures.draw(evidence["logistic_regression"])
    with mpl.rc_context({"font.size": 20, "lines.linewidth": 9, "figure.dpi": 31, "svg.hashsalt": "other"}):
        assert model_figures.draw(evidence["logistic_regression"]) == first
        assert mpl.rcParams["font.size"] == 20
    assert b"<dc:date>" not in first["roc.svg"]


def test_another_process_draws_the_same_bytes(evidence):
    code = """
import hashlib, sys
import numpy as np
from heartline.reports import model_figures
from heartline.storage.splits import LabelledDataset
from heartline.evaluation.cross_validation import CrossValidation
from heartline.evaluation.metrics import evaluate

def digest():
    random = np.random.default_rng(0)
    labels = random.integers(0, 2, 80)
    predictions = np.clip(0.4 * labels + 0.6 * random.random(80), 0, 1)
    records = LabelledDataset(np.zeros((80, 13)), labels, np.arange(80))
    cv = CrossValidation(predictions[None], np.full(5, 0.9), random.normal(0, 0.02, (5, 13)))
    scores = evaluate(labels, predictions, records.groups, seed=0)
    files = model_figures.draw(model_figures.FigureData("A", "b", records, cv, scores, [], 0))
    return hashlib.sha256(b"".join(files.values())).hexdigest()
"""
    here: dict = {}
    exec(code, here)
    done = subprocess.run(
        [sys.executable, "-c", code + "print(digest())"],
        cwd=ROOT / "include",
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == here["digest"]()


def test_pictures_are_600_pixels_wide_and_not_empty(evidence):
    for name in [*SHARED, "odds_ratios"]:
        figure = _drawn(getattr(model_figures, f"_{name.removesuffix('_matrix')}"), evidence["logistic_regression"])
        data = io.BytesIO()
        figure.savefig(data, format="png", dpi=model_figures.DOTS)
        image = Image.open(data)
        assert image.size == (600, 450), name
        assert len(np.unique(np.asarray(image.convert("L")))) > 20, name


@pytest.mark.parametrize("name", [*SHARED, "odds_ratios"])
def test_no_text_leaves_the_picture(evidence, name):
    figure = _drawn(getattr(model_figures, f"_{name.removesuffix('_matrix')}"), evidence["logistic_regression"])
    used, (width, height) = figure.get_tightbbox(), model_figures.SIZE
    assert 0 <= used.x0 < used.x1 <= width
    assert 0 <= used.y0 < used.y1 <= height


def test_text_is_text_and_the_files_are_small(evidence):
    for name, data in model_figures.draw(evidence["logistic_regression"]).items():
        assert b">Logistic regression: " in data, name
        assert b"DejaVuSans-" not in data, f"{name} draws letters as paths"
        assert len(data) < 40_000, name


@pytest.mark.parametrize("name", [*SHARED, "odds_ratios"])
def test_every_picture_says_whose_it_is_and_what_it_rests_on(evidence, name):
    found = evidence["logistic_regression"]
    figure = _drawn(getattr(model_figures, f"_{name.removesuffix('_matrix')}"), found)
    words = " ".join(_words(figure))
    assert "Logistic regression: " in words
    assert {
        "importance": "Left-out records of 8 folds, mean ± standard deviation over folds; 4 × 2 folds, test profile",
        "odds_ratios": f"Final model, {len(found.records)} training records, middle 95 % of 200 bootstrap refits",
    }.get(name, f"{len(found.records)} training records, out-of-fold probabilities; 4 × 2 folds, test profile") in words


@pytest.mark.parametrize("name", SHARED)
def test_the_same_picture_has_the_same_axes_for_each_family(evidence, name):
    limits = [
        [
            (axis.get_xlim(), axis.get_ylim())
            for axis in _drawn(getattr(model_figures, f"_{name.removesuffix('_matrix')}"), one).axes
        ]
        for one in evidence.values()
    ]
    assert limits[0] == limits[1]


def test_axes_widen_where_something_would_be_cut_off(evidence):
    found = evidence["random_forest"]
    strong = replace(found.cv, importance=np.tile(np.linspace(0, 0.4, 13), (4, 1)))
    (axis,) = _drawn(model_figures._importance, replace(found, cv=strong)).axes
    assert axis.get_xlim() == pytest.approx((-0.05, 0.4))
    sure = replace(found.cv, probabilities=np.where(found.records.labels == 1, 0.99, 0.01)[None])
    (axis,) = _drawn(model_figures._scores, replace(found, cv=sure)).axes
    assert axis.get_ylim() == (0, 1)


def test_confusion_matrix_shows_counts_and_shares(evidence):
    found = evidence["random_forest"]
    counts = confusion_matrix(found.records.labels, found.cv.averaged >= contract.THRESHOLD)
    shares = counts / counts.sum(axis=1, keepdims=True)
    words = _words(_drawn(model_figures._confusion, found))
    for row, which in enumerate(("without", "with")):
        for column in range(2):
            assert f"{counts[row, column]}\n{shares[row, column]:.0%} of those\n{which} disease" in words


def test_roc_curve_is_inside_its_band_and_its_area_is_the_scores(evidence):
    found = evidence["random_forest"]
    labels, groups = found.records.labels, found.records.groups
    curve = curves.roc(labels, found.cv.averaged, groups, seed=0)
    area = np.trapezoid(curve.true_positives, curve.false_positives)
    assert area == pytest.approx(roc_auc_score(labels, found.cv.averaged))
    middle = np.interp(curve.grid[1:], curve.false_positives, curve.true_positives)
    assert (curve.low[1:] <= middle + 0.02).all()
    assert (middle <= curve.high[1:] + 0.02).all()
    assert 0.02 < (curve.high - curve.low)[10:50].mean() < 0.3
    words = _words(_drawn(model_figures._roc, found))
    assert f"ROC AUC {found.estimates['roc_auc']}" in words


def test_roc_band_is_as_wide_as_a_proportions_interval():
    """At a fixed cut-off the recall is a proportion of the positives; the band adds the cut-off's own noise."""
    random = np.random.default_rng(0)
    labels = np.repeat([0, 1], [20_000, 200])
    probabilities = 1 / (1 + np.exp(-random.normal(1.9 * labels, 1)))
    curve = curves.roc(labels, probabilities, np.arange(len(labels)), seed=0)
    at = int(np.argmin(np.abs(curve.grid - 0.2)))
    recall = float(np.interp(0.2, curve.false_positives, curve.true_positives))
    expected = 2 * 1.96 * np.sqrt(recall * (1 - recall) / 200)
    assert curve.high[at] - curve.low[at] == pytest.approx(expected, rel=0.2)


def test_calibration_bins():
    labels = np.array([0, 0, 1, 1, 1])
    found = curves.calibration(labels, np.array([0.0, 0.05, 0.1, 0.95, 1.0]))
    assert found.counts.tolist() == [2, 1, 0, 0, 0, 0, 0, 0, 0, 2]
    assert found.predicted.tolist() == pytest.approx([0.025, 0.1, 0.975])
    assert found.observed.tolist() == [0, 1, 1]
    # Wilson: 0 of 2, 1 of 1, 2 of 2
    assert found.low.tolist() == pytest.approx([0, 0.2065, 0.3424], abs=1e-4)
    assert found.high.tolist() == pytest.approx([0.6576, 1, 1], abs=1e-4)


def test_the_calibration_figure_names_the_slope_and_the_calibration_in_the_large(evidence):
    for one in evidence.values():
        (text,) = (words for words in _words(_drawn(model_figures._calibration, one)) if "Calibration" in words)
        assert text == (
            f"Calibration slope\n{one.estimates['calibration_slope']}\n"
            f"Calibration in the large\n{one.estimates['calibration_in_the_large']}"
        )


def test_odds_ratios_are_the_coefficients_with_their_units(records):
    model = families.fit("logistic_regression", records, profile=PROFILE, seed=0)
    found = importance.odds_ratios(model, records, seed=0)
    assert [one.feature for one in found] == [
        name
        for column in contract.FEATURES
        for name in [column.name] * (1 if column.kind != "code" else len(column.codes) - 1)
    ]
    for one in found:
        assert one.low < one.value < one.high

    by_label = {one.label: one for one in found}
    pressure = next(one for one in found if one.feature == "trestbps")
    assert re.fullmatch(r"Resting blood pressure, \+\d+ mm Hg", pressure.label)
    # one standard deviation more, or another category, in a record: by what the model's odds change
    row = records.features[~np.isnan(records.features).any(axis=1)][:1]
    sex = contract.FEATURE_NAMES.index("sex")
    other = [np.where(np.arange(13) == sex, value, row[0])[None] for value in (0, 1)]
    odds = [p / (1 - p) for p in (families.probability(model, one)[0] for one in other)]
    assert by_label["Sex: male / female"].value == pytest.approx(odds[1] / odds[0])
    deviation = np.nanstd(records.features[:, 3])
    more = row + np.where(np.arange(13) == 3, deviation, 0)
    odds = [p / (1 - p) for p in (families.probability(model, one)[0] for one in (row, more))]
    assert pressure.value == pytest.approx(odds[1] / odds[0])


def test_a_model_without_coefficients_has_no_odds_ratios(records):
    model = families.fit("random_forest", records, profile=PROFILE, seed=0)
    assert importance.odds_ratios(model, records, seed=0) == []


def test_permutation_importance_of_large_folds_is_bounded(records, monkeypatch):
    model = families.fit("logistic_regression", records, profile=PROFILE, seed=0)
    whole = importance.permuted(model, records.features, records.labels, seed=0)
    monkeypatch.setattr(importance, "MAX_ROWS", 100)
    part = importance.permuted(model, records.features, records.labels, seed=0)
    assert whole.shape == part.shape == (13,)
    assert part == pytest.approx(whole, abs=0.08)
    assert (whole != part).any()


def test_nothing_but_drawing_imports_matplotlib():
    code = "import sys; from heartline.reports import model_figures; print('matplotlib' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT / "include", capture_output=True, text=True, check=True
    )
    assert done.stdout == "False\n"
