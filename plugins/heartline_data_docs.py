"""Data quality inside Airflow: pages about the validation of each run's records, for logged-in users.

The pages show values of patients, as the log of the task ``validate`` does, so the plugin requires the permission to
read that log.
"""

from typing import Any, ClassVar

from airflow.plugins_manager import AirflowPlugin

from heartline import dag_ids
from orchestration import plugin_pages

PREFIX = "/data-docs"  # it is in addresses that MLflow and older runs keep


def _routes(site: Any) -> None:
    from fastapi import Request
    from fastapi.responses import Response

    from heartline.reports import data_docs_site

    @site.get("/")
    def index(request: Request) -> Response:
        try:
            return page(data_docs_site.INDEX)
        except data_docs_site.NoSuchPageError:
            return plugin_pages.explanation(request, 404, "No run has been validated yet")

    @site.get("/run")
    def run(request: Request, id: str, dag: str = dag_ids.TRAINING) -> Response:  # noqa: A002 - the query's names
        subject = plugin_pages.subject_of(dag, id)
        if not subject.training_run:
            title = "This run has no page on data quality"
            why = subject.why_none or "Its candidate was registered by an unknown training run."
            return plugin_pages.explanation(request, 404, title, why, links=[("./", "Data quality of all runs")])
        try:
            return page(data_docs_site.page_name(subject.training_run))
        except data_docs_site.NoSuchPageError:
            why = "Its task validate writes one after the checks."
            return plugin_pages.explanation(request, 404, "This run has no page", why)

    @site.get("/{name}")
    def page(name: str) -> Response:
        return plugin_pages.html(data_docs_site.read(name))


class HeartlineDataDocs(AirflowPlugin):
    """Serves the pages on data quality and links them in the navigation and beside each run."""

    name = "heartline_data_docs"
    fastapi_apps: ClassVar[list[dict[str, Any]]] = [
        plugin_pages.mounted(PREFIX, "Heartline's data quality", _routes, task_logs=True)
    ]
    # Without a slash at the beginning, so that they stay below Airflow's own address. The routes are those of older
    # versions, which bookmarks name.
    external_views: ClassVar[list[dict[str, str]]] = [
        {
            "name": "Data quality",
            "href": f"{PREFIX.removeprefix('/')}/",
            "destination": "nav",
            "category": "browse",
            "url_route": "data-docs",
        },
        {
            "name": "Data quality",
            "href": f"{PREFIX.removeprefix('/')}/run?dag={{DAG_ID}}&id={{RUN_ID}}",
            "destination": "dag_run",
            "url_route": "data-docs-of-run",
        },
    ]
