"""The Postman collection is up to date, and the service responds to its requests as its tests expect."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from heartline import contract
from serving.api.postman import collection
from serving.model.records import Contract
from serving.settings import Settings
from tests.serving.fakes import CONTRACT, FakeRegistry, Service
from tests.serving.trained import bundle

ROOT = Path(__file__).parents[3]
STATUS = "pm.response.to.have.status("


def requests(item: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if "request" in item:
        yield item
    for inner in item.get("item", []):
        yield from requests(inner)


def script(item: dict[str, Any]) -> str:
    return "\n".join(item["event"][0]["script"]["exec"])


@pytest.fixture
def trained(registry: FakeRegistry, settings: Settings) -> Service:
    """A service with a model of the project's own contract."""
    registry.register(bundle("logistic_regression"))
    return Service(settings).poll()


def test_the_file_is_up_to_date() -> None:
    stored = json.loads((ROOT / "serving" / "postman_collection.json").read_text())

    assert stored == collection(contract.json_schema()), (
        "make it again: python -m serving.api.postman contract.json > serving/postman_collection.json"
    )


@pytest.mark.parametrize("schema", [CONTRACT, contract.json_schema()], ids=["small", "own"])
def test_its_records_are_valid_except_for_one_field(schema: dict[str, Any]) -> None:
    checker = Contract(schema)
    bodies = {item["name"]: item["request"].get("body", {}).get("raw") for item in requests(collection(schema))}

    assert checker.errors(json.loads(bodies["One record"])) == []
    assert [checker.errors(record) for record in json.loads(bodies["Several records"])] == [[], []]
    assert list(json.loads(bodies["Without the optional fields"])) == [
        name for name in schema["x-features"] if name in schema["required"]
    ]
    (error,) = checker.errors(json.loads(bodies["Invalid value"]))
    assert error.pointer == f"/{schema['x-features'][0]}"


def test_each_request_gets_the_status_that_its_test_expects(trained: Service) -> None:
    """Newman runs the scripts; this test finds failing requests without it."""
    seen = set()
    for item in requests(collection(contract.json_schema())):
        sent = item["request"]
        response = trained.client.open(
            sent["url"]["raw"].removeprefix("{{baseUrl}}"),
            method=sent["method"],
            headers={header["key"]: header["value"] for header in sent.get("header", [])},
            data=sent.get("body", {}).get("raw"),
        )
        expected = script(item).partition(STATUS)[2].partition(")")[0]
        assert str(response.status_code) == (expected if "log-unavailable" not in script(item) else "503"), item["name"]
        seen.add(response.status_code)
    assert seen == {200, 400, 404, 405, 415, 422, 503}


def test_each_request_has_a_test() -> None:
    for item in requests(collection(contract.json_schema())):
        assert script(item).startswith("pm.test(")
        assert "pm.expect(" in script(item)


def test_the_old_api_is_supported(trained: Service) -> None:
    """A single record posted to /predict gets has_heart_disease.

    The names are written here, not taken from the contract: a renamed field would break old clients.
    """
    measured = {"age": 63, "trestbps": 140, "chol": 260, "thalach": 112, "oldpeak": 2.4}
    coded = {"sex": 1, "cp": 4, "fbs": 0, "restecg": 2, "exang": 1, "slope": 2, "ca": 1, "thal": 7}
    record = {**measured, **coded}

    response = trained.client.post("/predict", json=record)

    assert response.status_code == 200
    assert response.get_json()["has_heart_disease"] is (response.get_json()["probability"] >= 0.5)


@pytest.mark.parametrize(("no_skips", "status"), [("", 0), ("1", 1)])
def test_without_node_the_run_is_skipped_or_fails_if_skipping_is_forbidden(
    tmp_path: Path, no_skips: str, status: int
) -> None:
    for name in ("dirname", "id"):
        (tmp_path / name).symlink_to(str(shutil.which(name)))
    done = subprocess.run(
        [str(shutil.which("bash")), str(ROOT / ".ci" / "newman")],
        env={"PATH": str(tmp_path), "HEARTLINE_NO_SKIPS": no_skips, "HOME": os.environ.get("HOME", "/")},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )

    assert (done.returncode, done.stdout) == (status, "")
    assert done.stderr.startswith("the Postman collection is not run: npm is not here")
