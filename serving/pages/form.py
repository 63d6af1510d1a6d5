"""``GET /``: the prediction form, built from the contract of the served model."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flask import Blueprint, Flask, Response, current_app, make_response, render_template, request

from serving.model.evaluation import Evaluation
from serving.model.model_store import ModelStore, Served
from serving.model.records import Contract, Record
from serving.pages.security_headers import with_security_headers

SAMPLE = "sample"  # the origin of a model that was trained on synthetic records

page = Blueprint("page", __name__, static_folder="static", template_folder="templates")


@dataclass(frozen=True)
class Field:
    """One control of the form.

    Attributes:
        name: of the feature.
        title: the label.
        description: of the feature; may be empty.
        unit: may be empty.
        choices: value and label of each code; empty for a number.
        limits: the range of a number, as text.
        integer: whether the number is an integer.
        optional: whether the control may stay empty.
    """

    name: str
    title: str
    description: str
    unit: str
    choices: tuple[tuple[str, str], ...]
    limits: str
    integer: bool
    optional: bool


@dataclass(frozen=True)
class Example:
    """An example record with its title."""

    title: str
    record: Record

    def as_json(self) -> str:
        """Return the record as JSON."""
        return json.dumps(self.record)


def install(app: Flask) -> None:
    """Add the page and its static files to ``app``."""
    app.register_blueprint(page)


@page.get("/")
def show() -> Response:
    """Return the form; status 503 with the reason while no model is ready."""
    store: ModelStore = current_app.extensions["model_store"]
    status = store.status
    if status.served is None:
        wait = math.ceil(current_app.extensions["settings"].poll_seconds)
        response = make_response(render_template("not_ready.html", reason=status.reason(), wait=wait), 503)
        response.headers["Retry-After"] = str(wait)
        return response
    return make_response(render_template("page.html", **_shown(status.served)))


@page.before_request
def _ignore_range() -> None:
    request.environ.pop("HTTP_RANGE", None)  # the files have a few kB: partial responses are not needed


@page.after_request
def _finish(response: Response) -> Response:
    if response.mimetype == "text/html":
        response.headers["Cache-Control"] = "no-store"  # a cached page would have the form of another model
    return with_security_headers(response)


def fields(contract: Contract) -> list[Field]:
    """Return the controls of a form for records of ``contract``, in its order."""
    return [_field(name, contract.properties[name], name in contract.optional) for name in contract.features]


def examples(contract: Contract) -> list[Example]:
    """Return valid records, made from the ranges and codes of ``contract``. They are not records of patients."""
    typical: Record = {}
    lower: Record = {}
    upper: Record = {}
    for name in contract.features:
        schema = contract.properties[name]
        codes = [code for code in schema.get("enum", ()) if code is not None]
        optional = name in contract.optional
        if codes:
            usual, low, high = codes[0], codes[0], codes[-1]
        else:
            usual, low, high = (_at_share(schema, share) for share in (0.5, 0.25, 0.75))
        typical[name] = next(iter(schema.get("examples", ())), usual)
        lower[name] = None if optional else low
        upper[name] = high
    return [
        Example("Typical values", typical),
        Example("Lower values, optional ones left empty", lower),
        Example("Upper values", upper),
    ]


def roc_auc(evaluation: Evaluation) -> str:
    """Return the area under the ROC curve with its interval as text, or why it is not known."""
    if evaluation.metrics is None:
        return f"not known: {evaluation.reason}"
    score = evaluation.metrics.cross_validation.get("roc_auc")
    if score is None or score.value is None:
        return f"not known: {score.note if score else 'it was not measured'}"
    if score.low is None or score.high is None:
        interval = score.note
    else:
        interval = f"95 % interval {score.low:.3f} to {score.high:.3f}"
    of = f"in cross-validation on {score.n} records, profile {evaluation.metrics.profile}"
    return f"{score.value:.3f} ({interval}) {of}"


def prevalence(evaluation: Evaluation) -> float | None:
    """Return the share of the training records with disease, 0 to 1; None where the scores are not known."""
    found = evaluation.metrics.cross_validation if evaluation.metrics else {}
    records, positives = found.get("accuracy"), found.get("recall")  # recall is about the records with disease
    if records is None or positives is None or records.n == 0:
        return None
    return positives.n / records.n


def _shown(served: Served) -> dict[str, Any]:
    contract = served.model.contract
    return {
        "description": contract.schema.get("description", ""),
        "fields": fields(contract),
        "examples": examples(contract),
        "facts": served.describe(),
        "roc_auc": roc_auc(served.evaluation),
        "prevalence": prevalence(served.evaluation),
        "threshold": served.model.about.threshold,
        "sample": SAMPLE,
    }


def _field(name: str, schema: Mapping[str, Any], optional: bool) -> Field:
    labels = schema.get("x-codes", {})
    codes = [str(code) for code in schema.get("enum", ()) if code is not None]
    integer = not codes and "integer" in schema["type"]
    limits = ""
    if not codes:
        limits = f"{'a whole number, ' if integer else ''}{_range(schema['minimum'], schema['maximum'])}"
        if usual := schema.get("x-usual"):
            limits += f"; usually {_range(*usual)}"
    return Field(
        name=name,
        title=schema.get("title", name),
        description=schema.get("description", ""),
        unit=schema.get("x-unit", ""),
        choices=tuple((code, f"{code} – {labels[code]}" if code in labels else code) for code in codes),
        limits=limits,
        integer=integer,
        optional=optional,
    )


def _range(low: float, high: float) -> str:
    return f"{low:g} to {high:g}"


def _at_share(schema: Mapping[str, Any], share: float) -> float | int:
    """Return the number at ``share`` (0 to 1) of the usual range, else of the allowed range, with few digits."""
    low, high = schema.get("x-usual") or (schema["minimum"], schema["maximum"])
    found = float(low + share * (high - low))
    if "integer" in schema["type"]:
        return int(min(max(round(found), math.ceil(schema["minimum"])), math.floor(schema["maximum"])))
    return float(min(max(float(f"{found:.2g}"), schema["minimum"]), schema["maximum"]))
