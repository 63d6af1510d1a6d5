"""The cells of the columns and the bars of their pictures."""

import numpy as np
import pytest

from heartline import contract
from heartline.monitoring.methods import columns
from heartline.monitoring.methods.columns import COUNTED, FEATURES, NAMES


def test_every_feature_the_probability_and_the_missing_fields_are_counted():
    assert (*contract.FEATURE_NAMES, "probability", "missing fields") == NAMES


@pytest.mark.parametrize("column", FEATURES, ids=lambda column: column.name)
def test_each_value_of_the_contract_has_its_cell(column):
    (wanted,) = (one for one in contract.FEATURES if one.name == column.name)
    values = (
        np.array(sorted(wanted.codes), dtype="float64")
        if wanted.codes
        else np.arange(wanted.minimum, wanted.maximum + 1e-9, 10.0**-wanted.decimals).round(wanted.decimals)
    )
    cells = column.cells(values)
    assert cells.tolist() == list(range(column.size))
    assert [column.value(int(cell)) for cell in cells] == pytest.approx(values.tolist())


def test_a_missing_value_has_no_cell_and_one_out_of_range_the_nearest():
    (chol,) = (one for one in FEATURES if one.name == "chol")
    assert chol.cells(np.array([np.nan, 6.2, 5000.0])).tolist() == [-1, 0, chol.size - 1]


def test_finer_values_are_rounded():
    (oldpeak,) = (one for one in FEATURES if one.name == "oldpeak")
    assert oldpeak.cells(np.array([2.3, 0.004, 0.005, np.float32(2.3)])).tolist() == [230, 0, 1, 230]


def test_missing_fields_and_probabilities_are_counted():
    features = np.full((2, len(FEATURES)), np.nan)
    features[0] = [column.example for column in contract.FEATURES]
    cells = columns.all_cells(features, np.array([0.0004, 1.0]))
    assert cells[:, -2:].tolist() == [[0, 0], [1000, len(FEATURES)]]
    counts = columns.counts(cells)
    assert [int(one.sum()) for one in counts] == [1] * len(FEATURES) + [2, 2]


def test_bars_have_about_equal_shares_of_the_reference():
    (age,) = (one for one in FEATURES if one.name == "age")
    values = np.random.default_rng(0).normal(54, 9, 303).round()
    counts = np.bincount(age.cells(values), minlength=age.size)
    bars = columns.bars(age, counts)
    heights = bars.heights(counts)
    assert heights.sum() == 303
    assert heights.min() > 15
    assert bars.labels[0].startswith("up to ")
    assert bars.labels[-1].startswith("from ")
    assert len(bars.labels) == len(heights)


@pytest.mark.parametrize("column", COUNTED, ids=lambda column: column.name)
@pytest.mark.parametrize("kind", ["empty", "one value", "last value"])
def test_bars_exist_whatever_the_reference(column, kind):
    counts = np.zeros(column.size, dtype=np.int64)
    if kind != "empty":
        counts[-1 if kind == "last value" else 0] = 5
    bars = columns.bars(column, counts)
    assert bars.heights(counts).sum() == counts.sum()
    assert len(set(bars.labels)) == len(bars.labels)
