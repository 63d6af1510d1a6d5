"""The families' fast equivalents: the family's own answers, or a warning and the family itself."""

import logging
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.ensemble import RandomForestClassifier

from heartline import contract
from heartline.evaluation import cross_validation
from heartline.packaging import export
from heartline.storage import record_identity, splits
from heartline.storage.splits import LabelledDataset
from heartline.training import families, fast_forest, fast_logistic_regression, preprocessing, tuning
from heartline.training.preprocessing import Encoder, preprocessor

PROFILE = families.Profile("test", splits=4, repeats=1, trees=60)


@pytest.fixture(scope="module")
def records(cohort) -> LabelledDataset:
    return splits.to_labelled(record_identity.canonical(cohort))


@pytest.fixture(scope="module")
def plan(records) -> np.ndarray:
    return splits.plan_folds(records, splits=4, repeats=1, seed=0)


def validate(name: str, records: LabelledDataset, plan: np.ndarray) -> cross_validation.CrossValidation:
    return cross_validation.cross_validate(name, records, plan, profile=PROFILE, seed=3)


def assert_same(
    one: cross_validation.CrossValidation, other: cross_validation.CrossValidation, tolerance: float = 0
) -> None:
    assert np.abs(one.probabilities - other.probabilities).max() <= tolerance
    assert np.abs(one.fold_aucs - other.fold_aucs).max() <= tolerance
    assert np.abs(one.importance - other.importance).max() <= tolerance
    assert (one.chosen, one.unconverged) == (other.chosen, other.unconverged)


@given(
    rows=st.integers(2, 300),
    seed=st.integers(0, 2**32 - 1),
    missing=st.sampled_from([0.0, 0.05, 0.4]),
    scale=...,
    precision=st.sampled_from(["float32", "float64"]),
)
def test_the_encoder_equals_the_public_steps(rows: int, seed: int, missing: float, scale: bool, precision: str):
    random = np.random.default_rng(seed)
    features = export.legal_rows(rows + 50, seed=seed).astype(precision)
    features[random.random(features.shape) < missing] = np.nan
    train = features[:rows]
    empty = np.isnan(train).all(axis=0)
    train[0, empty] = np.array([column.minimum for column in contract.FEATURES])[empty]
    expected = preprocessor(scale=scale).fit(train).transform(features)
    found = Encoder(scale=scale).fit(train).transform(features)
    assert (found == expected).all()
    assert found.flags.c_contiguous == expected.flags.c_contiguous


def test_the_encoder_refuses_unknown_codes_and_empty_columns():
    features = export.legal_rows(20, seed=0)
    encoder = Encoder(scale=True).fit(features)
    unknown, missing = features.copy(), features.copy()
    unknown[3, contract.FEATURE_NAMES.index("thal")] = 5
    with pytest.raises(ValueError, match="a code that is not in the contract"):
        encoder.transform(unknown)
    missing[:, 0] = np.nan
    with pytest.raises(ValueError, match="a column has no value"):
        Encoder(scale=False).fit(missing)


@pytest.mark.parametrize("threads_from", [0, 1_000_000])
@pytest.mark.parametrize("more", [{}, {"min_samples_leaf": 3}, {"max_samples": 40}])
def test_the_forest_equals_the_public_one(records, monkeypatch, threads_from, more):
    monkeypatch.setattr(fast_forest, "THREADS_FROM", threads_from)
    inputs = preprocessor(scale=False).fit_transform(records.features)
    given = {"n_estimators": 30, "random_state": 5, "n_jobs": 1, **more}
    public = RandomForestClassifier(**given).fit(inputs, records.labels)
    found = fast_forest.Forest(**given).fit(inputs, records.labels)
    assert (found.predict_proba(inputs) == public.predict_proba(inputs)).all()
    for mine, theirs in zip(found.estimators_samples_, public.estimators_samples_, strict=True):
        assert (mine == theirs).all()
    for mine, theirs in zip(found.estimators_, public.estimators_, strict=True):
        assert (mine.predict_proba(inputs) == theirs.predict_proba(inputs)).all()


@pytest.mark.parametrize("more", [{}, {"min_samples_leaf": 3}, {"max_samples": 40}])
def test_a_forest_that_continues_a_smaller_one_equals_the_public_one(records, monkeypatch, more):
    inputs = preprocessor(scale=False).fit_transform(records.features)
    given = {"random_state": 5, "n_jobs": 1, **more}
    small = fast_forest.Forest(
        n_estimators=10, random_state=5, n_jobs=1, min_samples_leaf=more.get("min_samples_leaf", 1)
    )
    small.fit(inputs, records.labels)
    grown, grow = [], fast_forest.Forest._grow

    def counting(self, seeds, *rest):
        grown.extend(seeds)
        return grow(self, seeds, *rest)

    monkeypatch.setattr(fast_forest.Forest, "_grow", counting)
    found = small.resume(fast_forest.Forest(n_estimators=30, **given), inputs, records.labels)
    public = RandomForestClassifier(n_estimators=30, **given).fit(inputs, records.labels)
    assert (found.predict_proba(inputs) == public.predict_proba(inputs)).all()
    assert len(grown) == (30 if "max_samples" in more else 20), "a bounded forest's trees have other samples"


def test_the_forest_refuses_unsupported_hyperparameters_and_a_single_class(records):
    with pytest.raises(ValueError, match="cannot grow a forest with bootstrap, criterion"):
        fast_forest.Forest(criterion="entropy", bootstrap=False).fit(records.features, records.labels)
    with pytest.raises(ValueError, match="cannot grow a forest from one class"):
        fast_forest.Forest().fit(records.features, np.ones_like(records.labels))


@pytest.mark.parametrize("name", families.FAMILIES)
def test_a_fast_equivalent_gives_the_numbers_of_its_family(records, plan, monkeypatch, caplog, name):
    fits, fit = [], families.fit

    def recording(*given, fast=False, **more):
        fits.append(fast)
        return fit(*given, fast=fast, **more)

    monkeypatch.setattr(families, "fit", recording)
    with caplog.at_level(logging.WARNING):
        fast = validate(name, records, plan)
        assert fits == [False, True] + [True] * 3, "the first fold is fitted once by each"
        monkeypatch.setitem(families.FAMILIES, name, replace(families.family(name), fast_equivalent=None))
        slow = validate(name, records, plan)
        assert fits[5:] == [False] * 4
    assert_same(fast, slow, tolerance=1e-9 if families.family(name).tolerance else 0)
    assert not caplog.messages


def test_the_forest_is_held_to_the_last_bit_and_the_logistic_regression_to_a_tolerance():
    assert {name: one.tolerance for name, one in families.FAMILIES.items()} == {
        "logistic_regression": 1e-6,
        "random_forest": 0,
    }


@pytest.mark.parametrize("name", families.FAMILIES)
def test_a_fast_equivalent_is_compared_on_a_bounded_number_of_records(records, plan, monkeypatch, name):
    monkeypatch.setattr(cross_validation, "CHECKED_ROWS", 120)
    sizes, fit = [], families.fit

    def recording(name, train, *, fast=False, **more):
        sizes.append((fast, len(train)))
        return fit(name, train, fast=fast, **more)

    monkeypatch.setattr(families, "fit", recording)
    found = validate(name, records, plan)
    checked, whole = sizes[:2], sizes[2:]
    assert [fast for fast, _ in checked] == [False, True]
    assert all(60 < size < 120 for _, size in checked)
    assert whole == [(True, int((plan[0] != fold).sum())) for fold in range(4)]
    assert np.isfinite(found.probabilities).all()


def test_a_logistic_regression_within_the_tolerance_is_used_and_one_beyond_it_is_not(
    records, plan, monkeypatch, caplog
):
    exact = fast_logistic_regression.NewtonRegression.predict_proba
    used = []

    def shifted(by: float):
        def predict_proba(self, inputs):
            used.append(by)
            return exact(self, inputs) + by

        return predict_proba

    expected = validate("logistic_regression", records, plan)
    monkeypatch.setattr(fast_logistic_regression.NewtonRegression, "predict_proba", shifted(5e-7))
    assert_same(validate("logistic_regression", records, plan), expected, tolerance=6e-7)
    assert used
    assert not caplog.messages
    monkeypatch.setattr(fast_logistic_regression.NewtonRegression, "predict_proba", shifted(2e-6))
    assert_same(validate("logistic_regression", records, plan), expected, tolerance=1e-9)
    (message,) = caplog.messages
    assert message == (
        "Logistic regression: predictions of the fast equivalent differ by up to 2e-06; it is not used, so training "
        "takes longer"
    )


def test_a_logistic_regression_with_another_choice_is_not_used(records, plan, monkeypatch, caplog):
    expected = validate("logistic_regression", records, plan)
    ours = fast_logistic_regression.out_of_fold
    monkeypatch.setattr(fast_logistic_regression, "out_of_fold", lambda *given: ours(*given)[::-1])
    assert_same(validate("logistic_regression", records, plan), expected, tolerance=1e-9)
    (message,) = caplog.messages
    assert message.startswith("Logistic regression: the fast equivalent chooses C=")
    assert " instead of C=" in message


def test_a_fast_equivalent_with_other_predictions_is_not_used(records, plan, monkeypatch, caplog):
    expected = validate("random_forest", records, plan)
    exact = fast_forest.Forest.predict_proba
    monkeypatch.setattr(fast_forest.Forest, "predict_proba", lambda self, inputs: exact(self, inputs) * (1 - 2**-53))
    found = validate("random_forest", records, plan)
    assert_same(found, expected)
    (message,) = caplog.messages
    assert message.startswith("Random forest: predictions of the fast equivalent differ by up to ")
    assert message.endswith("e-16; it is not used, so training takes longer")


def test_a_fast_equivalent_that_fails_is_not_used(records, plan, monkeypatch, caplog):
    def gone(*given):
        raise ImportError("cannot import name '_splitter'")

    monkeypatch.setattr(fast_forest.Forest, "_grow", gone)
    found = validate("random_forest", records, plan)
    assert np.isfinite(found.probabilities).all()
    (message,) = caplog.messages
    assert message.startswith(
        "Random forest: the fast equivalent fails (ImportError: cannot import name '_splitter'); it is not used"
    )


def test_a_fold_whose_training_part_lacks_a_column_is_fitted_by_the_family_itself(records, plan, monkeypatch):
    features = records.features.copy()
    features[plan[0] != 2, contract.FEATURE_NAMES.index("oldpeak")] = np.nan
    few = LabelledDataset(features, records.labels, records.groups)
    with pytest.warns(UserWarning, match="Skipping features without any observed values"):
        fast = validate("logistic_regression", few, plan)
    monkeypatch.setitem(
        families.FAMILIES, "logistic_regression", replace(families.family("logistic_regression"), fast_equivalent=None)
    )
    with pytest.warns(UserWarning, match="Skipping features without any observed values"):
        slow = validate("logistic_regression", few, plan)
    assert_same(fast, slow, tolerance=1e-9)
    assert (fast.probabilities[plan == 2] == slow.probabilities[plan == 2]).all()


@pytest.mark.parametrize("scale", [False, True])
def test_inputs_of_float32_features_are_float32_and_equal(records, scale):
    """Many records have float32 features; a model of float64 inputs would take twice the memory."""
    features = records.features.astype("float32")
    expected = preprocessor(scale=scale).fit(features).transform(features)
    found = Encoder(scale=scale).fit(features).transform(features)
    assert found.dtype == expected.dtype == np.float32
    assert np.array_equal(found, expected)


def test_many_records_are_encoded_in_blocks(records, monkeypatch):
    encoder = Encoder(scale=True).fit(records.features)
    expected = encoder.transform(records.features)
    monkeypatch.setattr(preprocessing, "_BLOCK", 64)
    assert np.array_equal(encoder.transform(records.features), expected)


@pytest.mark.parametrize("leaf", [1, 3])
def test_a_forest_with_bounded_leaves_is_equal_to_the_last_bit(records, leaf):
    parameters = {"n_estimators": 20, "max_leaf_nodes": 15, "min_samples_leaf": leaf, "random_state": 0}
    inputs = preprocessor(scale=False).fit_transform(records.features)
    expected = RandomForestClassifier(**parameters).fit(inputs, records.labels)
    found = fast_forest.Forest(**parameters).fit(inputs, records.labels)
    assert max(tree.tree_.n_leaves for tree in expected.estimators_) == 15
    assert np.array_equal(found.predict_proba(inputs), expected.predict_proba(inputs))


def test_only_forests_of_many_records_have_bounded_leaves():
    few, many = (
        families.hyperparameter_sets("random_forest", families.profile("full"), families.LEAVES_FROM + more)
        for more in (0, 1)
    )
    assert not any("max_leaf_nodes" in one for one in few)
    assert {one["max_leaf_nodes"] for one in many} == {families.MAX_LEAVES}


@pytest.mark.parametrize("name", ["logistic_regression", "random_forest"])
def test_the_steps_of_many_records_learn_from_a_sample(records, monkeypatch, name):
    monkeypatch.setattr(preprocessing, "LEARNED_FROM", 200)
    monkeypatch.setattr(preprocessing, "_BLOCK", 64)
    monkeypatch.setattr(tuning, "MAX_ROWS", 200)
    found, fast = (families.fit(name, records, profile=PROFILE, seed=0, fast=fast) for fast in (False, True))
    sample = records.features[np.arange(200) * len(records) // 200]
    expected = preprocessor(scale=name == "logistic_regression").fit(sample).transform(records.features)
    assert np.array_equal(found[:-1].transform(records.features), expected)
    probabilities = [families.probability(one, records.features) for one in (found, fast)]
    assert np.abs(probabilities[0] - probabilities[1]).max() <= families.family(name).tolerance


def test_many_records_are_predicted_in_parts(records, monkeypatch):
    model = families.fit("random_forest", records, profile=PROFILE, seed=0)
    expected = families.probability(model, records.features)
    monkeypatch.setattr(families, "LEARNED_FROM", 100)
    assert np.array_equal(families.probability(model, records.features), expected)


@pytest.mark.parametrize("name", families.FAMILIES)
def test_the_family_is_not_fitted_for_the_comparison_where_its_final_model_is_known(records, plan, monkeypatch, name):
    expected = cross_validation.cross_validate(name, records, plan, profile=PROFILE, seed=3)
    final, fit, fitted = families.fit(name, records, profile=PROFILE, seed=3), families.fit, []

    def recording(*given, fast=False, **more):
        fitted.append(fast)
        return fit(*given, fast=fast, **more)

    monkeypatch.setattr(families, "fit", recording)
    found = cross_validation.cross_validate(name, records, plan, profile=PROFILE, seed=3, final=final)
    assert fitted == [True] * (1 + len(expected.fold_aucs))
    assert np.array_equal(found.probabilities, expected.probabilities)
    assert np.array_equal(found.importance, expected.importance)


@pytest.mark.parametrize("name", families.FAMILIES)
def test_a_fast_equivalent_with_other_predictions_than_the_final_model_is_not_used(records, plan, caplog, name):
    other = replace(records, labels=1 - records.labels)
    final = families.fit(name, other, profile=PROFILE, seed=3)
    found = cross_validation.cross_validate(name, records, plan, profile=PROFILE, seed=3, final=final)
    assert "it is not used, so training takes longer" in caplog.text
    assert np.isfinite(found.probabilities).all()
