"""The benchmark of second visits, with few cohorts."""

import numpy as np
import pandas as pd
import pytest

from heartline.storage.record_identity import PATIENT
from tests.benchmarks import patients


def test_second_visits_stay_together_by_key_and_as_near_duplicates():
    records = patients.cohort(150, 150, seed=0)
    assert len(records) == 300
    assert records[PATIENT].nunique() == 150
    apart = {way: patients.evaluate(0, patients=150, twice=150, way=way)["apart"] for way in patients.WAYS}
    assert apart["features"] > 0.2
    assert apart["near"] == apart["key"] == 0


def test_the_tables_are_written_between_their_markers():
    page = "a\n<!-- folds -->\nold\n<!-- /folds -->\nb\n"
    assert patients.replaced(page, "folds", "new") == "a\n<!-- folds -->\nnew\n<!-- /folds -->\nb\n"
    assert "| 150 | 150 |" in patients.pairs(1)


def test_the_former_plan_draws_the_folds_of_all_records_anew():
    records = patients._training(patients.cohort(303, 0, seed=0).drop(columns=PATIENT))
    plan = patients.stratified(records, folds=10, repeats=2, seed=0)
    sizes = pd.crosstab(plan[0], records.labels).to_numpy()
    assert np.ptp(sizes, axis=0) == pytest.approx([0, 0], abs=1)
