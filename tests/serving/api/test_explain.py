"""POST /predict?explain=true: the contribution of each value, compared with scikit-learn's pipelines."""

import gc
import itertools
import math
import weakref
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from heartline.training import families
from serving.api import explain
from serving.api.explain import Explainer, Explanation
from serving.model.bundle import Model
from serving.model.predict import predict
from tests.serving import trained
from tests.serving.fakes import CONTRACT, RECORD, WEIGHTS, FakeRegistry, Service, make_bundle, make_onnx

FOREST = "random_forest"
LINEAR = "logistic_regression"


def explanation(family: str, record: Any) -> Explanation:
    model = trained.model(family)
    (one,) = explain.explained(model, [record], predict(model, model.contract.matrix([record])))
    found: Explanation = one.contributions  # type: ignore[attr-defined]
    return found


def contributions(found: Explanation) -> NDArray[np.float64]:
    return np.array([one.contribution for one in found.features.values()])


@pytest.mark.parametrize("family", trained.FAMILIES)
def test_the_export_predicts_as_the_pipeline_with_all_values_missing(family: str) -> None:
    model = trained.model(family)
    rows = np.repeat(model.reference, len(model.contract.features) + 1, axis=0)
    for column in range(len(model.contract.features)):
        rows[column :: len(model.contract.features) + 1, column] = np.nan
    rows[-1] = np.nan

    expected = families.probability(trained.pipeline(family), rows.astype("float64"))

    assert np.abs(model.probabilities(rows) - expected).max() < 1e-5


def test_a_regression_is_explained_by_its_coefficients() -> None:
    pipeline = trained.pipeline(LINEAR)
    contract = trained.model(LINEAR).contract
    coefficients = pipeline["model"].coef_[0]
    # each of the model's inputs comes from one feature: "numbers__age", "codes__x3_7.0"
    numbers, codes = (columns for _, _, columns in pipeline["preprocess"].transformers)
    widths = [1] * len(numbers) + [
        len(known) for known in pipeline["preprocess"].named_transformers_["codes"]["encode"].categories_
    ]
    source = np.repeat([*numbers, *codes], widths)
    nothing = np.full((1, len(contract.features)), np.nan)
    records = trained.patients(20)
    for record in records:
        row = contract.matrix([record]).astype("float64")
        inputs = pipeline["preprocess"].transform(row) - pipeline["preprocess"].transform(nothing)
        expected = np.bincount(source, weights=inputs[0] * coefficients)

        found = explanation(LINEAR, record)

        assert found.scale == "log_odds"
        assert np.abs(contributions(found) - expected).max() < 1e-4
        total = found.base + contributions(found).sum()
        assert total == pytest.approx(pipeline.decision_function(row)[0], abs=1e-4)


def test_a_forest_is_explained_by_the_definition_of_the_shapley_value() -> None:
    pipeline = trained.pipeline(FOREST)
    record = {**trained.patients(1)[0], **dict.fromkeys(["age", "sex", "fbs", "restecg", "trestbps", "chol", "slope"])}
    contract = trained.model(FOREST).contract
    row = contract.matrix([record]).astype("float64")[0]
    present = [int(i) for i in np.flatnonzero(~np.isnan(row))]
    assert 4 <= len(present) <= 6

    subsets = [frozenset(s) for n in range(len(present) + 1) for s in itertools.combinations(present, n)]
    rows = np.array([[value if i in known else math.nan for i, value in enumerate(row)] for known in subsets])
    answer = dict(zip(subsets, families.probability(pipeline, rows), strict=True))
    expected = np.zeros(len(row))
    orders = list(itertools.permutations(present))
    for order in orders:
        for place, feature in enumerate(order):
            expected[feature] += answer[frozenset(order[: place + 1])] - answer[frozenset(order[:place])]

    found = Explainer(trained.model(FOREST), additive=False).explain(record)

    assert found.scale == "probability"
    assert found.method == "exact"
    assert np.abs(contributions(found) - expected / len(orders)).max() < 1e-6


@pytest.mark.parametrize("family", trained.FAMILIES)
def test_contributions_add_up_to_the_prediction(family: str) -> None:
    model = trained.model(family)
    for record in trained.patients(6):
        found = explanation(family, record)
        total = found.base + contributions(found).sum()
        answer = float(model.probabilities(model.contract.matrix([record]))[0])
        if found.scale == "probability":
            assert total == pytest.approx(answer, abs=1e-12)
        else:
            assert 1 / (1 + math.exp(-total)) == pytest.approx(answer, abs=1e-5)


def test_the_scale_depends_on_the_model_not_on_its_family_name() -> None:
    assert explain.is_additive(trained.model(LINEAR))
    assert not explain.is_additive(trained.model(FOREST))
    assert explain.is_additive(Model(make_bundle(family=FOREST)))


def test_estimates_agree_with_the_exact_values_within_their_standard_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    explainer, record = Explainer(trained.model(FOREST), additive=False), trained.patients(1)[0]
    exact = explainer.explain(record)
    monkeypatch.setattr(explain, "EXACT_FEATURES", 11)

    sampled = explainer.explain(record)

    assert (exact.method, sampled.method) == ("exact", "sampled")
    errors = np.array([one.standard_error for one in sampled.features.values()])
    assert errors.max() > 0
    assert np.all(np.abs(contributions(sampled) - contributions(exact)) <= 4 * errors + 1e-9)
    assert contributions(sampled).sum() == pytest.approx(contributions(exact).sum(), abs=1e-9)
    assert explainer.explain(record) == sampled
    assert all(one.standard_error is msgspec.UNSET for one in exact.features.values())


def test_a_response_has_the_value_and_the_contribution_of_each_feature(service: Service) -> None:
    record = {"age": 61, "sex": 1, "chol": None}

    answer = service.client.post("/predict?explain=true", json=record).get_json()

    unexplained = service.client.post("/predict?explain=false", json=record).get_json()
    assert "contributions" not in unexplained
    assert set(answer) == {*unexplained, "contributions"}
    assert answer["probability"] == unexplained["probability"]
    found = answer["contributions"]
    assert {key: found[key] for key in ("scale", "method")} == {"scale": "log_odds", "method": "exact"}
    # the contract's test model: 240 and 1 where chol and ca are missing, 0 for the others, and a bias of -2
    assert found["base"] == pytest.approx(240 * 0.001 + 0.3 - 2, abs=1e-5)
    assert list(found["features"]) == ["sex", "age", "chol", "ca"]
    assert found["features"] == {
        "sex": {"value": 1, "contribution": pytest.approx(0.5, abs=1e-5)},
        "age": {"value": 61, "contribution": pytest.approx(61 * float(WEIGHTS[1, 0]), abs=1e-5)},
        "chol": {"value": None, "contribution": 0.0},
        "ca": {"value": None, "contribution": 0.0},
    }


def test_each_record_of_a_list_is_explained(service: Service) -> None:
    records = [RECORD, {**RECORD, "age": 30}]

    answers = service.client.post("/predict?explain=true", json=records).get_json()["predictions"]

    ages = [one["contributions"]["features"]["age"] for one in answers]
    assert [one["value"] for one in ages] == [61, 30]
    assert ages[0]["contribution"] - ages[1]["contribution"] == pytest.approx(31 * 0.02, abs=1e-5)


@pytest.mark.parametrize("query", ["explain=yes", "explain=", "explain=True", "explain=true&explain=true", "explain=1"])
def test_an_invalid_value_of_the_parameter_is_refused(service: Service, query: str) -> None:
    response = service.client.post(f"/predict?{query}", json=RECORD)

    assert response.status_code == 400
    document = response.get_json(force=True)
    assert document["type"] == "urn:heartline:problem:invalid-parameter"
    assert document["expected"] == "explain=true or explain=false, once"


def test_too_many_records_to_explain_are_refused(service: Service) -> None:
    records = [RECORD] * (explain.MAX_RECORDS + 1)

    assert service.client.post("/predict?explain=true", json=records[1:]).status_code == 200
    response = service.client.post("/predict?explain=true", json=records)

    assert response.status_code == 413
    assert response.get_json(force=True)["expected"] == f"at most {explain.MAX_RECORDS} records with explain=true"
    assert service.client.post("/predict", json=records).status_code == 200


def test_a_model_that_cannot_be_explained_predicts_without_explain(
    registry: FakeRegistry, start: Callable[[], Service]
) -> None:
    record = {"age": 61, "sex": 1}
    names = ["age", "sex"]
    schema = {**CONTRACT, "properties": {name: CONTRACT["properties"][name] for name in names}, "x-features": names}
    probability = 1 / (1 + math.exp(-(61 * 0.5 + 0.02 - 20)))
    registry.register(
        make_bundle(
            contract=schema,
            model=make_onnx(-20.0, width=2, impute=False),
            reference={"records": [record], "probabilities": [probability]},
        )
    )
    service = start().poll()

    response = service.client.post("/predict?explain=true", json=record)

    assert response.status_code == 409
    assert response.get_json(force=True)["type"] == "urn:heartline:problem:not-explainable"
    assert service.client.post("/predict", json=record).status_code == 200


def test_explanations_keep_no_reference_to_an_old_model() -> None:
    model = Model(make_bundle())
    assert explain.is_additive(model)
    gone = weakref.ref(model)
    del model
    gc.collect()
    assert gone() is None
