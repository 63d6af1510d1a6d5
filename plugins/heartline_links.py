"""Links from Airflow's navigation to MLflow."""

from typing import ClassVar

from airflow.plugins_manager import AirflowPlugin

from heartline import addresses


class HeartlineLinks(AirflowPlugin):
    """Adds MLflow's pages of the registered model and its runs to the "Browse" menu."""

    name = "heartline_links"
    external_views: ClassVar[list[dict[str, str]]] = [
        {
            "name": "Models in MLflow",
            "href": addresses.model(),
            "destination": "nav",
            "category": "browse",
        },
        {
            "name": "Runs in MLflow",
            "href": addresses.experiments(),
            "destination": "nav",
            "category": "browse",
        },
    ]
