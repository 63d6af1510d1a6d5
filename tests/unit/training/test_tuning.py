"""The choice among a family's hyperparameter sets: by the training records only, and reproducible."""

import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import roc_auc_score

from heartline.storage import record_identity, splits
from heartline.storage.splits import LabelledDataset
from heartline.training import families, tuning

PROFILE = families.Profile("test", splits=4, repeats=1, trees=60)


@pytest.fixture(scope="module")
def records(cohort) -> LabelledDataset:
    return splits.to_labelled(record_identity.canonical(cohort))


@pytest.mark.parametrize("family", families.FAMILIES)
def test_one_hyperparameter_set_of_the_grid_is_chosen(records, family):
    model = families.fit(family, records, profile=PROFILE, seed=0)
    chosen = families.chosen_parameters(family, model)
    assert chosen in families.family(family).grid
    assert len(families.family(family).grid) > 1
    wanted = {**families.family(family).parameters(PROFILE), **chosen}
    assert wanted in families.hyperparameter_sets(family, PROFILE)
    assert {key: model[-1].get_params()[key] for key in wanted} == wanted


def test_the_pipeline_with_the_smallest_loss_is_chosen_and_on_a_tie_the_first(records):
    recipe = families.family("logistic_regression")
    pipelines = [recipe.build({"C": c, "max_iter": 1000}, 0) for c in (3.0, 2.0, 1.0)]

    def chosen(*losses: float) -> int:
        return tuning.choose(pipelines, records, lambda *_: losses, seed=0)

    assert chosen(0.2, 0.1, 0.3) == 1
    assert chosen(0.2, 0.1, 0.1) == 1
    assert chosen(0.1, 0.1, 0.1) == 0


def test_noise_needs_more_shrinkage_than_signal():
    random = np.random.default_rng(0)
    features = np.column_stack([random.normal(size=(200, 1)), np.zeros((200, 12))])
    recipe = families.family("logistic_regression")
    inputs = random.normal(size=(200, 20))
    losses = {}
    for name, log_odds in (("noise", 0 * inputs[:, 0]), ("signal", 4 * inputs[:, 0])):
        labels = (random.random(200) < 1 / (1 + np.exp(-log_odds))).astype("int64")
        records = LabelledDataset(features, labels, np.arange(200))
        for c in (0.001, 10.0):
            model = recipe.build({"C": c, "max_iter": 1000}, 0)[-1]
            (losses[name, c],) = tuning.out_of_fold([model], inputs, records, 0)
    assert losses["noise", 0.001] < losses["noise", 10.0]
    assert losses["signal", 10.0] < losses["signal", 0.001]


def test_a_small_forest_estimates_the_loss_of_a_large_one(records):
    """One small forest has a standard deviation of 0.005 here, a mean of 30 of 0.0009."""
    inputs = families.family("random_forest").build({}, 0)[:-1].fit_transform(records.features)
    small, uncorrected = [], []
    for seed in range(30):
        forest = RandomForestClassifier(50, random_state=seed, oob_score=True)
        small.extend(tuning.out_of_bag([forest], inputs, records, seed))
        uncorrected.append(np.mean((forest.oob_decision_function_[:, 1] - records.labels) ** 2))
    large = RandomForestClassifier(500, random_state=0, oob_score=True).fit(inputs, records.labels)
    expected = np.mean((large.oob_decision_function_[:, 1] - records.labels) ** 2)
    assert np.mean(small) == pytest.approx(expected, abs=0.003)
    assert np.mean(uncorrected) > expected + 0.004


@pytest.mark.parametrize("fast", [False, True])
def test_folds_of_any_size_are_scored_and_one_without_which_a_class_is_missing_is_not(records, monkeypatch, fast):
    recipe = families.family("logistic_regression")
    labels = np.arange(60) % 2
    few = LabelledDataset(records.features[:60], labels, np.arange(60))
    inputs = np.random.default_rng(0).normal(size=(60, 5)) + labels[:, None]

    def losses(plan):
        monkeypatch.setattr(tuning, "hashed_folds", lambda *_, **__: np.array([plan]))
        build = recipe.fast_equivalent if fast else recipe.build
        models = [build({**recipe.parameters(PROFILE), "C": c}, 0)[-1] for c in (0.01, 1.0)]
        return tuning.out_of_fold(models, inputs, few, 0)

    uneven = np.where(np.arange(60) < 3, 0, np.where(np.arange(60) < 25, 2, 4))
    assert all(0 < loss < 0.25 for loss in losses(uneven))
    one_class = np.where(labels == 1, 0, 1 + np.arange(60) % 3)  # without fold 0, no record is positive
    assert all(0 < loss < 0.6 for loss in losses(one_class))
    assert losses(np.zeros(60, dtype="int64")) == [0.0, 0.0]


def test_with_a_single_record_of_a_class_the_first_pipeline_is_chosen(records):
    rows = np.r_[np.flatnonzero(records.labels == 0), np.flatnonzero(records.labels == 1)[:1]]
    few = LabelledDataset(records.features[rows], records.labels[rows], records.groups[rows])
    pipelines = [families.family("logistic_regression").build({"C": c}, 0) for c in (1.0, 2.0)]
    assert tuning.choose(pipelines, few, tuning.out_of_fold, seed=0) == 0


def test_an_inner_fold_that_leaves_no_class_for_the_fit_is_left_out(records):
    rows = np.r_[np.flatnonzero(records.labels == 0), np.flatnonzero(records.labels == 1)[:2]]
    few = records.take(rows)
    model = families.family("logistic_regression").build({"C": 1.0}, 0)[-1]
    inputs = np.nan_to_num(few.features) / np.nan_to_num(few.features).max(axis=0)
    usable = {seed: len(tuning.inner_folds(few, seed)[1]) for seed in range(20)}
    assert set(usable.values()) == {1, 2}, "the two records with disease are in the same fold for some seeds"
    for seed in range(20):
        assert np.isfinite(tuning.out_of_fold([model], inputs, few, seed)).all()


def test_the_search_uses_a_bounded_number_of_records(records, monkeypatch):
    monkeypatch.setattr(tuning, "MAX_ROWS", 100)
    seen = []

    def loss(models, inputs, few, seed):
        seen.append((len(models), len(inputs), len(few), int(few.groups.max()) + 1 == len(np.unique(few.groups))))
        return [0.0] * len(models)

    pipelines = [families.family("logistic_regression").build({"C": c}, 0) for c in (1.0, 2.0)]
    tuning.choose(pipelines, records, loss, seed=0)
    assert seen == [(2, 100, 100, True)]


def test_a_forest_is_bounded_from_a_hundred_thousand_records_on():
    (small, *_) = families.hyperparameter_sets("random_forest", PROFILE, 100_000)
    (large, *_) = families.hyperparameter_sets("random_forest", PROFILE, 100_001)
    assert (small["max_samples"], large["max_samples"]) == (None, 100_000)


@pytest.mark.parametrize("fast", [False, True])
def test_a_bounded_forest_is_tuned_and_fitted(records, monkeypatch, fast):
    monkeypatch.setattr(tuning, "MAX_ROWS", 100)
    monkeypatch.setattr(families, "MAX_SAMPLES", 250)
    model = families.fit("random_forest", records, profile=PROFILE, seed=0, fast=fast)
    assert model[-1].max_samples == 250
    assert {len(drawn) for drawn in model[-1].estimators_samples_} == {250}
    assert roc_auc_score(records.labels, families.probability(model, records.features)) > 0.9


def test_a_model_that_does_not_converge_is_returned_and_recognised(records, monkeypatch):
    recipe = families.family("logistic_regression")
    model = families.fit("logistic_regression", records, profile=PROFILE, seed=0)
    assert families.converged(model)
    assert families.converged(families.fit("random_forest", records, profile=PROFILE, seed=0))
    hasty = recipe.build({"C": 1.0, "max_iter": 1}, 0)
    with pytest.warns(UserWarning, match="failed to converge"):
        hasty.fit(records.features, records.labels)
    assert not families.converged(hasty)


@pytest.mark.parametrize("name", families.FAMILIES)
def test_a_search_without_a_usable_inner_fold_gives_a_fitted_model(records, monkeypatch, name):
    """As a few records of a class give it: no inner fold leaves both classes for a fit."""
    monkeypatch.setattr(tuning, "hashed_folds", lambda keys, **_: np.zeros((1, len(keys)), dtype="int8"))
    fast, own = (families.fit(name, records, profile=PROFILE, seed=0, fast=fast) for fast in (True, False))
    difference = families.probability(fast, records.features) - families.probability(own, records.features)
    assert np.abs(difference).max() <= families.family(name).tolerance
