"""A third family is one entry in the table: it travels the whole way from there."""

import json
from pathlib import Path

import mlflow
import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline

from heartline import (
    bundles,
    contract,
    dataset,
    evaluation,
    export,
    figures,
    gate,
    registry,
    stages,
    training,
)
from heartline import store as stores
from heartline.preprocessing import preprocessor

PROFILE = training.Profile("test", splits=4, repeats=2, trees=20)
NAME = "k_nearest_neighbours"


@pytest.fixture
def neighbours(monkeypatch) -> training.Family:
    family = training.Family(
        NAME,
        "k nearest neighbours",
        simplicity=3,
        parameters=lambda profile, rows=0: {"n_neighbors": 15},
        build=lambda parameters, seed: Pipeline(
            [("preprocess", preprocessor(scale=True)), ("model", KNeighborsClassifier(**parameters))]
        ),
        # with some k the gate refuses the export: on one row of 4096 the last neighbour is another in float32
        grid=({"n_neighbors": 45}, {"n_neighbors": 25}),
    )
    monkeypatch.setitem(training.FAMILIES, NAME, family)
    return family


def test_a_third_family_is_tuned_evaluated_exported_and_drawn(neighbours, cohort):
    train, held_out = dataset.divide(dataset.canonical(cohort))
    records, holdout = dataset.labelled(train), dataset.labelled(held_out)
    plan = dataset.plan_folds(records, splits=4, repeats=2, seed=0)

    cv = evaluation.cross_validate(NAME, records, plan, profile=PROFILE, seed=0)
    model = training.fit(NAME, records, profile=PROFILE, seed=0)
    numbers = evaluation.evaluate(cv, records, holdout, training.probability(model, holdout.features), seed=0)
    bundle = export.build_bundle(model, about={"family": NAME}, evaluation=numbers.as_dict(), seed=0)
    pictures = figures.draw(
        figures.Evidence.of(neighbours.title, model, records, (cv, numbers), profile="test", seed=0)
    )

    assert training.chosen_parameters(NAME, model) in neighbours.grid
    assert numbers.out_of_fold["roc_auc"].low > 0.8
    assert sum(numbers.chosen.values()) == 8
    files = bundles.unpack(bundle)
    stored = export.from_skops(files["model.skops"])
    rows = export.legal_rows(200, seed=1)
    assert (training.probability(stored, rows) == training.probability(model, rows)).all()
    export.check_parity(model, files["model.onnx"], rows)
    assert json.loads(files["evaluation.json"])["out_of_fold"]["brier"]["value"] == numbers.out_of_fold["brier"].value
    assert len(pictures) == 6
    again = training.fit(NAME, records, profile=PROFILE, seed=0)
    assert export.build_bundle(again, about={"family": NAME}, evaluation=numbers.as_dict(), seed=0) == bundle
    assert np.isfinite(cv.importance).all()


def test_a_third_family_is_compared_served_on_trial_and_registered(neighbours, module_store, mlflow_store, need):
    need((gate.ROOT / ".venv-serving").exists(), "the service's environment")
    validated = stages.validate(stages.ingest("sample:250"), run="a third family")
    prepared = stages.preprocess(validated, profile="quick", seed=0)
    # when
    trained = [stages.train(family, prepared) for family in ("logistic_regression", NAME)]
    compared = stages.compare(trained, prepared, run="a third family")
    registered = stages.register(compared, promote="manual")
    # then the service answered from its bundle as the model does
    kept = json.loads(stores.get(trained[1]["answers"]))
    admission = kept["evidence"]["admission"]
    assert admission["records"] == export.REFERENCE_ROWS
    assert admission["apart"] <= export.TOLERANCE
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
    assert registry.aliased("staging").number in registered["versions"].values()
