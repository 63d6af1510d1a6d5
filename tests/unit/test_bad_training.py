"""What a training run does with what it should never meet: one clear error, or a family less; nothing is doubled."""

import dataclasses
import html
import json
import logging
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mlflow.exceptions import MlflowException

from heartline import (
    bundles,
    candidates,
    contract,
    dataset,
    evaluation,
    export,
    figures,
    gate,
    importance,
    registry,
    runs,
    sample,
    stages,
    subgroups,
    training,
)
from heartline import store as stores
from heartline.errors import DataError, NoCandidateError, RegistryError

WITH_REFITS = importance.odds_ratios
LINEAR, FOREST = "logistic_regression", "random_forest"
NOT_OURS = (DeprecationWarning, PendingDeprecationWarning)  # between libraries, and nothing about the numbers
POINTS = ("cv_roc_auc", "delta_auc", "used")  # one of each kind of run


@pytest.fixture(scope="module", autouse=True)
def small() -> Iterator[None]:
    """A profile of few folds and trees."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(training.PROFILES, "test", training.Profile("test", splits=4, repeats=2, trees=20))
        yield


@pytest.fixture(scope="module")
def many() -> pd.DataFrame:
    """Five thousand records, of which as many of each kind are taken as a test needs."""
    return sample.generate(5000)


def leave_out(patch: pytest.MonkeyPatch) -> None:
    """Start no service and draw nothing."""
    patch.setattr(gate, "admit", lambda bundle: gate.Admission("0" * 64, 32, 0.0))
    patch.setattr(figures, "draw", lambda evidence: {})
    patch.setattr(importance, "odds_ratios", lambda model, records, seed: [])


@pytest.fixture
def unasked(monkeypatch) -> None:
    """Train without the service and without pictures."""
    leave_out(monkeypatch)


@pytest.fixture(scope="module")
def pair(module_store, mlflow_store, many) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """What was prepared, and both families trained on it."""
    prepared = prepare(taken(many, healthy=70, sick=60, healthy_held=15, sick_held=15), seed=4)
    with pytest.MonkeyPatch.context() as patch:
        leave_out(patch)
        return prepared, [stages.train(family, prepared) for family in (LINEAR, FOREST)]


def prepare(frame: pd.DataFrame, *, seed: int = 0, profile: str = "test") -> dict[str, Any]:
    """Return what ``preprocess`` makes of records that passed the checkpoint."""
    records = dataset.canonical(frame)
    validated = {
        "snapshot": dataset.write_snapshot(records),
        "origin": "sample",
        "source": "a test",
        "encoding": "uci",
        "validation_run": "0" * 32,
        "report": stores.put(b"{}", "reports", ".json"),
        "page": stores.put(b"<p>", "pages", ".html"),
        "quarantine_csv": "file:///quarantine.csv",
        "rows": len(frame),
        "used": len(records),
        "duplicates": len(frame) - len(records),
        "quarantined": 0,
    }
    return stages.preprocess(validated, profile=profile, seed=seed)


def taken(many: pd.DataFrame, **counts: int) -> pd.DataFrame:
    """Return so many records: healthy and sick ones to train on, healthy and sick ones to hold out."""
    held = dataset.fingerprints(many)[0] < np.uint64(dataset.HOLDOUT_SHARE * 2**64)
    sick = (many["num"] > 0).to_numpy()
    kinds = {"healthy": ~sick & ~held, "sick": sick & ~held, "healthy_held": ~sick & held, "sick_held": sick & held}
    return pd.concat([many[kinds[name]].iloc[:count] for name, count in counts.items()])


def everything(client: mlflow.MlflowClient) -> dict[str, int]:
    """Return how much stands in MLflow."""
    ids = [one.experiment_id for one in client.search_experiments()]
    runs = client.search_runs(ids)
    return {
        "runs": len(runs),
        "points": sum(len(client.get_metric_history(one.info.run_id, name)) for one in runs for name in POINTS),
        "models": len(client.search_logged_models(ids)),
        "versions": len(client.search_model_versions(f"name = '{contract.MODEL_NAME}'")),
    }


# ---- too few records


def test_what_quarantine_leaves_may_be_too_little_and_the_run_stops_before_training(
    module_store, mlflow_store, many, tmp_path
):
    # given 240 rows of which so many are bad that six patients are left
    frame = taken(many, healthy=100, sick=100, healthy_held=20, sick_held=20).reset_index(drop=True)
    frame["cp"] = frame["cp"].where((frame["num"] == 0) | (frame.index % 20 == 0), 9)
    frame.to_csv(tmp_path / "records.csv", index=False)
    # when
    validated = stages.validate(stages.ingest(str(tmp_path / "records.csv")), max_quarantine=1, run="few patients")
    with pytest.raises(DataError) as caught:
        stages.preprocess(validated, profile="full", seed=0)
    # then
    assert str(caught.value) == (
        "too few distinct records with disease to evaluate a model: 5\n"
        "  where:    label 1 of the training set; of 240 rows in the source 114 are in quarantine, 0 repeat another\n"
        "  expected: at least 10, one for each fold\n"
        f"  do:       train on more data; or mend the rows in quarantine: {validated['quarantine_csv']}; nothing was "
        "trained"
    )
    assert everything(mlflow_store)["models"] == 0
    experiment = mlflow_store.get_experiment_by_name(runs.EXPERIMENT).experiment_id
    assert mlflow_store.search_runs([experiment]) == []


@pytest.mark.parametrize(
    ("counts", "what", "where"),
    [
        (
            {"healthy": 3, "sick": 20, "healthy_held": 5, "sick_held": 5},
            "too few distinct records without disease to evaluate a model: 3",
            "label 0 of the training set",
        ),
        (
            {"healthy": 20, "sick": 0, "healthy_held": 5, "sick_held": 5},
            "the training set has no record with disease",
            "the division of 30 records: 20 to train on, 10 held out",
        ),
        (
            {"healthy": 20, "sick": 20, "healthy_held": 5, "sick_held": 0},
            "the hold-out has no record with disease",
            "the division of 45 records: 40 to train on, 5 held out",
        ),
        (
            {"healthy": 20, "sick": 20, "healthy_held": 0, "sick_held": 0},
            "the hold-out has no record without disease",
            "the division of 40 records: 40 to train on, 0 held out",
        ),
        (
            {"healthy": 0, "sick": 0, "healthy_held": 0, "sick_held": 0},
            "the training set has no record without disease",
            "the division of 0 records: 0 to train on, 0 held out",
        ),
    ],
)
def test_a_set_that_cannot_be_divided_is_refused(module_store, many, counts, what, where):
    frame = taken(many, **counts)
    with pytest.raises(DataError) as caught:
        prepare(frame)
    of = f"of {len(frame)} rows in the source 0 are in quarantine, 0 repeat another"
    assert (caught.value.what, caught.value.where) == (what, f"{where}; {of}")
    assert caught.value.do.startswith("train on more data")
    assert caught.value.do.endswith("; nothing was trained")


def test_a_column_that_quarantine_left_without_values_is_refused(module_store, many):
    frame = taken(many, healthy=30, sick=30, healthy_held=10, sick_held=10)
    prepare(frame.assign(thal=np.where(np.arange(len(frame)) % 5 == 0, np.nan, 3)))
    for number, thal in ((0, np.nan), (63, np.where(np.arange(len(frame)) < 17, np.nan, 3))):
        with pytest.raises(DataError) as caught:
            prepare(frame.assign(thal=thal))
        assert str(caught.value) == (
            f"too few records have a value of thal: {number}\n"
            "  where:    column thal of the 80 records that are used; of 80 rows in the source 0 are in quarantine, 0 "
            "repeat another\n"
            "  expected: a value in at least 80% of them\n"
            "  do:       train on records that have it; nothing was trained"
        )


def test_the_least_that_may_be_trained_on_is_trained_on(module_store, mlflow_store, many, unasked, caplog):
    prepared = prepare(taken(many, healthy=4, sick=4, healthy_held=1, sick_held=1))
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        trained = [stages.train(family, prepared) for family in training.FAMILIES]
        compared = stages.compare(trained, prepared)
    assert [str(one.message) for one in warned if not issubclass(one.category, NOT_OURS)] == []
    assert compared["verdict"] == "vetoed"
    assert compared["winner"] is None
    assert any(
        reason.startswith("logistic regression does not pass the minimum bars") for reason in compared["reasons"]
    )
    registered = stages.register(compared, promote="if_better")
    assert (registered["version"], registered["promoted"]) == (None, False)


# ---- more records than a tree may see


def test_what_bounds_a_tree_is_said_wherever_its_parameters_are(module_store, mlflow_store, many, unasked, monkeypatch):
    monkeypatch.setattr(training, "MAX_SAMPLES", 50)
    prepared = prepare(taken(many, healthy=70, sick=60, healthy_held=15, sick_held=15), seed=8)

    trained = stages.train(FOREST, prepared)
    compared = stages.compare([trained], prepared, run="bounded")
    registered = stages.register(compared, promote="manual")

    files = bundles.open_bundle(stores.get(trained["bundle"]))
    assert export.from_skops(files["model.skops"])[-1].max_samples == 50
    assert json.loads(files["evaluation.json"])["parameters"]["max_samples"] == 50
    assert mlflow_store.get_run(trained["run_id"]).data.params["max_samples"] == "50"
    tags = mlflow_store.get_model_version(contract.MODEL_NAME, registered["version"]).tags
    assert {one["max_samples"] for one in json.loads(tags["parameters"])} == {50}
    card = Path(mlflow_store.download_artifacts(compared["comparison_run"], "model_card_random_forest.html"))
    assert "<dt>max_samples</dt><dd>50</dd>" in card.read_text()


# ---- a class that a fold could lack


@given(healthy=st.integers(0, 15), sick=st.integers(0, 15), splits=st.integers(2, 10), seed=st.integers(0, 99))
@settings(deadline=None)
def test_each_fold_and_what_it_is_trained_on_hold_both_classes_or_the_plan_is_refused(healthy, sick, splits, seed):
    # given groups of one to three records, in every other group of patients one who is not labelled as sick
    sizes = np.random.default_rng(seed).integers(1, 4, healthy + sick)
    groups = np.repeat(np.arange(healthy + sick), sizes)
    labels = (groups >= healthy).astype("int64")
    firsts = np.flatnonzero(np.diff(groups, prepend=-1))
    labels[firsts[(sizes > 1) & (np.arange(len(sizes)) % 2 == 0)]] = 0
    records = dataset.Labelled(np.empty((len(labels), 0)), labels, groups)
    # when there are too few
    few = [(title, n) for title, n in zip(dataset.CLASSES, (healthy, sick), strict=True) if n < splits]
    if few:
        title, number = few[0]
        with pytest.raises(DataError) as caught:
            dataset.plan_folds(records, splits=splits, repeats=2, seed=seed)
        assert caught.value.what == f"too few distinct records {title} to evaluate a model: {number}"
        assert caught.value.expected == f"at least {splits}, one for each fold"
        return
    # when there are enough
    for repeat in dataset.plan_folds(records, splits=splits, repeats=2, seed=seed):
        for fold in range(splits):
            for side in (repeat == fold, repeat != fold):
                assert set(labels[side]) == {0, 1}


def test_importance_and_subgroups_of_the_smallest_classes_say_what_they_can(cohort):
    records = dataset.labelled(dataset.canonical(cohort))
    model = training.fit(LINEAR, records, profile=training.profile("test"), seed=0)
    one_of_each = [int(np.flatnonzero(records.labels == label)[0]) for label in (0, 1)]
    sex = contract.FEATURE_NAMES.index("sex")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        drops = importance.permuted(model, records.features[one_of_each], records.labels[one_of_each], seed=0)
        assert np.isfinite(drops).all()
        for women, sick in [(0, 0), (1, 0), (1, 1), (20, 0), (20, 20), (25, 9), (25, 10)]:
            features = records.features.copy()
            features[:, sex] = np.arange(len(features)) >= women
            labels = np.where(np.arange(len(features)) < women, np.arange(len(features)) < sick, records.labels)
            few = dataset.Labelled(features, labels.astype("int64"), records.groups)
            (female, *_) = subgroups.evaluate(few, np.full(len(few), 0.4), seed=0)
            assert (female.name, female.n, female.sick) == ("female", women, sick)
            assert (female.estimates["recall"].value is None) == (sick < subgroups.MIN_OF_CLASS)
            assert (female.estimates["roc_auc"].value is None) == (min(sick, women - sick) < subgroups.MIN_OF_CLASS)


# ---- a constant column


@pytest.mark.parametrize("constant", [{"sex": 1}, {"chol": 240, "fbs": 0, "ca": 0, "thal": 3, "slope": 2}])
@pytest.mark.parametrize("family", [LINEAR, FOREST])
def test_a_constant_column_is_trained_on_like_any_other(
    module_store, mlflow_store, need, many, capfd, monkeypatch, family, constant
):
    need((Path(gate.ROOT) / ".venv-serving").exists(), "the service's environment")
    drawn: dict[str, bytes] = {}
    draw = figures.draw
    monkeypatch.setattr(figures, "draw", lambda evidence: drawn.update(draw(evidence)) or drawn)
    kept: list[evaluation.CrossValidation] = []
    evaluate = evaluation.evaluate
    monkeypatch.setattr(
        evaluation, "evaluate", lambda cv, *rest, **named: kept.append(cv) or evaluate(cv, *rest, **named)
    )
    frame = taken(many, healthy=70, sick=60, healthy_held=15, sick_held=15).assign(**constant)
    prepared = prepare(frame)
    capfd.readouterr()

    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        trained = stages.train(family, prepared)

    assert [str(one.message) for one in warned if not issubclass(one.category, NOT_OURS)] == []
    assert "Warning" not in capfd.readouterr().err, "processes that grow folds warn there"
    assert "refused" not in trained
    assert set(drawn) >= {"roc.svg", "calibration.svg", "importance.svg", "scores.svg"}
    assert ("odds_ratios.svg" in drawn) == (family == LINEAR)
    (cv,) = kept
    for name in constant:
        drops = cv.importance[:, contract.FEATURE_NAMES.index(name)]
        assert np.abs(drops).max() < 1e-12, f"{name} can tell nobody apart"


# ---- a family that does not converge


def cut_off(iterations: int) -> training.Family:
    """Return the logistic regression with so many iterations."""
    recipe = training.family(LINEAR)

    def parameters(profile: training.Profile, rows: int = 0) -> dict[str, Any]:
        return {**recipe.parameters(profile, rows), "max_iter": iterations}

    return dataclasses.replace(recipe, parameters=parameters)


def test_a_family_that_does_not_converge_is_named_and_the_others_go_on(
    pair, mlflow_store, unasked, monkeypatch, caplog
):
    # given
    prepared, (_, forest) = pair
    monkeypatch.setattr(importance, "odds_ratios", WITH_REFITS)
    monkeypatch.setattr(training, "FAMILIES", {**training.FAMILIES, LINEAR: cut_off(1)})
    # when
    with caplog.at_level(logging.INFO, "heartline"), warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        linear = stages.train(LINEAR, prepared, run="cut off")
    compared = stages.compare([linear, forest], prepared, run="cut off")
    registered = stages.register(compared, promote="manual")
    # then
    assert "Logistic regression did not converge in 8 of 8 folds" in caplog.messages
    assert linear["unconverged"] == "its final model and 8 of 8 folds did not converge"
    assert linear["refused"] == (
        "its final model and 8 of 8 folds did not converge\n"
        "  where:    family logistic_regression\n"
        "  expected: a final model and at least half of the folds that stop before their iterations are used up\n"
        "  do:       allow more iterations, or fewer extremes in its search space, in the entry of logistic_regression "
        "in training.FAMILIES"
    )
    assert "bundle" not in linear
    assert [one for one in warned if not issubclass(one.category, NOT_OURS)] == [], "it was said in our words"
    remark = "logistic_regression was left out: its final model and 8 of 8 folds did not converge"
    assert remark in compared["reasons"]
    assert compared["winner"] == FOREST
    assert set(registered["versions"]) == {FOREST}
    run = mlflow_store.get_run(linear["run_id"])
    assert (run.info.status, run.data.tags["refused"]) == ("FAILED", linear["refused"])
    page = Path(mlflow_store.download_artifacts(compared["comparison_run"], "comparison.html")).read_text()
    assert remark in page

    with pytest.raises(NoCandidateError) as caught:
        stages.compare(
            [linear, {**linear, "family": "another", "unconverged": "5 of 8 folds did not converge"}], prepared
        )
    assert str(caught.value) == (
        "no family converged\n"
        "  where:    \n"
        "    - logistic_regression: its final model and 8 of 8 folds did not converge\n"
        "    - another: 5 of 8 folds did not converge\n"
        "  expected: at least one whose final model and most of whose folds stop by themselves\n"
        "  do:       see whether the records are what they were meant to be, and whether the families' entries in "
        "training.FAMILIES allow enough iterations; nothing was registered"
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
def test_who_is_left_out_for_not_converging(
    module_store, mlflow_store, many, unasked, monkeypatch, cached, final, folds, refused
):
    prepared = prepare(taken(many, healthy=70, sick=60, healthy_held=15, sick_held=15), seed=5)
    cached(evaluation, "cross_validate", then=lambda cv: dataclasses.replace(cv, unconverged=folds))
    monkeypatch.setattr(training, "converged", lambda model: final)
    # another key for each: the run of a family that was refused is not the run of one that was not
    monkeypatch.setattr(training, "FAMILIES", {**training.FAMILIES, LINEAR: cut_off(2000 + 2 * folds + final)})

    trained = stages.train(LINEAR, prepared)

    assert trained.get("unconverged") == refused
    assert ("bundle" in trained) == (refused is None)
    if refused is not None:
        return
    compared = stages.compare([trained], prepared)
    said = [one for one in compared["reasons"] if "converge" in one]
    assert said == (["logistic_regression did not converge in 4 of 8 folds"] if folds else [])
    card = mlflow_store.download_artifacts(compared["comparison_run"], "model_card_logistic_regression.html")
    assert ("It did not converge in 4 of 8 folds." in Path(card).read_text()) == bool(folds)


@pytest.fixture(scope="module")
def _results() -> dict[str, Any]:
    return {}


@pytest.fixture
def cached(monkeypatch, _results) -> Callable[..., None]:
    """Let a costly function be computed once in this module, for the same training set."""

    def cache(module: Any, name: str, then: Callable[[Any], Any] = lambda result: result) -> None:
        original = getattr(module, name)

        def call(*arguments: Any, **named: Any) -> Any:
            key = f"{name} {[len(one) for one in arguments if isinstance(one, dataset.Labelled)]}"
            if key not in _results:
                _results[key] = original(*arguments, **named)
            return then(_results[key])

        monkeypatch.setattr(module, name, call)

    return cache


# ---- MLflow away in the middle

CALLS = (
    *("create_experiment", "get_experiment_by_name", "search_runs", "create_run", "log_batch", "log_inputs"),
    *("log_artifacts", "set_terminated", "search_registered_models", "get_model_version", "search_model_versions"),
    *("search_logged_models", "create_logged_model", "log_model_artifacts", "finalize_logged_model"),
    *("get_run", "log_outputs"),
    *("create_registered_model", "create_model_version", "set_model_version_tag", "set_registered_model_alias"),
    "set_registered_model_tag",
)


def away_after(patch: pytest.MonkeyPatch, count: int) -> None:
    """Let MLflow answer so many questions, and then no more."""
    left = [count]

    def short_lived(original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            if left[0] == 0:
                raise MlflowException("API request failed with exception Connection refused")
            left[0] -= 1
            return original(*arguments, **named)

        return call

    for name in CALLS:
        patch.setattr(mlflow.MlflowClient, name, short_lived(getattr(mlflow.MlflowClient, name)))


def until_it_is_back(stage: Callable[[], Any]) -> tuple[Any, int]:
    """Return what a stage returns in the end, and how often MLflow was away before, each time one question later."""
    outages = 0
    while True:
        with pytest.MonkeyPatch.context() as patch:
            away_after(patch, outages)
            try:
                return stage(), outages
            except RegistryError as error:
                assert error.what.startswith("MLflow did not let us "), error
                assert "Connection refused" in error.what
                assert (
                    error.do
                    == "see that MLflow and its database run (./heartline status); the task is retried by itself"
                )
                outages += 1


def test_mlflow_away_at_any_moment_is_a_retry_that_doubles_nothing(module_store, mlflow_store, many, unasked, cached):
    # given what an undisturbed run adds
    for module, name in ((evaluation, "cross_validate"), (evaluation, "evaluate"), (training, "fit")):
        cached(module, name)
    frame = taken(many, healthy=70, sick=60, healthy_held=15, sick_held=15)
    added, outages = [], []
    for seed, disturbed in ((6, False), (7, True)):
        before = everything(mlflow_store)
        prepared = prepare(frame, seed=seed)
        # when MLflow is away before each question that a stage asks
        call = until_it_is_back if disturbed else (lambda stage: (stage(), 0))
        trained, one = call(lambda prepared=prepared: stages.train(LINEAR, prepared))
        compared, two = call(lambda prepared=prepared, trained=trained: stages.compare([trained], prepared))
        registered, three = call(lambda compared=compared: stages.register(compared, promote="manual"))
        after = everything(mlflow_store)
        added.append({name: after[name] - before[name] for name in after})
        outages = [one, two, three]
        assert registry.aliased("staging").number == registered["version"]
    # then
    assert added[0] == added[1]
    assert (added[0]["runs"], added[0]["models"], added[0]["versions"]) == (2, 1, 1)
    assert min(outages) >= 6, outages


# ---- a gate that lets nobody pass, for a while


def refusing(why: str) -> Callable[[bytes], gate.Admission]:
    """Return a gate that lets nobody pass."""

    def refuse(bundle: bytes) -> gate.Admission:
        raise gate.GateError(why, where="a bundle", expected="answers", do="look")

    return refuse


@pytest.fixture
def trains(module_store, mlflow_store, many, unasked, cached) -> Callable[..., tuple[str, str, str | None]]:
    """Return what trains and says id, state and refusal of its run; ``why`` is what the gate refuses it for."""
    for module, name in ((evaluation, "cross_validate"), (evaluation, "evaluate"), (training, "fit")):
        cached(module, name)

    def train(seed: int, why: str = "") -> tuple[str, str, str | None]:
        prepared = prepare(taken(many, healthy=70, sick=60, healthy_held=15, sick_held=15), seed=seed)
        with pytest.MonkeyPatch.context() as patch:
            if why:
                patch.setattr(gate, "admit", refusing(why))
            run = mlflow_store.get_run(stages.train(LINEAR, prepared)["run_id"])
        return run.info.run_id, run.info.status, (run.data.tags.get("refused") or "").split("\n")[0] or None

    return train


def test_a_refused_run_says_why_now_and_nothing_once_it_passes(trains, mlflow_store):
    run_id = trains(12, "its answers differ")[0]
    assert trains(12, "it does not answer") == (run_id, "FAILED", "it does not answer")
    assert trains(12) == (run_id, "FINISHED", None)

    # one that passed before the tag was taken away has it still
    mlflow_store.set_tag(run_id, "refused", "it does not answer")
    assert trains(12) == (run_id, "FINISHED", None)


def test_a_later_refusal_is_a_run_of_its_own_beside_the_one_that_passed(trains, mlflow_store):
    passed = trains(13)
    refused = trains(13, "its answers differ")
    assert refused[0] != passed[0]
    assert refused[1:] == ("FAILED", "its answers differ")
    assert mlflow_store.get_run(passed[0]).info.status == "FINISHED"
    # when the refusal is cut off, and comes again for another reason
    mlflow_store.update_run(refused[0], status="RUNNING")
    assert trains(13, "it does not answer") == (refused[0], "FAILED", "it does not answer")
    # and when it passes again
    assert trains(13) == passed == (passed[0], "FINISHED", None)
    assert mlflow_store.get_run(refused[0]).data.tags["refused"].startswith("it does not answer")


# ---- other code and other libraries on the same snapshot


def test_what_changed_code_makes_of_a_snapshot_is_another_run_and_another_version(
    pair, mlflow_store, unasked, monkeypatch
):
    prepared, (before, _) = pair
    compared = stages.compare([before], prepared, run="before the change")
    first = stages.register(compared, promote="manual")["version"]
    # given other code behind the same parameters
    recipe = training.family(LINEAR)

    def build(parameters: dict[str, Any], seed: int) -> Any:
        return recipe.build({**parameters, "C": parameters["C"] / 50}, seed)

    changed = dataclasses.replace(recipe, build=build, twin=None)
    monkeypatch.setattr(training, "FAMILIES", {**training.FAMILIES, LINEAR: changed})
    # when
    after = stages.train(LINEAR, prepared)
    again = stages.compare([after], prepared, run="after the change")
    second = stages.register(again, promote="manual")["version"]
    # then
    old, new = (mlflow_store.get_run(one["run_id"]).data for one in (before, after))
    assert old.params["C"] != new.params["C"]
    assert old.metrics["cv_brier"] != new.metrics["cv_brier"]
    assert new.metrics["fold_roc_auc"] == pytest.approx(after["auc"])
    assert first != second
    for number, trained, comparison in ((first, before, compared), (second, after, again)):
        version = mlflow_store.get_model_version(contract.MODEL_NAME, number)
        assert version.run_id == trained["run_id"]
        assert version.tags["comparison_run"] == comparison["comparison_run"]
        assert version.tags["bundle"] == stores.digest_of(trained["bundle"])


def test_a_refused_run_is_no_obstacle_once_a_library_or_python_was_upgraded(
    module_store, mlflow_store, many, unasked, monkeypatch, cached
):
    # given
    for module, name in ((evaluation, "cross_validate"), (evaluation, "evaluate"), (training, "fit")):
        cached(module, name)
    prepared = prepare(taken(many, healthy=70, sick=60, healthy_held=15, sick_held=15), seed=11)
    with monkeypatch.context() as patch:
        patch.setattr(gate, "admit", refusing("it does not answer"))
        refused = stages.train(LINEAR, prepared)["run_id"]
    # when another release of Python comes, and then another library
    monkeypatch.setattr(candidates.platform, "python_version", lambda: "3.11.99")
    patched = stages.train(LINEAR, prepared)["run_id"]
    monkeypatch.setattr(candidates, "installed", lambda name: "99.1")
    upgraded = stages.train(LINEAR, prepared)["run_id"]
    # then
    assert patched == refused
    assert upgraded != refused
    for run_id, numpy in ((patched, np.__version__), (upgraded, "99.1")):
        run = mlflow_store.get_run(run_id)
        assert (run.info.status, run.data.params["numpy"]) == ("FINISHED", numpy)


# ---- strangers in the registry


def test_a_foreign_version_in_production_survives_no_promotion_and_stops_nothing(pair, mlflow_store, unasked):
    prepared, (trained, _) = pair
    stages.register(stages.compare([trained], prepared, run="before"), promote="manual")
    foreign = str(mlflow_store.create_model_version(contract.MODEL_NAME, source="s3://somewhere/else").version)
    registry.point_alias("production", foreign)

    compared = stages.compare([trained], prepared, run="beside a stranger")
    registered = stages.register({**compared, "verdict": "better"}, promote="if_better", run="beside a stranger")

    stranger = (
        f"version {foreign} in production was not compared, as its family (not known) takes no part: "
        "only a person moves production now"
    )
    assert registered["not_promoted"] == stranger
    assert stranger in compared["reasons"]
    assert registry.aliased("production").number == foreign
    assert registry.aliased("staging").number == registered["version"]
    # its origin is not known, so that it counts as real data, which the sample does not replace
    assert registry.move_production(registered["version"], by="somebody") == (
        f"version {registered['version']} was trained on the synthetic sample, and version {foreign} in production was "
        "not (its origin: not known)"
    )
    # nor is it replaced by a model of real data, unless a person says so: nobody knows how good it is
    real = {**prepared, "origin": "file"}
    trained = stages.train(LINEAR, real)
    compared = stages.compare([trained], real, run="real data")
    registered = stages.register({**compared, "verdict": "better"}, promote="if_better", run="real data")
    assert (registered["promoted"], registered["not_promoted"]) == (False, stranger)
    assert registry.aliased("production").number == foreign
    assert registry.move_production(registered["version"], by="somebody") == ""
    moves = [(one.before, one.after, one.by) for one in registry.note_moves()]
    assert moves[-1] == (foreign, registered["version"], "somebody")


@pytest.fixture
def produced(pair) -> Iterator[Callable[[str], str]]:
    """Put a family of the pair into production and return its version; afterwards what was there is there again."""
    prepared, trained = pair
    before = registry.aliased("production")

    def put(family: str) -> str:
        versions = stages.register(stages.compare(trained, prepared, run="before"), promote="manual")["versions"]
        registry.point_alias("production", versions[family])
        return str(versions[family])

    yield put
    if before:
        registry.point_alias("production", before.number)


def better(trained: list[dict[str, Any]], prepared: dict[str, Any], run: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a comparison with a challenger as the winner, and what is registered where a run may move production."""
    compared = stages.compare(trained, prepared, run=run)
    (winner,) = (one["family"] for one in compared["trained"] if one["family"] != compared["incumbent"])
    won = {**compared, "verdict": "better", "winner": winner}
    return compared, stages.register(won, promote="if_better", run=run)


def test_production_that_was_not_compared_is_not_replaced(
    pair, mlflow_store, unasked, monkeypatch, caplog, cached, produced
):
    prepared, (linear, forest) = pair
    number = produced(FOREST)

    def expect_kept(compared: dict[str, Any], registered: dict[str, Any], why: str) -> None:
        said = f"version {number} in production was not compared, as {why}: only a person moves production now"
        assert (registered["promoted"], registered["not_promoted"]) == (False, said)
        assert f"production was not moved: {said}" in caplog.messages
        page = Path(mlflow_store.download_artifacts(compared["comparison_run"], "comparison.html")).read_text()
        assert said in html.unescape(page)
        assert registry.aliased("production").number == number

    # given that its family is refused this time
    refused = {**forest, "refused": "the service does not answer"}
    compared = stages.compare([linear, refused], prepared, run="refused tonight")
    registered = stages.register({**compared, "verdict": "better"}, promote="if_better", run="refused tonight")
    assert compared["incumbent"] == LINEAR
    expect_kept(compared, registered, "its family (random_forest) takes no part")
    # given another recipe of the same name
    monkeypatch.setitem(training.PROFILES, "test", training.Profile("test", splits=4, repeats=2, trees=25))
    grown = stages.train(FOREST, prepared)
    compared, registered = better([linear, grown], prepared, "other trees")
    assert compared["incumbent"] == FOREST
    expect_kept(compared, registered, "its recipe is not today's random_forest (n_estimators 20, today 25)")
    # given a version of that family of which nothing else is known
    number = str(mlflow_store.create_model_version("heart-disease", "s3://else", tags={"family": FOREST}).version)
    registry.point_alias("production", number)
    expect_kept(
        *better([linear, grown], prepared, "unknown"), "its recipe is not today's random_forest (its own is not known)"
    )


def test_production_whose_recipe_was_beaten_is_replaced(pair, unasked, produced):
    prepared, trained = pair
    produced(FOREST)
    compared, registered = better(trained, prepared, "beaten")
    assert (compared["incumbent"], compared["held_back"]) == (FOREST, "")
    assert not [one for one in compared["reasons"] if "in production" in one]
    assert (registered["promoted"], registered["not_promoted"]) == (True, "")
    assert registry.aliased("production").number == registered["version"] == registered["versions"][LINEAR]


def champion(client: mlflow.MlflowClient, compared: dict[str, Any]) -> dict[str, Any]:
    path = client.download_artifacts(compared["comparison_run"], "comparison.json")
    return json.loads(Path(path).read_text())["champion"]


def test_a_champion_of_another_contract_or_with_a_damaged_bundle_is_not_scored(pair, mlflow_store, unasked):
    # given a version whose bundle follows an older contract, with a column less in its snapshot
    prepared, (trained, _) = pair
    files = bundles.open_bundle(stores.get(trained["bundle"]))
    manifest = json.loads(files["manifest.json"])
    manifest["model"] |= {"contract": "0" * 64, "contract_version": "0.9.0"}
    bundle = stores.put(bundles.pack({**files, "manifest.json": export.to_json(manifest)}), "bundles", ".tar")
    snapshot = dataset.write_snapshot(dataset.read_snapshot(prepared["snapshot"]).drop(columns="thal"))
    tags = {"bundle": stores.digest_of(bundle), "snapshot": stores.digest_of(snapshot), "family": LINEAR}
    older = mlflow_store.create_model_version(contract.MODEL_NAME, source="s3://older", tags=tags).version
    registry.point_alias("production", str(older))
    # when and then
    found = champion(mlflow_store, stages.compare([trained], prepared, run="an older contract"))
    assert (found["holdout"], found["unseen"]) == ({}, {})
    assert found["note"] == (
        f"its own model was not scored: it follows another data contract (0.9.0, today's is {contract.VERSION})"
    )
    Path(bundle.removeprefix("file://")).write_bytes(b"something else")
    found = champion(mlflow_store, stages.compare([trained], prepared, run="a damaged bundle"))
    assert found["note"] == "its own model was not scored: the object is not what its name says"


# ---- what was tampered with


def tampered(uri: str) -> tuple[str, str]:
    """Change the last byte of an object and return its digest before and after."""
    path = Path(uri.removeprefix("file://"))
    data = path.read_bytes()
    changed = data[:-1] + bytes([data[-1] ^ 1])
    path.write_bytes(changed)
    return stores.digest_of(uri), stores.digest_of(stores.put(changed, "elsewhere", ".bin"))


def test_a_changed_object_stops_the_stage_that_reads_it_and_nothing_is_registered(store, mlflow_store, many, unasked):
    prepared = prepare(taken(many, healthy=40, sick=40, healthy_held=10, sick_held=10), seed=10)
    trained = stages.train(LINEAR, prepared)
    compared = stages.compare([trained], prepared, run="tampered")
    before = everything(mlflow_store)
    for uri, stage in (
        (trained["bundle"], lambda: stages.register(compared, promote="manual")),
        (trained["answers"], lambda: stages.compare([trained], prepared, run="tampered again")),
        (prepared["folds"], lambda: stages.train(LINEAR, prepared)),
        (prepared["training"], lambda: stages.train(LINEAR, prepared)),
        (prepared["snapshot"], lambda: stages.preprocess(prepared, profile="test", seed=0)),
    ):
        expected, found = tampered(uri)
        with pytest.raises(stores.StoreError) as caught:
            stage()
        assert str(caught.value) == (
            "the object is not what its name says\n"
            f"  where:    {uri}\n"
            f"  expected: sha256 {expected}, found {found}\n"
            "  do:       the file was damaged or changed: delete it and clear the task that wrote it"
        )
    assert everything(mlflow_store) == before


def test_a_bundle_that_is_not_as_its_manifest_says_keeps_every_family_out(pair, mlflow_store):
    prepared, trained = pair
    compared = stages.compare(trained, prepared, run="two families")
    before, staging = everything(mlflow_store), registry.aliased("staging")
    for good in trained:
        files = bundles.open_bundle(stores.get(good["bundle"]))
        manifest = json.loads(files["manifest.json"])
        manifest["files"]["model.onnx"]["sha256"] = "0" * 64
        for bad in (
            {**files, "model.onnx": files["model.onnx"] + b"\0"},
            {**files, "manifest.json": export.to_json(manifest)},
        ):
            uri = stores.put(bundles.pack(bad), "bundles", ".tar")
            changed = [{**one, "bundle": uri} if one is good else one for one in trained]
            with pytest.raises(bundles.BundleError, match=r"^model\.onnx differs from its digest in manifest\.json\n"):
                stages.register({**compared, "trained": changed}, promote="manual")
    assert everything(mlflow_store) == before
    assert registry.aliased("staging") == staging
