"""What the pages on monitoring say beside their measured parts: markers, settings, Hungary's patients, rates."""

import re

import numpy as np
import pytest
from monitoring_peers import years
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss, roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from heartline.monitoring import alarms
from heartline.monitoring.inputs import Settings
from tests.benchmarks import monitoring_cost
from tests.conftest import ROOT

PAGE = (ROOT / "docs" / "monitoring.md").read_text()


def test_the_page_has_the_markers_of_the_measured_cost():
    assert -1 < PAGE.find(monitoring_cost.PART.begin) < PAGE.find(monitoring_cost.PART.end)


def test_the_pages_state_the_rates_of_the_usual_settings():
    said = alarms.overall(Settings())
    for share in ("at most 3 % of the versions ever", "about 10 % of the years"):
        assert share in said
        for page in ("README.md", "docs/monitoring.md", "docs/monitoring-evidence.md"):
            assert share.removesuffix(" ever") in re.sub(r"\s+", " ", (ROOT / page).read_text()), page


def test_the_settings_of_the_monitoring_are_named_where_a_reader_upgrades():
    upgrading = (ROOT / "docs" / "upgrading.md").read_text().partition("## 0.5")[0]
    new = set(re.findall(r"`(HEARTLINE_(?:HARM|DRIFT|WEEKLY|MONITORING|OUTCOMES|PREDICTIONS_URL)\w*)`", PAGE))
    assert len(new) == 8
    assert sorted(one for one in new if one not in upgrading) == []


@pytest.fixture
def pools(real_data, monkeypatch):
    """The real records of both hospitals."""
    monkeypatch.setenv("HEARTLINE_REAL_DATA", str(real_data))
    years.pools.cache_clear()
    yield years.pools()
    years.pools.cache_clear()


def test_a_model_of_cleveland_is_as_good_for_hungary(pools):
    home, other = ((one.features[:, years.TEN], one.labels) for one in pools)
    model = make_pipeline(StandardScaler(), LogisticRegression())
    folds = StratifiedKFold(10, shuffle=True, random_state=0)
    at_home = cross_val_predict(model, *home, cv=folds, method="predict_proba")[:, 1]
    away = model.fit(*home).predict_proba(other[0])[:, 1]
    found = [
        f"{roc_auc_score(labels, one):.2f} and Brier score {brier_score_loss(labels, one):.3f}"
        for labels, one in ((home[1], at_home), (other[1], away))
    ]
    error = np.std((other[1] - away) ** 2) / np.sqrt(len(away))
    text = re.sub(r"\s+", " ", PAGE)
    assert all(f"ROC AUC {one}" in text for one in found)
    assert f"{len(away)} records, standard error of the Brier score {error:.3f}" in text
