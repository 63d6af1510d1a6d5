"""The simulation runs at sizes that take seconds; the page has its results."""

import json
import re
import shutil
from importlib import util

import numpy as np
import pytest
from checked import call
from sklearn.linear_model import LogisticRegression

from heartline.storage import record_identity, splits
from tests.conftest import ROOT

SCRIPT = ROOT / "tests" / "benchmarks" / "verdicts.py"
PAGE = ROOT / "docs" / "evidence.md"
SIZES = ("--refitted", "12", "--null", "20", "--drawn", "10", "--draws", "200", "--jobs", "1")


@pytest.fixture(scope="module")
def verdicts():
    spec = util.spec_from_file_location("verdicts", SCRIPT)
    module = util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    folder = tmp_path_factory.mktemp("verdicts")
    shutil.copy(PAGE, folder / "evidence.md")
    figure, figures = folder / "power.svg", folder / "verdicts.json"
    done = call(SCRIPT, *SIZES, "--json", figures, "--page", folder / "evidence.md", "--figure", figure)
    assert done.returncode == 0, done.stderr
    return json.loads(figures.read_text()), (folder / "evidence.md").read_text(), figure.read_text()


def test_every_rule_is_counted_and_naive_rules_are_wrong_more_often(simulated):
    counted = simulated[0]["refitted"]["better"]
    assert set(counted) == {"split", "t", "folds", "delong", "bootstrap", "verdict"}
    assert counted["verdict"] <= counted["bootstrap"] <= 12
    assert counted["verdict"] < counted["split"]


def test_a_large_difference_is_found(simulated):
    power = simulated[0]["power"]["242"]
    assert power["0.05"]["better"]["verdict"] >= 8 > power["0.01"]["better"]["verdict"]


def test_the_page_is_written_between_its_markers(simulated, verdicts):
    results, page, figure = simulated
    before, _, rest = page.partition(verdicts.PART.begin)
    assert rest.partition(verdicts.PART.end)[0].strip() == verdicts.markdown(results)
    assert before == PAGE.read_text().partition(verdicts.PART.begin)[0]
    assert figure.count("<svg") == 1


def test_a_page_without_markers_is_refused(tmp_path):
    (tmp_path / "page.md").write_text("nothing\n")
    done = call(SCRIPT, "--page", tmp_path / "page.md")
    assert done.returncode == 2
    assert "has no lines <!-- verdicts: begin --> and <!-- verdicts: end -->" in done.stderr


def test_on_the_page_the_rate_of_false_better_is_at_most_five_per_cent():
    rows = re.findall(r"^\| \*\*Heartline's \*better\*\*\* \|(.*)\|$", PAGE.read_text(), re.MULTILINE)
    assert len(rows) == 1
    highest = [float(high) for high in re.findall(r"to ([\d.]+)\)", rows[0])]
    assert len(highest) == 3
    assert max(highest) <= 5


def test_the_page_has_the_size_of_clevelands_training_set(cleveland):
    train, holdout = splits.train_test_split(record_identity.canonical(cleveland))
    text = PAGE.read_text().replace("\n", " ")
    assert f"242 records are four fifths of Cleveland's {len(cleveland)}, the nominal size of its training set" in text
    assert (
        f"The real one has {len(train)}: the train/test split uses each record's hash, and the hold-out has "
        f"{len(holdout)}." in text
    )


def test_many_logistic_regressions_at_once_are_scikit_learns(verdicts):
    random = np.random.default_rng(0)
    features = random.normal(size=(120, 5))
    labels = (features[:, 0] + random.normal(size=120) > 0).astype(int)
    subsets = random.random((3, 120)) < 0.9
    found = verdicts.logistic_regression(features, labels, subsets)
    for subset, p in zip(subsets, found, strict=True):
        model = LogisticRegression(C=1.0, tol=1e-10, max_iter=1000).fit(features[subset], labels[subset])
        assert p == pytest.approx(model.predict_proba(features)[:, 1], abs=1e-5)


def test_drawn_scores_have_the_given_auc(verdicts):
    gains = [verdicts.drawn_pair(seed, n=1000, gain=0.03, draws=39)["gain"] for seed in range(60)]
    assert np.mean(gains) == pytest.approx(0.03, abs=0.003)


def test_between_the_measured_differences_the_power_is_interpolated(verdicts):
    power = {str(gain): {"times": 10, "better": {"verdict": hits}} for gain, hits in ((0.01, 2), (0.02, 7), (0.03, 9))}
    assert verdicts.needed(power) == pytest.approx(0.025)
    assert verdicts.needed({"0.01": power["0.01"]}) is None
