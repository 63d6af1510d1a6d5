"""Monitoring inside Airflow: a tab beside each DAG, for users who may read the training DAG.

An alarm is acknowledged by a form. That needs the permission to trigger the training DAG, and the request must come
from the page itself: Airflow's cookie is sent along by every page of the same site, such as another port of this host.
"""

import re
from collections.abc import AsyncIterator
from typing import Annotated, Any, ClassVar
from urllib.parse import parse_qs, urlencode

from airflow.plugins_manager import AirflowPlugin

from heartline import dag_ids
from orchestration import plugin_pages

PREFIX = "/monitoring"
DAGS = {value for name, value in vars(dag_ids).items() if name.isupper()}
MAX_BODY = 40_000  # bytes of a form


def _routes(site: Any) -> None:
    from datetime import UTC, datetime

    from airflow.api_fastapi.app import get_auth_manager
    from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity, DagDetails
    from airflow.api_fastapi.core_api.security import GetUserDep, requires_access_dag
    from fastapi import Depends, Request
    from fastapi.responses import RedirectResponse, Response

    from heartline.errors import PermanentError
    from heartline.monitoring import alarm_entries
    from heartline.reports import notice_page
    from heartline.reports.monitoring import page
    from heartline.reports.monitoring.gather import gather

    entity, training = DagAccessEntity.RUN, dag_ids.TRAINING
    trigger = Depends(requires_access_dag("POST", entity, training))

    async def fields_of(request: Request) -> dict[str, str]:
        return await _fields(request.stream())

    @site.get("/")
    def monitoring(
        request: Request,
        user: GetUserDep,
        version: str = "",
        dag: str = training,
        acknowledged: int | None = None,
    ) -> Response:
        if dag not in DAGS:
            links = [("./", "Monitoring of Heartline's model")]
            return plugin_pages.explanation(request, 404, f"The DAG {dag} monitors no model of Heartline", links=links)
        today = datetime.now(UTC).date()
        said = ""  # the address can name any number
        if acknowledged is not None and alarm_entries.is_acknowledged(acknowledged):
            said = f"Alarm {acknowledged} is acknowledged; the ledger holds the reason."
        form = get_auth_manager().is_authorized_dag(
            method="POST", access_entity=entity, details=DagDetails(id=training), user=user
        )
        shown = page.render(gather(today, version=version), today=today, dag=dag, form=form, said=said)
        return plugin_pages.html(shown, posts=True)

    @site.get("/acknowledge")
    def after_an_error() -> Response:  # the address of a form that was refused, when it is loaded again
        return RedirectResponse("./", 303, plugin_pages.HEADERS)

    @site.post("/acknowledge", dependencies=[trigger])
    def acknowledge(
        request: Request, user: GetUserDep, form: Annotated[dict[str, str], Depends(fields_of)]
    ) -> Response:
        if not plugin_pages.same_origin(request.headers):
            why = "Only the form on the page Monitoring can acknowledge an alarm."
            return plugin_pages.explanation(request, 403, "This request comes from another page", why)
        number, links = form.get("number", ""), [("./", "Monitoring")]
        if not re.fullmatch("[0-9]{1,15}", number):
            return plugin_pages.explanation(request, 422, "The form names no alarm", links=links)
        try:
            alarm_entries.acknowledge(int(number), form.get("reason", ""), by=user.get_name())
        except PermanentError as error:
            return plugin_pages.html(notice_page.of_error(error, links=links), 422)
        query = urlencode({"dag": form.get("dag") or training, "acknowledged": number})
        return RedirectResponse(f"./?{query}", 303, plugin_pages.HEADERS)


async def _fields(stream: AsyncIterator[bytes]) -> dict[str, str]:
    """Return the fields of a form; of a body that is too long, none."""
    body = b""
    async for part in stream:
        body += part
        if len(body) > MAX_BODY:
            return {}
    fields = parse_qs(body.decode("utf-8", "replace"))
    return {name: values[0] for name, values in fields.items()}


class HeartlineMonitoring(AirflowPlugin):
    """Serves the page on monitoring and links it in the navigation and beside each DAG."""

    name = "heartline_monitoring"
    fastapi_apps: ClassVar[list[dict[str, Any]]] = [plugin_pages.mounted(PREFIX, "Heartline's monitoring", _routes)]
    external_views: ClassVar[list[dict[str, str]]] = [
        {
            "name": "Monitoring",
            "href": f"{PREFIX.removeprefix('/')}/",
            "destination": "nav",
            "category": "browse",
            "url_route": "monitoring",
        },
        {
            "name": "Monitoring",
            "href": f"{PREFIX.removeprefix('/')}/?dag={{DAG_ID}}",
            "destination": "dag",
            "url_route": "monitoring-of-dag",
        },
    ]
