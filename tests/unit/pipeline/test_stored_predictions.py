"""What ``train`` stores of a family's out-of-fold predictions, and ``compare`` reads."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from heartline.errors import HandoverError
from heartline.pipeline import candidates
from heartline.pipeline.candidates import TrainingInputs
from heartline.pipeline.compare import compare
from heartline.pipeline.train import train
from heartline.storage import object_store as stores
from tests.unit.pipeline.support import LINEAR


def test_predictions_are_parquet_and_are_read_to_the_last_bit(pair):
    table = pq.read_table(pa.BufferReader(stores.get(pair.linear["predictions"])))
    inputs = TrainingInputs.of(pair.prepared)
    found = candidates.read(pair.linear)
    assert table.num_rows == len(inputs.records) == len(found.predictions.probabilities)
    assert (found.predictions.labels == inputs.records.labels).all()
    assert (found.predictions.groups == inputs.records.groups).all()
    assert found.predictions.labels.dtype == found.predictions.groups.dtype == np.int64
    assert found.evaluation.out_of_fold["roc_auc"].value == pair.linear["roc_auc"]
    assert found.predictions.fold_aucs.mean() == pytest.approx(found.evaluation.fold_auc_mean)


def test_equal_inputs_store_equal_bytes(pair):
    assert train(LINEAR, pair.prepared, run="again")["predictions"] == pair.linear["predictions"]


def test_predictions_of_another_version_are_refused(pair):
    old = {**pair.linear, "predictions": stores.put(b'{"probabilities": []}', "predictions", ".json")}
    with pytest.raises(HandoverError, match="another form") as caught:
        compare([old, pair.forest], pair.prepared, run="an upgrade in the middle")
    assert "trigger a new run" in caught.value.hint


def test_the_fold_plan_is_read_in_one_byte_a_record(pair):
    folds = TrainingInputs.of(pair.prepared).folds
    assert folds.dtype == np.int8
