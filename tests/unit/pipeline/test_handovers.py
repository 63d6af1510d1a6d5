"""What the tasks hand over: plain JSON, and a clear error for what another version of the code wrote."""

import json

import pytest

from heartline.errors import HandoverError, PermanentError
from heartline.pipeline import handovers
from heartline.pipeline.compare import compare
from heartline.pipeline.preprocess import preprocess
from heartline.pipeline.register import register
from heartline.pipeline.train import train
from heartline.pipeline.validate import validate
from tests.conftest import ROOT
from tests.unit.pipeline.support import FOREST, LINEAR, refused

V1 = json.loads((ROOT / "tests/fixtures/v1/pipeline/xcom.json").read_text())


def test_what_the_tasks_return_is_small_plain_json(pair):
    compared = compare(pair.trained, pair.prepared)
    registered = register(compared, promotion="manual")
    for value, limit in ((pair.prepared, 4000), (pair.linear, 1500), (compared, 6000), (registered, 3000)):
        assert json.loads(json.dumps(value)) == value
        assert len(json.dumps(value)) < limit


def test_the_tasks_return_the_fields_of_their_types(pair):
    compared = compare(pair.trained, pair.prepared)
    registered = register(compared, promotion="manual")
    for value, kind in (
        (pair.prepared, handovers.Prepared),
        (pair.linear, handovers.Trained),
        (compared, handovers.Compared),
        (registered, handovers.Registered),
    ):
        assert kind.__required_keys__ <= value.keys() <= kind.__required_keys__ | kind.__optional_keys__


def test_a_refused_family_is_told_by_its_outcome(pair):
    one = refused(pair.forest)
    assert one.keys() == handovers.Refused.__required_keys__
    assert (handovers.is_refused(one), handovers.is_trained(one)) == (True, False)
    assert (handovers.is_refused(pair.linear), handovers.is_trained(pair.linear)) == (False, True)


@pytest.mark.parametrize(
    ("task", "read", "missing"),
    [
        ("ingest", lambda: validate(V1["ingest"]), "extra_columns, missing_columns, unparseable"),
        ("train", lambda: compare(V1["train"], V1["preprocess"]), "origin, outcome, predictions, roc_auc"),
        ("train", lambda: compare([V1["refused"]], V1["preprocess"]), "bundle, origin, outcome, predictions, roc_auc"),
        ("compare", lambda: register(V1["compare"], promotion="manual"), "cautions, look"),
    ],
    ids=["ingest", "train", "refused", "compare"],
)
def test_the_result_of_an_older_version_is_a_clear_error_that_is_not_retried(task, read, missing):
    with pytest.raises(HandoverError) as caught:
        read()
    assert caught.value.what == f"the result of the task {task} has another form than this version of Heartline reads"
    assert caught.value.where == f"XCom return_value of the task {task}; missing: {missing}"
    assert any(field in caught.value.expected for field in ("family", "raw", "winner"))
    assert "trigger a new run" in caught.value.hint
    assert isinstance(caught.value, PermanentError)


@pytest.mark.parametrize(
    "read",
    [
        lambda: preprocess({"snapshot": "file:///x"}, profile="quick", seed=0),
        lambda: train(LINEAR, {"snapshot": "file:///x"}),
        lambda: compare([], {"snapshot": "file:///x"}),
        lambda: register({"trained": []}, promotion="manual"),
        lambda: compare([{"outcome": "refused", "family": FOREST}], {}),
        lambda: register({}, promotion="manual"),
    ],
)
def test_each_task_checks_what_it_is_given(read):
    with pytest.raises(HandoverError, match="missing: "):
        read()


def test_results_of_an_older_version_that_did_not_change_are_read():
    handovers.expect("validate", V1["validate"])
    handovers.expect("preprocess", V1["preprocess"])
