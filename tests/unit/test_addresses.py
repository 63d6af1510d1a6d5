"""The public addresses: one setting for each part, in every link."""

import pytest

from heartline import addresses
from stack.compose import mlflow
from stack.errors import UsageError
from stack.settings import Settings


def test_the_default_is_the_port_on_this_machine():
    assert addresses.public(addresses.MLFLOW, {}) == "http://127.0.0.1:5000"
    assert addresses.public(addresses.AIRFLOW, {"HEARTLINE_AIRFLOW_PORT": "4250"}) == "http://127.0.0.1:4250"


def test_every_link_is_below_the_public_address(monkeypatch):
    monkeypatch.setenv("HEARTLINE_PUBLIC_MLFLOW_URL", "https://ml.example/mlflow/")
    monkeypatch.setenv("HEARTLINE_PUBLIC_AIRFLOW_URL", "https://ml.example/airflow")
    found = [addresses.model(), addresses.experiments(), addresses.mlflow_run("1", "a", "comparison.html")]
    assert all(one.startswith("https://ml.example/mlflow/#/") for one in found)
    assert addresses.airflow_run("manual__2026-11-22T13:45:57+00:00") == (
        "https://ml.example/airflow/dags/heart_training/runs/manual__2026-11-22T13%3A45%3A57%2B00%3A00"
    )


@pytest.mark.parametrize(
    "url", ["ml.example", "ftp://ml.example", "https://a:b@ml.example", "http://x/?a", "http://x:y"]
)
def test_what_is_no_address_is_refused_before_anything_starts(url, tmp_path):
    with pytest.raises(UsageError) as caught:
        Settings.load({"HEARTLINE_PUBLIC_MLFLOW_URL": url}, tmp_path)
    assert caught.value.where == "setting HEARTLINE_PUBLIC_MLFLOW_URL"


def test_internal_traffic_keeps_internal_addresses(tmp_path):
    settings = Settings.load({"HEARTLINE_PUBLIC_MLFLOW_URL": "https://ml.example/mlflow"}, tmp_path)
    assert (settings.mlflow_url, settings.public_mlflow_url) == ("http://127.0.0.1:5000", "https://ml.example/mlflow")
    assert settings.public_airflow_url == settings.airflow_url


def test_mlflow_in_compose_answers_at_its_public_host():
    found = mlflow.environment(
        {
            "MLFLOW_SERVER_ALLOWED_HOSTS": "mlflow,mlflow:5000",
            "HEARTLINE_PUBLIC_MLFLOW_URL": "https://ml.example/mlflow",
        }
    )
    assert found["MLFLOW_SERVER_ALLOWED_HOSTS"] == "mlflow,mlflow:5000,ml.example"
    assert found["MLFLOW_SERVER_CORS_ALLOWED_ORIGINS"] == "https://ml.example"
