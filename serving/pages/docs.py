"""``GET /docs``: the OpenAPI document as an HTML page."""

import json
from typing import Any

from flask import Flask, Response, current_app, render_template, request

from serving.api import explain
from serving.api.openapi import COMMON_PROBLEMS, HTML, JSON, document
from serving.api.views import served_now
from serving.pages.security_headers import with_security_headers
from serving.problems import PROBLEMS
from serving.settings import Settings


def install(app: Flask) -> None:
    """Add the page to ``app``. It uses the static files of the form."""

    @app.get("/docs")
    def docs() -> Response:
        """Return the page for the served model."""
        settings: Settings = current_app.extensions["settings"]
        served = served_now()
        api = document(served, settings)
        page = render_template(
            "docs.html",
            api=api,
            model=served.describe(),
            threshold=served.model.about.threshold,
            endpoints=_endpoints(api),
            fields=_fields(api["components"]["schemas"]["Record"]),
            problems=sorted(PROBLEMS.items(), key=lambda item: item[1].status),
            max_explained=explain.MAX_RECORDS,
            curl=_curl(api, (settings.public_service_url or request.url_root).rstrip("/"), key=bool(settings.api_keys)),
            response=_pretty(_example(api["paths"]["/predict"]["post"]["responses"]["200"])),
            settings=settings,
        )
        # a cached page would describe another model
        return with_security_headers(Response(page, mimetype=HTML, headers={"Cache-Control": "no-store"}))


def _endpoints(api: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a table row for each operation, without the statuses that all operations have."""
    common = {str(PROBLEMS[slug].status) for slug in COMMON_PROBLEMS} - {"400", "503"}
    return [
        {
            "method": method.upper(),
            "path": path,
            "summary": operation["summary"],
            "statuses": ", ".join(sorted(set(operation["responses"]) - common)),
        }
        for path, methods in api["paths"].items()
        for method, operation in methods.items()
    ]


def _fields(record: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a table row for each field, in the contract's order."""
    return [
        {
            "name": name,
            "title": field.get("title", name),
            "description": field.get("description", ""),
            "range": _range(field),
            "codes": _codes(field),
            "unit": field.get("x-unit", ""),
            "required": name in record["required"],
        }
        for name in record["x-features"]
        for field in [record["properties"][name]]
    ]


def _codes(field: dict[str, Any]) -> list[str]:
    labels = field.get("x-codes", {})
    codes = [str(code) for code in field.get("enum", ()) if code is not None]
    return [f"{code} {labels[code]}" if code in labels else code for code in codes]


def _range(field: dict[str, Any]) -> str:
    if "enum" in field:
        return ""
    kind = ", whole number" if "integer" in field["type"] else ""  # the type is a string or a list of strings
    return f"{field['minimum']} to {field['maximum']}{kind}"


def _curl(api: dict[str, Any], url: str, *, key: bool) -> str:
    headers = ["Content-Type: application/json", *(["X-API-Key: $KEY"] if key else [])]
    body = _pretty(_example(api["paths"]["/predict"]["post"]["requestBody"]))
    options = "".join(f' \\\n  -H "{header}"' for header in headers)
    return f"curl {url}/predict{options} \\\n  -d '{body}'"


def _example(part: dict[str, Any]) -> Any:
    return part["content"][JSON]["examples"]["one"]["value"]


def _pretty(value: Any) -> str:
    return json.dumps(value, indent=2)
