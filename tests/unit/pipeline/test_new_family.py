"""A third family is one entry in ``FAMILIES``: it is then trained, compared, served and registered."""

import json
from pathlib import Path

import mlflow
import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline

from heartline import contract
from heartline.evaluation import cross_validation
from heartline.packaging import export, smoke_test
from heartline.packaging.bundle import unpack
from heartline.pipeline import candidates
from heartline.pipeline.compare import compare
from heartline.pipeline.ingest import ingest
from heartline.pipeline.preprocess import preprocess
from heartline.pipeline.register import register
from heartline.pipeline.train import train
from heartline.pipeline.validate import validate
from heartline.registry import mlflow_registry
from heartline.reports import model_figures
from heartline.storage import object_store as stores
from heartline.storage import record_identity, splits
from heartline.training import families
from heartline.training.preprocessing import preprocessor

PROFILE = families.Profile("test", splits=4, repeats=2, trees=20)
NAME = "k_nearest_neighbours"


@pytest.fixture
def neighbours(monkeypatch) -> families.Family:
    family = families.Family(
        NAME,
        "k nearest neighbours",
        simplicity=3,
        parameters=lambda profile, rows=0: {"n_neighbors": 15},
        build=lambda parameters, seed: Pipeline(
            [("preprocess", preprocessor(scale=True)), ("model", KNeighborsClassifier(**parameters))]
        ),
        # with some k the export check fails: on one row of 4096 the last neighbour differs in float32
        grid=({"n_neighbors": 45}, {"n_neighbors": 25}),
    )
    monkeypatch.setitem(families.FAMILIES, NAME, family)
    return family


def test_a_third_family_is_tuned_evaluated_exported_and_drawn(neighbours, cohort):
    training, held_out = splits.train_test_split(record_identity.canonical(cohort))
    records, holdout = splits.to_labelled(training), splits.to_labelled(held_out)
    plan = splits.plan_folds(records, splits=4, repeats=2, seed=0)

    cv = cross_validation.cross_validate(NAME, records, plan, profile=PROFILE, seed=0)
    model = families.fit(NAME, records, profile=PROFILE, seed=0)
    numbers = cross_validation.evaluate(cv, records, holdout, families.probability(model, holdout.features), seed=0)
    bundle = export.build_bundle(model, about={"family": NAME}, evaluation=numbers.as_dict(), seed=0)
    pictures = model_figures.draw(
        model_figures.FigureData.of(neighbours.title, model, records, (cv, numbers), profile="test", seed=0)
    )

    assert families.chosen_parameters(NAME, model) in neighbours.grid
    assert numbers.out_of_fold["roc_auc"].low > 0.8
    assert sum(numbers.chosen.values()) == 8
    files = unpack(bundle)
    stored = export.from_skops(files["model.skops"])
    rows = export.legal_rows(200, seed=1)
    assert (families.probability(stored, rows) == families.probability(model, rows)).all()
    export.check_parity(model, files["model.onnx"], rows)
    assert json.loads(files["evaluation.json"])["out_of_fold"]["brier"]["value"] == numbers.out_of_fold["brier"].value
    assert len(pictures) == 6
    again = families.fit(NAME, records, profile=PROFILE, seed=0)
    assert export.build_bundle(again, about={"family": NAME}, evaluation=numbers.as_dict(), seed=0) == bundle
    assert np.isfinite(cv.importance).all()


def test_a_third_family_is_compared_smoke_tested_and_registered(neighbours, module_store, mlflow_store, need):
    need((smoke_test.ROOT / ".venv-serving").exists(), "the service's environment")
    validated = validate(ingest("sample:250"), run="a third family")
    prepared = preprocess(validated, profile="quick", seed=0)
    # when
    trained = [train(family, prepared) for family in ("logistic_regression", NAME)]
    compared = compare(trained, prepared, run="a third family")
    registered = register(compared, promotion="manual")
    # then the service's predictions are the model's
    smoke_test_result = candidates.read_evidence(trained[1])["smoke_test"]
    assert smoke_test_result["records"] == export.REFERENCE_ROWS
    assert smoke_test_result["max_abs_diff"] <= export.TOLERANCE
    # and it was compared on the folds of the other, with a page and a card
    names = {one.path for one in mlflow_store.list_artifacts(compared["comparison_run"])}
    assert names >= {"comparison.html", f"model_card_{NAME}.html", "model_card_logistic_regression.html"}
    path = mlflow_store.download_artifacts(compared["comparison_run"], "comparison.json")
    (difference,) = json.loads(Path(path).read_text())["comparisons"]
    assert (difference["challenger"], difference["incumbent"]) == (NAME, "logistic_regression")
    # and it is a version with its bundle, which MLflow opens too
    version = mlflow_store.get_model_version(contract.MODEL_NAME, registered["versions"][NAME])
    assert version.tags["family"] == NAME
    assert version.tags["bundle"] == stores.digest_of(trained[1]["bundle"])
    assert version.run_id == trained[1]["run_id"]
    assert mlflow.sklearn.load_model(version.source)[-1].n_neighbors in (45, 25)
    assert mlflow_registry.aliased("staging").number in registered["versions"].values()
