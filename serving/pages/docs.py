"""The OpenAPI document as a page for people."""

import json
from typing import Any

from flask import Flask, Response, current_app, render_template, request

from serving.api import explain
from serving.api.openapi import ANYWHERE, HTML, JSON, document
from serving.api.openapi_schemas import PROBLEMS
from serving.api.views import served_now
from serving.pages.security_headers import secured
from serving.settings import Settings


def install(app: Flask) -> None:
    """Answer ``GET /docs``. What it loads is among the files of the page with the form."""

    @app.get("/docs")
    def docs() -> Response:
        """Return the page for the model that answers now."""
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
            problems=PROBLEMS,
            most_explained=explain.MAX_RECORDS,
            curl=_curl(api, request.host_url.rstrip("/"), key=bool(settings.api_keys)),
            answer=_pretty(_example(api["paths"]["/predict"]["post"]["responses"]["200"])),
            settings=settings,
        )
        # a page in a cache would describe another model
        return secured(Response(page, mimetype=HTML, headers={"Cache-Control": "no-store"}))


def _endpoints(api: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what the table says of each operation; the statuses that any of them may have stand elsewhere."""
    common = {str(PROBLEMS[slug][0]) for slug in ANYWHERE} - {"400", "503"}
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
    """Return what the table says of each field, in the contract's order."""
    return [
        {
            "name": name,
            "title": field.get("title", name),
            "description": field.get("description", ""),
            "range": _range(field),
            "codes": _codes(field),
            "unit": field.get("x-unit", ""),
            "needed": name in record["required"],
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
    whole = "integer" in field["type"]  # of a text, or of a list of them
    return f"{field['minimum']} to {field['maximum']}{', whole' if whole else ''}"


def _curl(api: dict[str, Any], url: str, *, key: bool) -> str:
    headers = ["Content-Type: application/json", *(["X-API-Key: $KEY"] if key else [])]
    body = _pretty(_example(api["paths"]["/predict"]["post"]["requestBody"]))
    asked = "".join(f' \\\n  -H "{header}"' for header in headers)
    return f"curl {url}/predict{asked} \\\n  -d '{body}'"


def _example(part: dict[str, Any]) -> Any:
    return part["content"][JSON]["examples"]["one"]["value"]


def _pretty(value: Any) -> str:
    return json.dumps(value, indent=2)
