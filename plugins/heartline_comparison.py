"""The comparison of models inside Airflow: a tab beside each run, for users who may read the training DAG."""

from typing import Any, ClassVar

from airflow.plugins_manager import AirflowPlugin

from orchestration import plugin_pages

PREFIX = "/comparison"


def _routes(site: Any) -> None:
    from fastapi import Request
    from fastapi.responses import Response

    from heartline.registry import mlflow_http, runs

    @site.get("/run")
    def run(request: Request, dag: str, id: str) -> Response:  # noqa: A002 - the query's names
        subject = plugin_pages.subject_of(dag, id)
        found = mlflow_http.comparison_run(subject.training_run) if subject.training_run else ""
        return shown(request, found or compared(subject.version), subject.why_none)

    @site.get("/version/{number}")
    def version(request: Request, number: str) -> Response:
        return shown(request, compared(number), "", versions="../../versions/")

    def compared(version: str) -> str:
        """Return the MLflow run of the latest comparison of a version; "" where none is known."""
        return mlflow_http.version_tags(version).get("comparison_run", "") if version.isdecimal() else ""

    def shown(request: Request, comparison_run: str, why_none: str, versions: str = "../versions/") -> Response:
        page = mlflow_http.artifact(comparison_run, runs.COMPARISON_PAGE) if comparison_run else None
        if page is not None:
            return plugin_pages.html(page)
        why = why_none or "The task compare of a training run stores one. A run that ended earlier has none."
        return plugin_pages.explanation(
            request, 404, "There is no comparison to show", why, links=[(versions, "All versions of the model")]
        )


class HeartlineComparison(AirflowPlugin):
    """Serves the comparison page of a run, which MLflow stores, and links it beside each run."""

    name = "heartline_comparison"
    fastapi_apps: ClassVar[list[dict[str, Any]]] = [plugin_pages.mounted(PREFIX, "Heartline's comparison", _routes)]
    external_views: ClassVar[list[dict[str, str]]] = [
        {
            "name": "Comparison",
            "href": f"{PREFIX.removeprefix('/')}/run?dag={{DAG_ID}}&id={{RUN_ID}}",
            "destination": "dag_run",
            "url_route": "comparison-of-run",
        },
    ]
