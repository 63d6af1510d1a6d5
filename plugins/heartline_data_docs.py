"""Data Docs inside Airflow: pages about the validation of each run's records, for logged-in users.

Airflow does not authenticate requests to a plugin's pages. These pages show values of patients, as the log of the task
``validate`` does, so the plugin requires the permission to read that log.
"""

from functools import cache
from typing import Any, ClassVar
from urllib.parse import quote, urlsplit

from airflow.plugins_manager import AirflowPlugin

from heartline import addresses, dag_ids

PREFIX = "/data-docs"
BELOW = urlsplit(addresses.public(addresses.AIRFLOW)).path  # of a reverse proxy, such as /airflow
LOGIN = f"{BELOW}/api/v2/auth/login"

# A page is one file with inline styles: it loads nothing and runs no script, and other sites must not frame it.
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'self'",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Handle a request; the ASGI application that the api-server mounts."""
    await _site()(scope, receive, send)


@cache
def _site() -> Any:
    """Build the application at the first request: all Airflow processes import this module, only one serves it."""
    from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
    from airflow.api_fastapi.core_api.security import requires_access_dag
    from fastapi import Depends, FastAPI
    from fastapi.responses import Response

    from heartline.reports import data_docs_site

    reader = Depends(requires_access_dag("GET", DagAccessEntity.TASK_LOGS, dag_ids.TRAINING))
    site = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, dependencies=[reader])

    @site.get("/")
    def index() -> Response:
        try:
            return page(data_docs_site.INDEX)
        except data_docs_site.NoSuchPageError:
            return _answer("No run has been validated yet.\n", 404)

    @site.get("/run")
    def run(id: str) -> Response:  # noqa: A002 - the name of the query parameter
        try:
            return page(data_docs_site.page_name(id))
        except data_docs_site.NoSuchPageError:
            return _answer("This run has no page: its task validate writes one after the checks.\n", 404)

    @site.get("/{name}")
    def page(name: str) -> Response:
        return Response(data_docs_site.read(name), 200, HEADERS, "text/html; charset=utf-8")

    _answer_errors(site)
    return site


def _answer_errors(site: Any) -> None:
    """Turn errors into text responses, and redirect a browser without a session to the login and back."""
    from fastapi.responses import RedirectResponse, Response
    from starlette.exceptions import HTTPException

    from heartline.reports import data_docs_site
    from heartline.storage import object_store

    @site.exception_handler(data_docs_site.NoSuchPageError)
    def missing(request: Any, error: Exception) -> Response:
        return _answer(str(error), 404)

    @site.exception_handler(object_store.StoreError)
    def unreachable(request: Any, error: Exception) -> Response:
        return _answer(str(error), 503)

    @site.exception_handler(HTTPException)
    def refused(request: Any, error: HTTPException) -> Response:
        if error.status_code == 401 and "text/html" in request.headers.get("accept", ""):
            # Without a host: the login belongs to the host name in the browser's address bar.
            query = f"?{request.url.query}" if request.url.query else ""
            page = f"{BELOW}{PREFIX}{request.url.path.rpartition(PREFIX)[2]}{query}"
            return RedirectResponse(f"{LOGIN}?next={quote(page, safe='')}", 303, HEADERS)
        return _answer(f"{error.detail}\n", error.status_code)


def _answer(text: str, status: int) -> Any:
    from fastapi.responses import Response

    return Response(text, status, HEADERS, "text/plain; charset=utf-8")


class HeartlineDataDocs(AirflowPlugin):
    """Serves the Data Docs and links them in the navigation and beside each run."""

    name = "heartline_data_docs"
    fastapi_apps: ClassVar[list[dict[str, Any]]] = [
        {"app": application, "url_prefix": PREFIX, "name": "Heartline Data Docs"}
    ]
    # Without a slash at the beginning, so that they stay below Airflow's own address.
    external_views: ClassVar[list[dict[str, str]]] = [
        {
            "name": "Data Docs",
            "href": f"{PREFIX.removeprefix('/')}/",
            "destination": "nav",
            "category": "browse",
            "url_route": "data-docs",
        },
        {
            "name": "Data Docs",
            "href": f"{PREFIX.removeprefix('/')}/run?id={{RUN_ID}}",
            "destination": "dag_run",
            "url_route": "data-docs-of-run",
        },
    ]
