"""Records at the resolution of the contract, and the memory that they take."""

import tracemalloc

import numpy as np
import pandas as pd
import pytest

from heartline import contract, resolution
from heartline.ingestion.sample import synthetic


def test_columns_at_their_resolution_are_shared_and_not_copied():
    """Records with few rows and many: what they add in memory is less than the fourteen columns again."""

    def peak(n):
        frame = pd.concat([synthetic.generate()] * -(-n // 303), ignore_index=True).iloc[:n].copy()
        tracemalloc.start()
        try:
            found = resolution.frame_at_resolution(frame)
            assert all(np.shares_memory(found[name], frame[name]) for name in contract.COLUMN_NAMES)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert (peak(80_000) - peak(20_000)) / 60_000 < 60


@pytest.mark.parametrize("values", [[2.345, 1.0], [-0.0, 1.0], np.array([2.3, 1.0], dtype="float32")])
def test_a_column_that_is_not_at_its_resolution_is_not_changed_in_place(values):
    frame = synthetic.generate().iloc[:2].assign(oldpeak=values)
    before = frame["oldpeak"].to_numpy().copy()
    found = resolution.frame_at_resolution(frame)["oldpeak"].to_numpy()
    assert found.tobytes() == resolution.at_resolution(frame["oldpeak"], contract.COLUMNS[9]).tobytes()
    assert frame["oldpeak"].to_numpy().tobytes() == before.tobytes()
    assert not np.shares_memory(found, frame["oldpeak"])
