"""The batched logistic regression: scikit-learn's coefficients, for any folds, in one batch."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from heartline.training import families, fast_logistic_regression
from heartline.training.fast_logistic_regression import NewtonRegression

STRENGTHS = (0.01, 0.1, 1.0, 10.0)
GIVEN = families.NEWTON


def drawn(rows: int, columns: int, seed: int, strength: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Return inputs with measurements and indicators, and labels of both classes that depend on them."""
    random = np.random.default_rng(seed)
    inputs = random.normal(size=(rows, columns))
    inputs[:, columns // 2 :] = inputs[:, columns // 2 :] > 0
    chance = 1 / (1 + np.exp(-strength * inputs @ random.normal(size=columns)))
    labels = (random.random(rows) < chance).astype("int64")
    labels[:2] = 0, 1
    return inputs, labels


def models(**more) -> list[NewtonRegression]:
    return [NewtonRegression(**{**GIVEN, "C": c, **more}) for c in STRENGTHS]


@given(
    rows=st.integers(10, 400),
    columns=st.integers(2, 26),
    seed=st.integers(0, 2**32 - 1),
    strength=st.sampled_from([0.0, 1.0, 30.0]),
)
def test_the_coefficients_are_those_of_scikit_learn(rows: int, columns: int, seed: int, strength: float):
    inputs, labels = drawn(rows, columns, seed, strength)
    found = models()
    fast_logistic_regression.fit_together(found, inputs, labels)
    for one in found:
        public = LogisticRegression(**one.get_params()).fit(inputs, labels)
        assert one.coef_ == pytest.approx(public.coef_, rel=1e-7, abs=1e-9)
        assert one.intercept_ == pytest.approx(public.intercept_, rel=1e-7, abs=1e-9)
        assert one.predict_proba(inputs) == pytest.approx(public.predict_proba(inputs), abs=1e-9)
        assert one.n_iter_ == public.n_iter_
        assert families.converged(one_step_pipeline(one))


def one_step_pipeline(model):
    from sklearn.pipeline import Pipeline

    return Pipeline([("model", model)])


def test_folds_of_any_size_get_the_predictions_of_scikit_learn(monkeypatch):
    inputs, labels = drawn(211, 26, seed=3)
    plan = np.random.default_rng(0).choice([0, 1, 4, 7], p=[0.02, 0.08, 0.3, 0.6], size=211)  # 2, 3, 5, 6 are empty
    for block in (1, 10_000, fast_logistic_regression.BLOCK):
        monkeypatch.setattr(fast_logistic_regression, "BLOCK", block)
        found = models()
        predictions = fast_logistic_regression.out_of_fold(found, inputs, labels, plan, [0, 1, 7])
        for one, row in zip(found, predictions, strict=True):
            for fold in (0, 1, 7):
                test = plan == fold
                public = LogisticRegression(**one.get_params()).fit(inputs[~test], labels[~test])
                assert row[test] == pytest.approx(public.predict_proba(inputs[test])[:, 1], abs=1e-7)
            assert np.isnan(row[plan == 4]).all()
            public = LogisticRegression(**one.get_params()).fit(inputs, labels)
            assert one.predict_proba(inputs) == pytest.approx(public.predict_proba(inputs), abs=1e-12)


def test_a_fit_that_is_cut_off_did_not_converge_and_is_where_scikit_learn_is():
    inputs, labels = drawn(100, 6, seed=1)
    found = NewtonRegression(**{**GIVEN, "max_iter": 2}).fit(inputs, labels)
    with pytest.warns(ConvergenceWarning):
        public = LogisticRegression(**{**GIVEN, "max_iter": 2}).fit(inputs, labels)
    assert not families.converged(one_step_pipeline(found))
    assert found.coef_ == pytest.approx(public.coef_, abs=1e-12)


def test_a_fit_without_any_step_that_helps_did_not_converge(monkeypatch):
    inputs, labels = drawn(100, 6, seed=1)
    monkeypatch.setattr(fast_logistic_regression, "DECREASE", 2.0)  # no step decreases the loss by so much
    found = NewtonRegression(**GIVEN).fit(inputs, labels)
    assert not families.converged(one_step_pipeline(found))
    assert np.isfinite(found.coef_).all()


def test_separated_classes_are_fitted():
    inputs = np.linspace(-1000, 1000, 40)[:, None]
    labels = (inputs[:, 0] > 0).astype("int64")
    found = NewtonRegression(**{**GIVEN, "C": 10.0}).fit(inputs, labels)
    assert families.converged(one_step_pipeline(found))
    assert (found.predict_proba(inputs)[:, 1].round() == labels).all()


def test_unsupported_hyperparameters_and_a_single_class_are_refused():
    inputs, labels = drawn(30, 4, seed=0)
    with pytest.raises(ValueError, match="cannot fit a logistic regression with class_weight, fit_intercept"):
        NewtonRegression(**GIVEN, fit_intercept=False, class_weight="balanced").fit(inputs, labels)
    with pytest.raises(ValueError, match="cannot fit a logistic regression with solver"):
        NewtonRegression(solver="lbfgs").fit(inputs, labels)
    with pytest.raises(ValueError, match="cannot fit a logistic regression to one class"):
        NewtonRegression(**GIVEN).fit(inputs, np.ones(30, dtype="int64"))


@pytest.mark.parametrize("batch", [3, fast_logistic_regression.REFITS])
def test_weighted_refits_have_the_coefficients_of_scikit_learn(monkeypatch, batch):
    monkeypatch.setattr(fast_logistic_regression, "REFITS", batch)
    inputs, labels = drawn(211, 26, seed=4)
    weights = np.random.default_rng(0).multinomial(211, np.full(211, 1 / 211), size=25).astype("float64")
    model = LogisticRegression(**{**GIVEN, "C": 0.1})
    found = fast_logistic_regression.weighted_refits(model, inputs, labels, weights)
    public = [LogisticRegression(**{**GIVEN, "C": 0.1}).fit(inputs, labels, one) for one in weights]
    assert found[:, :-1] == pytest.approx(np.array([one.coef_[0] for one in public]), abs=1e-6)
    assert found[:, -1] == pytest.approx(np.array([one.intercept_[0] for one in public]), abs=1e-6)
    assert not hasattr(model, "coef_")


def test_weighted_refits_of_another_solver_are_refused():
    inputs, labels = drawn(40, 4, seed=4)
    other = LogisticRegression(solver="lbfgs")
    assert not fast_logistic_regression.supports(other)
    with pytest.raises(ValueError, match="solver"):
        fast_logistic_regression.weighted_refits(other, inputs, labels, np.ones((2, 40)))
