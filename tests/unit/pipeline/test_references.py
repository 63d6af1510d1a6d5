"""The reference of a version is what its training stored; what is gone is said, and a Brier score is needed."""

import os
import shutil
from pathlib import Path

import mlflow
import numpy as np
import pytest

from heartline import contract
from heartline.evaluation.metrics import evaluate
from heartline.monitoring import references
from heartline.monitoring.references import NoReferenceError
from heartline.pipeline.compare import compare
from heartline.pipeline.register import register
from heartline.registry import versions


@pytest.fixture
def version(pair, tmp_path, monkeypatch):
    """A registered version, with a store that only this test changes."""
    store = Path(os.environ["HEARTLINE_STORE"].removeprefix("file://"))
    shutil.copytree(store, tmp_path / "store")
    monkeypatch.setenv("HEARTLINE_STORE", (tmp_path / "store").as_uri())
    compared = compare(pair.trained, pair.prepared, run="r")
    return versions.find(register(compared, promotion="manual", run="r")["versions"]["logistic_regression"])


def test_records_and_out_of_fold_predictions_of_the_training(version, pair):
    found = references.of(version.number, version.digest)
    assert found.missing == ()
    assert found.features.shape == (len(found.labels), len(contract.FEATURES))
    scored = evaluate(
        found.labels, found.probabilities, np.arange(len(found.labels)), seed=0, draws=10, names=["brier"]
    )
    assert scored["brier"].value == pytest.approx(version.evaluation["out_of_fold"]["brier"]["value"])
    assert found.snapshot == version.tags["snapshot"]


def test_the_predictions_of_an_earlier_release_are_found_by_their_evaluation(version):
    expected = references.of(version.number, version.digest)
    mlflow.MlflowClient().delete_model_version_tag(contract.MODEL_NAME, version.number, references.PREDICTIONS)
    found = references.of(version.number, version.digest)
    assert (found.probabilities == expected.probabilities).all()
    assert found.missing == ()


def test_without_predictions_the_stored_brier_score_counts_and_it_is_said(version, tmp_path):
    shutil.rmtree(tmp_path / "store" / "predictions")
    found = references.of(version.number, version.digest)
    assert np.isnan(found.probabilities).all()
    assert found.brier == version.evaluation["out_of_fold"]["brier"]["value"]
    assert found.missing == (references.NO_PREDICTIONS,)
    assert len(found.features) == len(found.labels) > 0


def test_without_records_too(version, tmp_path):
    shutil.rmtree(tmp_path / "store" / "predictions")
    shutil.rmtree(tmp_path / "store" / "snapshots")
    found = references.of(version.number, version.digest)
    assert found.features.shape == (0, len(contract.FEATURES))
    assert found.missing == (references.NO_RECORDS, references.NO_PREDICTIONS)


def test_another_or_no_version_has_no_reference(version):
    with pytest.raises(NoReferenceError, match="other files"):
        references.of(version.number, "0" * 64)
    with pytest.raises(NoReferenceError, match="deleted"):
        references.of("99", version.digest)
