"""HEARTLINE_BUNDLE: the service serves the bundle in a folder, after the same checks as for a registered one."""

from collections.abc import Callable
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from serving.app import create_app
from serving.settings import Settings
from tests.serving.fakes import RECORD, FakeRegistry, Files, Service, expected_probability, make_bundle

Serve = Callable[[Files], FlaskClient]


@pytest.fixture
def serve(registry: FakeRegistry, tmp_path: Path) -> Serve:
    """Write a bundle into a folder and serve it, with a registry that must not be used."""

    def serve(files: Files) -> FlaskClient:
        folder = tmp_path / "candidate"
        folder.mkdir()
        for name, data in files.items():
            (folder / name).write_bytes(data)
        app = create_app(Settings(mlflow_url=registry.url, cache=str(tmp_path / "cache"), bundle=str(folder)))
        app.extensions["model_store"].start()
        app.extensions["model_store"].stop()
        return app.test_client()

    return serve


def test_the_bundle_is_served_without_a_registry(serve: Serve, registry: FakeRegistry, tmp_path: Path) -> None:
    registry.register(make_bundle(-2.0))

    client = serve(make_bundle(1.0))

    answer = client.post("/predict", json=RECORD).get_json()
    assert answer["probability"] == pytest.approx(expected_probability(RECORD, 1.0), abs=1e-6)
    assert (answer["model"]["version"], answer["model"]["alias"]) == ("candidate", "candidate")
    ready = client.get("/readyz")
    assert ready.status_code == 200
    assert ready.get_json()["registry"] == {
        "reachable": None,
        "last_contact": None,
        "reason": "not polled: HEARTLINE_BUNDLE is set",
    }
    assert not registry.requests
    assert list((tmp_path / "cache").iterdir()) == []


def test_the_cached_version_is_not_served_and_stays_in_the_cache(
    service: Service, serve: Serve, settings: Settings
) -> None:
    client = serve(make_bundle(1.0))

    assert client.post("/predict", json=RECORD).get_json()["model"]["version"] == "candidate"
    again = Service(settings)
    assert again.client.post("/predict", json=RECORD).get_json()["model"]["version"] == "1"


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({}, "manifest.json is missing"),
        (
            {"manifest.json": b"{}"},
            "manifest.json is not a manifest of format 1: Object missing required field `format`",
        ),
        ({**make_bundle(), "model.onnx": make_bundle(1.0)["model.onnx"]}, "digest of model.onnx differs"),
    ],
)
def test_a_bundle_in_a_folder_gets_the_same_checks(serve: Serve, files: Files, reason: str) -> None:
    client = serve(files)

    for answer in (client.get("/readyz"), client.post("/predict", json=RECORD)):
        assert answer.status_code == 503
        assert answer.get_json(force=True)["detail"] == f"refused: version candidate: {reason}"


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    app = create_app(Settings(cache=str(tmp_path / "cache"), bundle=str(tmp_path / "nowhere")))
    app.extensions["model_store"].start()

    answer = app.test_client().get("/readyz")

    assert answer.status_code == 503
    assert answer.get_json(force=True)["detail"] == "refused: version candidate: manifest.json is missing"
