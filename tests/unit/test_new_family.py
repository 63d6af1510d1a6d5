"""A third family is one entry in the table: it travels the whole way from there."""

import json

import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline

from heartline import bundles, dataset, evaluation, export, figures, training
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
