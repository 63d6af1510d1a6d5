"""Records on which some or all families cannot be trained: one clear error, or a family that is refused."""

import dataclasses
import json
import logging
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heartline import contract
from heartline.errors import DataError, NoCandidateError
from heartline.evaluation import cross_validation, importance, subgroups
from heartline.packaging import bundle, export, smoke_test
from heartline.pipeline.compare import compare
from heartline.pipeline.ingest import ingest
from heartline.pipeline.preprocess import preprocess
from heartline.pipeline.register import register
from heartline.pipeline.train import train
from heartline.pipeline.validate import validate
from heartline.registry import runs
from heartline.reports import model_figures
from heartline.storage import object_store as stores
from heartline.storage import record_identity, splits
from heartline.training import families
from tests.unit.pipeline.support import FOREST, LINEAR, NOT_OURS, WITH_REFITS, mlflow_counts, prepare, take

# ---- too few records


def test_too_few_records_after_quarantine_stop_the_run_before_training(module_store, mlflow_store, many, tmp_path):
    # given 240 rows, so many of them bad that few positive records are left
    frame = take(many, negative=100, positive=100, negative_holdout=20, positive_holdout=20).reset_index(drop=True)
    frame["cp"] = frame["cp"].where((frame["num"] == 0) | (frame.index % 20 == 0), 9)
    frame.to_csv(tmp_path / "records.csv", index=False)
    # when
    validated = validate(ingest(str(tmp_path / "records.csv")), max_quarantine=1, run="few patients")
    with pytest.raises(DataError) as caught:
        preprocess(validated, profile="full", seed=0)
    # then
    assert str(caught.value) == (
        "too few distinct records with disease to evaluate a model: 5\n"
        "  where:    label 1 of the training set; of 240 rows in the source, 114 are in quarantine and 0 are "
        "duplicates\n"
        "  expected: at least 10, one for each fold\n"
        f"  hint:     train on more data; or correct the rows in quarantine: {validated['quarantine_csv']}; "
        "nothing was trained"
    )
    assert mlflow_counts(mlflow_store)["models"] == 0
    experiment = mlflow_store.get_experiment_by_name(runs.EXPERIMENT).experiment_id
    assert mlflow_store.search_runs([experiment]) == []


@pytest.mark.parametrize(
    ("counts", "what", "where"),
    [
        (
            {"negative": 3, "positive": 20, "negative_holdout": 5, "positive_holdout": 5},
            "too few distinct records without disease to evaluate a model: 3",
            "label 0 of the training set",
        ),
        (
            {"negative": 20, "positive": 0, "negative_holdout": 5, "positive_holdout": 5},
            "the training set has no record with disease",
            "the split of 30 records: 20 for training, 10 held out",
        ),
        (
            {"negative": 20, "positive": 20, "negative_holdout": 5, "positive_holdout": 0},
            "the hold-out has no record with disease",
            "the split of 45 records: 40 for training, 5 held out",
        ),
        (
            {"negative": 20, "positive": 20, "negative_holdout": 0, "positive_holdout": 0},
            "the hold-out has no record without disease",
            "the split of 40 records: 40 for training, 0 held out",
        ),
        (
            {"negative": 0, "positive": 0, "negative_holdout": 0, "positive_holdout": 0},
            "the training set has no record without disease",
            "the split of 0 records: 0 for training, 0 held out",
        ),
    ],
)
def test_a_set_that_cannot_be_split_is_refused(module_store, many, counts, what, where):
    frame = take(many, **counts)
    with pytest.raises(DataError) as caught:
        prepare(frame)
    of = f"of {len(frame)} rows in the source, 0 are in quarantine and 0 are duplicates"
    assert (caught.value.what, caught.value.where) == (what, f"{where}; {of}")
    assert caught.value.hint.startswith("train on more data")
    assert caught.value.hint.endswith("; nothing was trained")


def test_a_column_with_too_few_values_is_refused(module_store, many):
    frame = take(many, negative=30, positive=30, negative_holdout=10, positive_holdout=10)
    prepare(frame.assign(thal=np.where(np.arange(len(frame)) % 5 == 0, np.nan, 3)))
    for number, thal in ((0, np.nan), (63, np.where(np.arange(len(frame)) < 17, np.nan, 3))):
        with pytest.raises(DataError) as caught:
            prepare(frame.assign(thal=thal))
        assert str(caught.value) == (
            f"too few records have a value of thal: {number}\n"
            "  where:    column thal of the 80 records that are used; of 80 rows in the source, 0 are in quarantine "
            "and 0 are duplicates\n"
            "  expected: a value in at least 80% of them\n"
            "  hint:     train on records with this value; nothing was trained"
        )


def test_the_smallest_allowed_set_is_trained_on(module_store, mlflow_store, many, quick_training, caplog):
    prepared = prepare(take(many, negative=4, positive=4, negative_holdout=1, positive_holdout=1), seed=5)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        trained = [train(family, prepared) for family in families.FAMILIES]
        compared = compare(trained, prepared)
    assert [str(one.message) for one in warned if not issubclass(one.category, NOT_OURS)] == []
    assert compared["verdict"] == "vetoed"
    assert compared["winner"] is None
    assert any(
        reason.startswith("logistic regression does not meet the minimum requirements")
        for reason in compared["reasons"]
    )
    registered = register(compared, promotion="if_better")
    assert (registered["version"], registered["promoted"]) == (None, False)


# ---- more records than a tree may see


def test_max_samples_is_recorded_beside_the_parameters(module_store, mlflow_store, many, quick_training, monkeypatch):
    monkeypatch.setattr(families, "MAX_SAMPLES", 50)
    prepared = prepare(take(many, negative=70, positive=60, negative_holdout=15, positive_holdout=15), seed=8)

    trained = train(FOREST, prepared)
    compared = compare([trained], prepared, run="bounded")
    registered = register(compared, promotion="manual")

    files = bundle.open_bundle(stores.get(trained["bundle"]))
    assert export.from_skops(files["model.skops"])[-1].max_samples == 50
    assert json.loads(files["evaluation.json"])["parameters"]["max_samples"] == 50
    assert mlflow_store.get_run(trained["run_id"]).data.params["max_samples"] == "50"
    tags = mlflow_store.get_model_version(contract.MODEL_NAME, registered["version"]).tags
    assert {one["max_samples"] for one in json.loads(tags["parameters"])} == {50}
    card = Path(mlflow_store.download_artifacts(compared["comparison_run"], "model_card_random_forest.html"))
    assert "<dt>max_samples</dt><dd>50</dd>" in card.read_text()


# ---- a class that a fold could lack


@given(negative=st.integers(0, 15), positive=st.integers(0, 15), n_splits=st.integers(2, 10), seed=st.integers(0, 99))
@settings(deadline=None)
def test_each_training_part_and_two_folds_hold_both_classes_or_the_plan_is_refused(negative, positive, n_splits, seed):
    # given groups of one to three records; in every other positive group, one record is labelled negative
    sizes = np.random.default_rng(seed).integers(1, 4, negative + positive)
    groups = np.repeat(np.arange(negative + positive), sizes)
    labels = (groups >= negative).astype("int64")
    firsts = np.flatnonzero(np.diff(groups, prepend=-1))
    labels[firsts[(sizes > 1) & (np.arange(len(sizes)) % 2 == 0)]] = 0
    records = splits.LabelledDataset(np.empty((len(labels), 0)), labels, groups)
    # when there are too few
    few = [(title, n) for title, n in zip(splits.CLASSES, (negative, positive), strict=True) if n < n_splits]
    if few:
        title, number = few[0]
        with pytest.raises(DataError) as caught:
            splits.plan_folds(records, splits=n_splits, repeats=2, seed=seed)
        assert caught.value.what == f"too few distinct records {title} to evaluate a model: {number}"
        assert caught.value.expected == f"at least {n_splits}, one for each fold"
        return
    # when there are enough
    try:
        plan = splits.plan_folds(records, splits=n_splits, repeats=2, seed=seed)
    except DataError as refused:
        assert "folds holds records of both classes" in refused.what
        return
    for repeat in plan:
        assert sum(set(labels[repeat == fold]) == {0, 1} for fold in range(n_splits)) >= 2
        for fold in range(n_splits):
            assert set(labels[repeat != fold]) == {0, 1}


def test_importance_and_subgroups_of_the_smallest_classes_are_computed_or_left_out(cohort):
    records = splits.to_labelled(record_identity.canonical(cohort))
    model = families.fit(LINEAR, records, profile=families.profile("test"), seed=0)
    one_of_each = [int(np.flatnonzero(records.labels == label)[0]) for label in (0, 1)]
    sex = contract.FEATURE_NAMES.index("sex")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        drops = importance.permuted(model, records.features[one_of_each], records.labels[one_of_each], seed=0)
        assert np.isfinite(drops).all()
        for women, positive in [(0, 0), (1, 0), (1, 1), (20, 0), (20, 20), (25, 9), (25, 10)]:
            features = records.features.copy()
            features[:, sex] = np.arange(len(features)) >= women
            labels = np.where(np.arange(len(features)) < women, np.arange(len(features)) < positive, records.labels)
            few = splits.LabelledDataset(features, labels.astype("int64"), records.groups)
            (female, *_) = subgroups.evaluate(few, np.full(len(few), 0.4), seed=0)
            assert (female.name, female.n, female.positives) == ("female", women, positive)
            assert (female.estimates["recall"].value is None) == (positive < subgroups.MIN_OF_CLASS)
            assert (female.estimates["roc_auc"].value is None) == (
                min(positive, women - positive) < subgroups.MIN_OF_CLASS
            )


# ---- a constant column


@pytest.mark.parametrize("constant", [{"sex": 1}, {"chol": 240, "fbs": 0, "ca": 0, "thal": 3, "slope": 2}])
@pytest.mark.parametrize("family", [LINEAR, FOREST])
def test_a_constant_column_is_trained_on_like_any_other(
    module_store, mlflow_store, need, many, capfd, monkeypatch, family, constant
):
    need((Path(smoke_test.ROOT) / ".venv-serving").exists(), "the service's environment")
    drawn: dict[str, bytes] = {}
    draw = model_figures.draw
    monkeypatch.setattr(model_figures, "draw", lambda evidence: drawn.update(draw(evidence)) or drawn)
    kept: list[cross_validation.CrossValidation] = []
    evaluate = cross_validation.evaluate
    monkeypatch.setattr(
        cross_validation, "evaluate", lambda cv, *rest, **named: kept.append(cv) or evaluate(cv, *rest, **named)
    )
    frame = take(many, negative=70, positive=60, negative_holdout=15, positive_holdout=15).assign(**constant)
    prepared = prepare(frame)
    capfd.readouterr()

    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        trained = train(family, prepared)

    assert [str(one.message) for one in warned if not issubclass(one.category, NOT_OURS)] == []
    assert "Warning" not in capfd.readouterr().err, "processes that grow folds warn there"
    assert trained["outcome"] == "trained"
    assert set(drawn) >= {"roc.svg", "calibration.svg", "importance.svg", "scores.svg"}
    assert ("odds_ratios.svg" in drawn) == (family == LINEAR)
    (cv,) = kept
    for name in constant:
        drops = cv.importance[:, contract.FEATURE_NAMES.index(name)]
        assert np.abs(drops).max() < 1e-12, f"{name} has no importance"


# ---- a family that does not converge


def cut_off(iterations: int) -> families.Family:
    """Return the logistic regression with so many iterations."""
    recipe = families.family(LINEAR)

    def parameters(profile: families.Profile, rows: int = 0) -> dict[str, Any]:
        return {**recipe.parameters(profile, rows), "max_iter": iterations}

    return dataclasses.replace(recipe, parameters=parameters)


def test_a_family_that_does_not_converge_is_refused_and_the_others_go_on(pair, monkeypatch, caplog):
    # given
    prepared, forest, mlflow_store = pair.prepared, pair.forest, pair.client
    monkeypatch.setattr(importance, "odds_ratios", WITH_REFITS)
    monkeypatch.setattr(families, "FAMILIES", {**families.FAMILIES, LINEAR: cut_off(1)})
    # when
    with caplog.at_level(logging.INFO, "heartline"), warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        linear = train(LINEAR, prepared, run="cut off")
    compared = compare([linear, forest], prepared, run="cut off")
    registered = register(compared, promotion="manual")
    # then
    assert "Logistic regression did not converge in 8 of 8 folds" in caplog.messages
    assert (linear["outcome"], linear["cause"]) == ("refused", "not converged")
    assert linear["reason"] == "its final model and 8 of 8 folds did not converge"
    assert linear["error"] == (
        "its final model and 8 of 8 folds did not converge\n"
        "  where:    family logistic_regression\n"
        "  expected: convergence of the final model and of at least half of the folds\n"
        "  hint:     allow more iterations, or remove extreme values from its search space, in the entry of "
        "logistic_regression in training.families.FAMILIES"
    )
    assert [one for one in warned if not issubclass(one.category, NOT_OURS)] == [], "our log line replaces the warning"
    remark = "logistic_regression was left out: its final model and 8 of 8 folds did not converge"
    assert remark in compared["reasons"]
    assert compared["winner"] == FOREST
    assert set(registered["versions"]) == {FOREST}
    run = mlflow_store.get_run(linear["run_id"])
    assert (run.info.status, run.data.tags["refused"]) == ("FAILED", linear["error"])
    page = Path(mlflow_store.download_artifacts(compared["comparison_run"], "comparison.html")).read_text()
    assert remark in page

    with pytest.raises(NoCandidateError) as caught:
        compare([linear, {**linear, "family": "another", "reason": "5 of 8 folds did not converge"}], prepared)
    assert str(caught.value) == (
        "no family converged\n"
        "  where:    \n"
        "    - logistic_regression: its final model and 8 of 8 folds did not converge\n"
        "    - another: 5 of 8 folds did not converge\n"
        "  expected: a family whose final model and most of whose folds converge\n"
        "  hint:     check that the records are the intended ones, and that the families' entries in "
        "training.families.FAMILIES allow enough iterations; nothing was registered"
    )


@pytest.mark.parametrize(
    ("final", "folds", "refused"),
    [
        (True, 0, None),
        (True, 4, None),
        (True, 5, "5 of 8 folds did not converge"),
        (False, 0, "its final model did not converge"),
        (False, 1, "its final model and 1 of 8 folds did not converge"),
    ],
)
def test_a_family_is_refused_if_its_final_model_or_most_folds_do_not_converge(
    module_store, mlflow_store, many, quick_training, monkeypatch, cached, final, folds, refused
):
    prepared = prepare(take(many, negative=70, positive=60, negative_holdout=15, positive_holdout=15), seed=5)
    cached(cross_validation, "cross_validate", then=lambda cv: dataclasses.replace(cv, unconverged=folds))
    monkeypatch.setattr(families, "converged", lambda model: final)
    # another key for each: the run of a family that was refused is not the run of one that was not
    monkeypatch.setattr(families, "FAMILIES", {**families.FAMILIES, LINEAR: cut_off(2000 + 2 * folds + final)})

    trained = train(LINEAR, prepared)

    assert trained["outcome"] == ("trained" if refused is None else "refused")
    if refused is not None:
        assert (trained["cause"], trained["reason"]) == ("not converged", refused)
        return
    compared = compare([trained], prepared)
    found = [one for one in compared["reasons"] if "converge" in one]
    assert found == (["logistic_regression did not converge in 4 of 8 folds"] if folds else [])
    card = mlflow_store.download_artifacts(compared["comparison_run"], "model_card_logistic_regression.html")
    assert ("It did not converge in 4 of 8 folds." in Path(card).read_text()) == bool(folds)
