"""What the pages of all plugins share: Airflow's login, headers, error answers, and the run that a page is about.

Airflow does not authenticate requests to a plugin's pages. ``mounted`` builds each site with a permission that every
route of it requires. All Airflow processes import it and only the api-server serves pages, so it imports late.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from heartline import addresses, dag_ids

if TYPE_CHECKING:
    from fastapi import FastAPI
    from fastapi.responses import Response

BELOW = urlsplit(addresses.public(addresses.AIRFLOW)).path  # of a reverse proxy, such as /airflow
LOGIN = f"{BELOW}/api/v2/auth/login"

# A page is one file with inline styles: it loads nothing and runs no script, and other sites must not frame it. Its
# forms may only be sent to this server.
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'self'",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def mounted(
    prefix: str, name: str, add_routes: Callable[["FastAPI"], None], *, task_logs: bool = False
) -> dict[str, Any]:
    """Return an entry of a plugin's ``fastapi_apps``: a site behind Airflow's login.

    Args:
        prefix: the site's path, such as ``/versions``.
        name: what Airflow's log calls it.
        add_routes: adds the pages. It is called at the first request.
        task_logs: whether a reader also needs the permission to read the training DAG's task logs, which show values of
            patients; otherwise the permission to read that DAG suffices.
    """

    @cache
    def site() -> Any:
        from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
        from airflow.api_fastapi.core_api.security import requires_access_dag
        from fastapi import Depends, FastAPI

        entity = DagAccessEntity.TASK_LOGS if task_logs else None
        reader = Depends(requires_access_dag("GET", entity, dag_ids.TRAINING))
        built = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, dependencies=[reader])
        _answer_errors(built, prefix)
        add_routes(built)
        return built

    async def application(scope: Any, receive: Any, send: Any) -> None:
        """Handle a request; the ASGI application that the api-server mounts."""
        await site()(scope, receive, send)

    application.site = site  # type: ignore[attr-defined] # a test asks it for all routes
    return {"app": application, "url_prefix": prefix, "name": name}


def html(content: bytes, status: int = 200, *, posts: bool = False) -> "Response":
    """Return a page as a response.

    Args:
        content: HTML in UTF-8.
        status: of the response.
        posts: whether its forms send something: they then name this server as their origin, which others do not.
    """
    from fastapi.responses import Response

    headers = HEADERS | ({"Referrer-Policy": "same-origin"} if posts else {})
    return Response(content, status, headers, "text/html; charset=utf-8")


def same_origin(headers: Mapping[str, str]) -> bool:
    """Return whether a request that changes something was sent by a page of this server, or by no browser.

    Airflow's cookie has ``SameSite=Lax``: no page of another site sends it with a form, but one of another port or
    subdomain does. Browsers tell where such a request comes from; without HTTPS, older ones by ``Origin`` only.

    Args:
        headers: of the request, by name in lower case.
    """
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    if site is not None:
        return site == "same-origin"
    return origin is None or urlsplit(origin).netloc in (headers.get("host"), addresses.host(addresses.AIRFLOW))


def explanation(request: Any, status: int, title: str, *sentences: str, links: Any = ()) -> "Response":
    """Return a response that says why there is no page: HTML for a browser, text for other clients.

    Args:
        request: the request.
        status: of the response.
        title: a sentence.
        *sentences: further ones.
        links: address and text of pages that help, relative to this one.
    """
    from heartline.reports import notice_page

    if _is_browser(request):
        return html(notice_page.render(title, sentences, links=links), status)
    return _text(" ".join((f"{title.rstrip('.')}.", *sentences)) + "\n", status)


def _answer_errors(site: "FastAPI", prefix: str) -> None:
    """Turn errors into responses, and redirect a browser without a session to the login and back."""
    from fastapi.exceptions import RequestValidationError
    from fastapi.responses import RedirectResponse, Response
    from starlette.exceptions import HTTPException

    from heartline.errors import HeartlineError
    from heartline.reports import data_docs_site, notice_page

    @site.exception_handler(HeartlineError)
    def failed(request: Any, error: HeartlineError) -> Response:
        status = 404 if isinstance(error, data_docs_site.NoSuchPageError) else 503
        return html(notice_page.of_error(error), status) if _is_browser(request) else _text(str(error), status)

    @site.exception_handler(RequestValidationError)
    def unreadable(request: Any, error: RequestValidationError) -> Response:
        wrong = "; ".join(f"{one['loc'][-1]}: {one['msg']}" for one in error.errors())
        return explanation(request, 422, "This address is not complete", f"{wrong}.")

    @site.exception_handler(HTTPException)
    def refused(request: Any, error: HTTPException) -> Response:
        if error.status_code == 401 and _is_browser(request):
            # Without a host: the login belongs to the host name in the browser's address bar.
            query = f"?{request.url.query}" if request.url.query else ""
            path = request.url.path.rpartition(prefix)[2] if request.method == "GET" else "/"
            page = f"{BELOW}{prefix}{path}{query}"
            return RedirectResponse(f"{LOGIN}?next={quote(page, safe='')}", 303, HEADERS)
        return _text(f"{error.detail}\n", error.status_code)


def _is_browser(request: Any) -> bool:
    return "text/html" in request.headers.get("accept", "")


def _text(text: str, status: int) -> "Response":
    from fastapi.responses import Response

    return Response(text, status, HEADERS, "text/plain; charset=utf-8")


@dataclass(frozen=True)
class Subject:
    """What the page of a run is about.

    Attributes:
        training_run: id of the training run; "" where there is none.
        version: the version that the run is about; "" where that is not known.
        why_none: why there is no training run; "" where there is one.
    """

    training_run: str = ""
    version: str = ""
    why_none: str = ""


def subject_of(dag: str, run: str) -> Subject:
    """Return which training run a page beside a run is about: the run itself, or the candidate's for an approval.

    Args:
        dag: id of the run's DAG.
        run: its run id.
    """
    if not run.isprintable():  # no database takes every character as a text
        return Subject(why_none="This is no id of a run.")
    if dag == dag_ids.TRAINING:
        return Subject(run)
    if dag == dag_ids.APPROVAL:
        training_run, version = _candidate(run)
        missing = "" if training_run or version else "This run names no candidate."
        return Subject(training_run, version, missing)
    if dag == dag_ids.SCORING:
        return Subject(why_none="A scoring run trains and compares no model.")
    if dag == dag_ids.MONITORING:
        return Subject(why_none="A monitoring run trains and compares no model.")
    return Subject(why_none=f"The DAG {dag} trains no model of Heartline.")


def _candidate(run: str) -> tuple[str, str]:
    """Return the training run and the version that an approval run is about; "" for what is not known.

    The ledger knows it once the run has asked. Before that, the run's parameter or the asset event behind it does.
    """
    from heartline.reports import versions_history

    requested = versions_history.requested_by(run)
    if any(requested):
        return requested
    facts = _facts_of(dag_ids.APPROVAL, run)
    return str(facts.get("run_id") or ""), str(facts.get("version") or "")


def _facts_of(dag: str, run: str) -> dict[str, Any]:
    """Return what started a run says: the extra of the last asset event with a version, and its configuration."""
    from airflow.models import DagRun
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        found = session.scalar(select(DagRun).where(DagRun.dag_id == dag, DagRun.run_id == run))
        if found is None:
            return {}
        events = sorted(found.consumed_asset_events, key=lambda one: one.timestamp)
        extras = [one.extra for one in events if isinstance(one.extra, dict) and one.extra.get("version")]
        conf = found.conf if isinstance(found.conf, dict) else {}
        return conf if conf.get("version") else extras[-1] if extras else {}
