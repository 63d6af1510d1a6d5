"""The expectations of a run, in the words of Great Expectations' own renderers, as self-contained HTML.

Great Expectations' own page is not used: it leaves values of the data unescaped, needs scripts for its details, and
loads scripts, styles and fonts from the internet, which a clinic's network may block.
"""

import json
import math
from collections.abc import Iterable, Mapping
from string import Template
from typing import TYPE_CHECKING, Any

from markupsafe import Markup, escape

from heartline import contract, visible
from heartline.ingestion import encodings

if TYPE_CHECKING:
    from great_expectations.core import ExpectationSuiteValidationResult, ExpectationValidationResult

COLUMNS = {column.name: column for column in contract.COLUMNS}

_NOTHING = Markup("")
_MET, _NOT_MET, _FAILED = ("met", ""), ("not met", "bad"), ("could not run", "bad")
_BY_LAYER = {"set": ("stops the run", "bad"), "row": ("rows quarantined", "fair"), "unusual": ("warning", "fair")}


def title(column: str) -> str:
    """Return the title of a column; the empty string stands for the dataset."""
    if not column:
        return "All records together"
    return COLUMNS[column].title if column in COLUMNS else column


def by_column(
    result: "ExpectationSuiteValidationResult", names: Mapping[str, str] | None = None
) -> list[dict[str, Any]]:
    """Return the expectations of a run by column, in the contract's order; those about the dataset come first.

    Args:
        result: of the suite. In the ``meta`` of an expectation, ``column`` overrides the column under which it is
            shown, and ``layer`` says what its failure means.
        names: the source's name of each column, if it has a header.
    """
    groups: dict[str, list[dict[str, Any]]] = {name: [] for name in ("", *COLUMNS)}
    for one in _plain(result).results:
        config = one.expectation_config
        if isinstance(one.result.get("observed_value"), list):
            # without the columns that the checks themselves add
            one.result["observed_value"] = [name for name in one.result["observed_value"] if name in COLUMNS]
        column = _meta(one).get("column", config.kwargs.get("column", "") if config else "")
        groups.setdefault(column, []).append(_check(one))
    return [
        {
            "column": encodings.titled(name, names or {}) if name in COLUMNS else "",
            "title": title(name),
            "checks": checks,
            **_tally(checks),
        }
        for name, checks in groups.items()
        if checks
    ]


def _plain(result: "ExpectationSuiteValidationResult") -> "ExpectationSuiteValidationResult":
    """Return a copy of plain values: the renderers fail on numpy numbers, and modify their input."""
    from great_expectations.core.expectation_validation_result import expectationSuiteValidationResultSchema

    untyped: Any = result
    plain: ExpectationSuiteValidationResult = expectationSuiteValidationResultSchema.loads(
        json.dumps(untyped.to_json_dict())
    )
    return plain


def _check(one: "ExpectationValidationResult") -> dict[str, Any]:
    from great_expectations.render.renderer.content_block import ValidationResultsTableContentBlockRenderer

    rendered: Any = ValidationResultsTableContentBlockRenderer.render([one])
    _, expectation, observed, *_ = rendered.to_json_dict()["table"][0]
    words, tone = _outcome(one)
    return {
        "words": words,
        "tone": tone,
        "text": _html(expectation),
        "observed": _html(observed).replace("--", "–"),
    }


def _outcome(one: "ExpectationValidationResult") -> tuple[str, str]:
    if one.success:
        return _MET
    if (one.exception_info or {}).get("raised_exception"):
        return _FAILED
    return _BY_LAYER.get(_meta(one).get("layer", ""), _NOT_MET)


def _meta(one: "ExpectationValidationResult") -> Mapping[str, Any]:
    return (one.expectation_config and one.expectation_config.meta) or {}


def _tally(checks: list[dict[str, Any]]) -> dict[str, str]:
    failed = [one for one in checks if one["words"] != _MET[0]]
    if not failed:
        return {"words": f"{len(checks)} met", "tone": ""}
    severe = any(one["tone"] == "bad" for one in failed)
    return {"words": f"{len(failed)} of {len(checks)} not met", "tone": "bad" if severe else "fair"}


def _html(block: Any) -> Markup:
    """Return a content block of Great Expectations as HTML in which all values are escaped."""
    if isinstance(block, list):
        return _NOTHING.join(_html(one) for one in block)
    if not isinstance(block, Mapping):
        return escape(_text(block))
    kind = block.get("content_block_type")
    if kind == "string_template":
        return _sentence(block["string_template"])
    if kind == "table":
        return _table(block.get("header_row") or (), block["table"])
    if kind == "graph":
        return _distribution(block["graph"])
    if kind == "content_block_container":
        return _html(block["content_blocks"])
    # the other kinds are tracebacks and index queries
    return _NOTHING


def _sentence(template: Mapping[str, Any]) -> Markup:
    values = {name: f"<b>{escape(_text(value))}</b>" for name, value in template.get("params", {}).items()}
    # Great Expectations' text is escaped like the values
    html = Template(str(escape(_text(template["template"].strip())))).safe_substitute(values)
    return Markup("<div>{}</div>").format(Markup(html.replace("\n", "<br>")))  # noqa: S704


def _table(header: Iterable[Any], rows: Iterable[list[Any]]) -> Markup:
    head = _NOTHING.join(Markup("<th>{}</th>").format(_html(one)) for one in header)
    # NaN differs from NaN, so Great Expectations lists each missing value separately
    body = dict.fromkeys(
        Markup("<tr>{}</tr>").format(_NOTHING.join(Markup("<td>{}</td>").format(_html(one)) for one in row))
        for row in rows
    )
    return Markup("<table><thead><tr>{}</tr></thead><tbody>{}</tbody></table>").format(head, _NOTHING.join(body))


def _distribution(graph: Mapping[str, Any]) -> Markup:
    """Return the numbers of a bar chart as a table; the chart itself would need a script."""
    rows = [row for rows in graph.get("datasets", {}).values() for row in rows]
    if not rows:
        return _NOTHING
    table = _table(
        (name.replace("_", " ") for name in rows[0]), ([f"{value:.4g}" for value in row.values()] for row in rows)
    )
    return Markup("<details><summary>the distribution</summary>{}</details>").format(table)


def _text(value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "missing"
    return f"{value:g}" if isinstance(value, float) else visible.escaped(str(value), keep="\n")
