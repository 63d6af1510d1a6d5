"""What the api-server reads of MLflow over plain HTTP, and what it says when MLflow is away."""

import socket

import pytest

from heartline.errors import RegistryError
from heartline.registry import mlflow_http
from tests.mlflow_double import Content, serving

RUN = "manual__2026-11-22T13:45:57+00:00"


@pytest.fixture
def mlflow(monkeypatch):
    content = Content({"1": {"family": "logistic_regression"}, "2": {}, "3": {}}, {"production": "2"})
    with serving(content) as url:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"{url}/")
        yield content


def test_all_pages_of_versions_are_read(mlflow):
    mlflow.page = 2
    found = mlflow_http.model()
    assert [one.number for one in found.versions] == ["1", "2", "3"]
    assert found.versions[0].tags == {"family": "logistic_regression"}
    assert found.versions[0].registered.isoformat() == "2026-03-02T00:00:00+00:00"
    assert found.aliases == {"production": "2"}


def test_three_hundred_versions_are_two_requests(mlflow):
    mlflow.versions = {str(number): {} for number in range(1, 301)}
    assert len(mlflow_http.model().versions) == 300
    assert len(mlflow.requests) == 2


def test_no_registered_model_has_no_versions(mlflow):
    mlflow.versions = None
    assert mlflow_http.model() == mlflow_http.ListedModel()
    assert mlflow_http.version_tags("1") == {}


def test_the_comparison_of_a_run_is_found_by_its_id(mlflow):
    assert mlflow_http.comparison_run(RUN) == ""
    mlflow.comparisons = {RUN: "abc"}
    assert mlflow_http.comparison_run(RUN) == "abc"
    assert mlflow_http.comparison_run("another") == ""


@pytest.mark.parametrize("run", ["x' or tags.a = 'b", "x\\"])
def test_an_id_that_would_change_the_filter_is_not_sent(mlflow, run):
    assert mlflow_http.comparison_run(run) == ""
    assert mlflow.requests == []


def test_an_artifact_is_returned_or_none(mlflow):
    mlflow.artifacts = {("abc", "comparison.html"): b"<p>"}
    assert mlflow_http.artifact("abc", "comparison.html") == b"<p>"
    assert mlflow_http.artifact("abc", "other.html") is None
    assert mlflow_http.artifact("def", "comparison.html") is None


@pytest.mark.parametrize(
    ("settings", "header"),
    [
        ({"MLFLOW_TRACKING_USERNAME": "ann", "MLFLOW_TRACKING_PASSWORD": "b"}, "Basic YW5uOmI="),
        ({"MLFLOW_TRACKING_TOKEN": "t"}, "Bearer t"),
    ],
)
def test_the_login_for_mlflow_is_sent(mlflow, monkeypatch, settings, header):
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    mlflow_http.version_tags("1")
    assert mlflow.headers["Authorization"] == header


def test_a_failing_mlflow_is_named(mlflow):
    mlflow.status = 500
    with pytest.raises(RegistryError) as caught:
        mlflow_http.model()
    assert "status 500" in caught.value.what
    assert "MLFLOW_TRACKING_URI http://127.0.0.1" in caught.value.where


def test_an_mlflow_that_is_away_is_named(monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    with pytest.raises(RegistryError) as caught:
        mlflow_http.model()
    assert "MLflow does not answer" in caught.value.what
    assert "./heartline status" in caught.value.hint


def test_a_paused_mlflow_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(mlflow_http, "TIMEOUT", (0.2, 0.2))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{listening.getsockname()[1]}")
        with pytest.raises(RegistryError) as caught:
            mlflow_http.artifact("abc", "comparison.html")
    assert "ReadTimeout" in caught.value.what


def test_without_an_address_the_setting_is_named(monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(RegistryError) as caught:
        mlflow_http.model()
    assert "MLFLOW_TRACKING_URI is not set" in caught.value.where
