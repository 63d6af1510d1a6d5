"""Links from Airflow's navigation to MLflow."""

import os
from typing import ClassVar

from airflow.plugins_manager import AirflowPlugin

from heartline import contract

MLFLOW = f"http://localhost:{os.environ.get('HEARTLINE_MLFLOW_PORT', '5000')}"


class HeartlineLinks(AirflowPlugin):
    """Adds MLflow's pages of the registered model and its runs to the "Browse" menu."""

    name = "heartline_links"
    external_views: ClassVar[list[dict[str, str]]] = [
        {
            "name": "Models in MLflow",
            "href": f"{MLFLOW}/#/models/{contract.MODEL_NAME}",
            "destination": "nav",
            "category": "browse",
        },
        {
            "name": "Runs in MLflow",
            "href": f"{MLFLOW}/#/experiments",
            "destination": "nav",
            "category": "browse",
        },
    ]
