"""All versions of the model inside Airflow: a tab beside each DAG, for users who may read the training DAG."""

from typing import Any, ClassVar

from airflow.plugins_manager import AirflowPlugin

from heartline import dag_ids
from orchestration import plugin_pages

PREFIX = "/versions"
DAGS = {value for name, value in vars(dag_ids).items() if name.isupper()}


def _routes(site: Any) -> None:
    from datetime import UTC, date, datetime

    from fastapi import Request
    from fastapi.responses import Response

    from heartline.reports import versions_history, versions_page

    @site.get("/")
    def versions(request: Request, since: date | None = None, dag: str = dag_ids.TRAINING) -> Response:
        if dag not in DAGS:
            return plugin_pages.explanation(
                request,
                404,
                f"The DAG {dag} trains no model of Heartline",
                links=[("./", "All versions of Heartline's model")],
            )
        history = versions_history.gather()
        return plugin_pages.html(versions_page.render(history, since=since, now=datetime.now(UTC), dag=dag))


class HeartlineVersions(AirflowPlugin):
    """Serves the page of all versions and links it in the navigation and beside each DAG."""

    name = "heartline_versions"
    fastapi_apps: ClassVar[list[dict[str, Any]]] = [plugin_pages.mounted(PREFIX, "Heartline's versions", _routes)]
    external_views: ClassVar[list[dict[str, str]]] = [
        {
            "name": "Versions",
            "href": f"{PREFIX.removeprefix('/')}/",
            "destination": "nav",
            "category": "browse",
            "url_route": "versions",
        },
        {
            "name": "Versions",
            "href": f"{PREFIX.removeprefix('/')}/?dag={{DAG_ID}}",
            "destination": "dag",
            "url_route": "versions-of-dag",
        },
    ]
