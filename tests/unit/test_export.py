import hashlib
import json

import numpy as np
import pytest
import skops.io
from sklearn.pipeline import Pipeline

from heartline import contract, dataset, export, training
from heartline.errors import HeartlineError


@pytest.fixture(scope="module")
def models(cohort) -> dict[str, Pipeline]:
    records = dataset.labelled(dataset.canonical(cohort))
    profile = training.Profile("test", splits=2, repeats=1, trees=30)
    return {name: training.fit(name, records, profile=profile, seed=0) for name in training.FAMILIES}


@pytest.fixture(params=training.FAMILIES)
def model(request, models) -> Pipeline:
    return models[request.param]


ABOUT = {"name": "heart-disease", "family": "x", "origin": "sample", "snapshot": "0" * 64}


def test_bundle_is_complete_and_its_manifest_true(model):
    files = export.unpack(export.build_bundle(model, about=ABOUT, evaluation={"auc": 0.9}, seed=0))
    manifest = json.loads(files["manifest.json"])

    assert set(manifest["files"]) == set(files) - {"manifest.json"}
    for name, entry in manifest["files"].items():
        assert entry == {"sha256": hashlib.sha256(files[name]).hexdigest(), "bytes": len(files[name])}
    assert manifest["model"] == {**ABOUT, "contract_version": contract.VERSION, "threshold": 0.5}
    assert json.loads(files["contract.json"]) == json.loads(json.dumps(contract.json_schema()))


@pytest.mark.parametrize("family", training.FAMILIES)
def test_same_recipe_on_the_same_records_gives_the_same_bytes(cohort, models, family):
    records = dataset.labelled(dataset.canonical(cohort))
    again = training.fit(family, records, profile=training.Profile("test", splits=2, repeats=1, trees=30), seed=0)
    first = export.build_bundle(models[family], about=ABOUT, evaluation={}, seed=0)
    assert export.build_bundle(again, about=ABOUT, evaluation={}, seed=0) == first


def test_stored_model_answers_as_the_model_does(model):
    rows = export.legal_rows(500, seed=3)
    stored = export.from_skops(export.to_skops(model))
    assert (training.probability(stored, rows) == training.probability(model, rows)).all()


def test_unexpected_types_are_refused():
    with pytest.raises(skops.io.exceptions.UntrustedTypesFoundException):
        export.from_skops(skops.io.dumps(HeartlineError("a", where="b", expected="c", do="d")))


def test_reference_predictions_are_the_models(model):
    files = export.unpack(export.build_bundle(model, about=ABOUT, evaluation={}, seed=0))
    reference = json.loads(files["reference.json"])
    rows = np.array(
        [[np.nan if one[n] is None else one[n] for n in contract.FEATURE_NAMES] for one in reference["records"]]
    )
    assert training.probability(model, rows).tolist() == reference["probabilities"]
    assert any(value is None for one in reference["records"] for value in one.values())


def test_an_export_of_another_model_is_refused(models):
    onnx = export.to_onnx(models["random_forest"])
    with pytest.raises(export.ExportError, match="differs from the model by up to"):
        export.check_parity(models["logistic_regression"], onnx, export.legal_rows(200, seed=0))


def test_legal_rows_are_legal():
    rows = export.legal_rows(2000, seed=1)
    for position, column in enumerate(contract.FEATURES):
        values = rows[:, position]
        assert np.isnan(values).any() == column.optional
        values = values[~np.isnan(values)]
        assert values.min() >= column.minimum
        assert values.max() <= column.maximum
        if column.codes:
            assert set(values) == set(map(float, column.codes))
