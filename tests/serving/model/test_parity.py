"""The service predicts over HTTP as the scikit-learn pipeline does, for any valid record."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import onnxruntime
import pytest
import skl2onnx
from flask.testing import FlaskClient
from hypothesis import example, given, settings
from hypothesis import strategies as st
from skl2onnx.common.data_types import FloatTensorType
from sklearn.ensemble import RandomForestClassifier

from heartline import contract
from heartline.training import families
from serving.app import create_app
from serving.model.bundle import Model
from serving.settings import Settings
from tests.serving import trained
from tests.serving.fakes import CONTRACT, make_bundle

TOLERANCE = 1e-5
Record = dict[str, float | int | None]


def values(column: contract.Column) -> st.SearchStrategy[float | int | None]:
    """Return the values that the contract allows in a field; integers also as 63.0."""
    if column.codes:
        legal: Any = st.sampled_from(sorted(column.codes))
    elif column.whole:
        legal = st.integers(int(column.minimum), int(column.maximum))
    else:
        return st.floats(column.minimum, column.maximum)
    legal = legal | legal.map(float)
    return legal | st.none() if column.optional else legal


def records() -> st.SearchStrategy[Record]:
    """Valid records with fields in any order; some optional ones are null, some are absent."""
    required = {column.name: values(column) for column in contract.FEATURES if not column.optional}
    optional = {column.name: values(column) for column in contract.FEATURES if column.optional}
    found = st.fixed_dictionaries(required, optional=optional)
    return found.flatmap(lambda record: st.permutations(list(record.items())).map(dict))


def edge(which: Callable[[contract.Column], float]) -> Record:
    return {column.name: which(column) for column in contract.FEATURES}


LOWEST = edge(lambda column: min(column.codes) if column.codes else column.minimum)
HIGHEST = edge(lambda column: max(column.codes) if column.codes else column.maximum)


@pytest.fixture(scope="module", params=trained.FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def client(family: str, tmp_path_factory: pytest.TempPathFactory) -> FlaskClient:
    """A client of the service with the family's bundle."""
    folder = tmp_path_factory.mktemp(family)
    for name, data in trained.bundle(family).items():
        (folder / name).write_bytes(data)
    app = create_app(Settings(cache=str(folder / "cache"), bundle=str(folder)))
    app.extensions["model_store"].start()
    return app.test_client()


def post(client: FlaskClient, body: list[Record] | Record) -> Any:
    # not as json=body: Flask would sort the fields
    response = client.post("/predict", data=json.dumps(body), content_type="application/json")
    assert response.status_code == 200, response.data
    return response.get_json()


def test_the_strategy_generates_absent_and_null_fields() -> None:
    optional = {column.name for column in contract.FEATURES if column.optional}
    seen: set[tuple[str, str]] = set()

    @settings(max_examples=200, derandomize=True, database=None)
    @given(record=records())
    def look(record: Record) -> None:
        seen.update((name, "absent") for name in optional - set(record))
        seen.update((name, "null") for name in optional if name in record and record[name] is None)
        seen.update((name, "there") for name in optional if record.get(name) is not None)
        if list(record) != [name for name in contract.FEATURE_NAMES if name in record]:
            seen.add(("fields", "in another order"))

    look()

    assert optional
    assert seen == {(name, way) for name in optional for way in ("absent", "null", "there")} | {
        ("fields", "in another order")
    }


def test_predictions_equal_those_of_the_pipeline(client: FlaskClient, family: str) -> None:
    pipeline = trained.pipeline(family)

    @settings(max_examples=150, derandomize=True, database=None)
    @given(batch=st.lists(records(), min_size=1, max_size=5))
    @example(batch=[LOWEST, HIGHEST])
    def check(batch: list[Record]) -> None:
        rows = np.array([[record.get(name) for name in contract.FEATURE_NAMES] for record in batch], dtype="float64")
        expected = families.probability(pipeline, rows)

        together = post(client, batch)["predictions"]
        singly = [post(client, record) for record in batch]

        for answers in (together, singly):
            found = [answer["probability"] for answer in answers]
            assert found == pytest.approx(expected, abs=TOLERANCE)
            labels = [answer["has_heart_disease"] for answer in answers]
            assert labels == (expected >= contract.THRESHOLD).tolist()
        for answer, record in zip(together, batch, strict=True):
            assert answer["imputed"] == [name for name in contract.FEATURE_NAMES if record.get(name) is None]

    check()


def test_a_number_as_float32_and_as_float64_is_the_same_input(client: FlaskClient) -> None:
    record: Record = {column.name: column.example for column in contract.FEATURES}
    exact = post(client, {**record, "oldpeak": 2.3})["probability"]
    assert post(client, {**record, "oldpeak": 2.299999952316284})["probability"] == exact
    finer = post(client, {**record, "oldpeak": 2.3456})["probability"]
    assert finer == pytest.approx(post(client, {**record, "oldpeak": 2.35})["probability"], abs=0.05)


def test_a_forest_with_rounding_errors_is_served() -> None:
    features = np.array([[0.0], [1.0]] * 20, dtype="float32")
    forest = RandomForestClassifier(329, random_state=0, bootstrap=False).fit(features, [0, 1] * 20)
    data = skl2onnx.to_onnx(
        forest,
        initial_types=[("record", FloatTensorType([None, 1]))],
        options={id(forest): {"zipmap": False}},
        target_opset=18,
    ).SerializeToString()
    sums = onnxruntime.InferenceSession(data).run(["probabilities"], {"record": features[:2]})[0]
    assert sums.max() > 1, "this forest shows nothing any more"
    small = {**CONTRACT, "properties": {"sex": {"enum": [0, 1]}}, "required": ["sex"], "x-features": ["sex"]}
    reference = {"records": [{"sex": 0}, {"sex": 1}], "probabilities": [0.0, 1.0]}

    model = Model(make_bundle(model=data, contract=small, reference=reference))

    assert model.probabilities(features[:2]).tolist() == [0, 1]
