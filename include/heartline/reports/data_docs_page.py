"""The Data Docs page of a run, HTML, for readers who do not know Great Expectations.

It starts with the outcome and its reasons; below is each expectation, as ``data_docs_checks`` renders it. The page is
one file without scripts and external resources.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from heartline import contract
from heartline.reports import data_docs_checks, rendering
from heartline.validation import drift

if TYPE_CHECKING:
    from great_expectations.core import ExpectationSuiteValidationResult

    from heartline.validation.checkpoint import Report
    from heartline.validation.findings import Finding

_LAYERS = (
    ("set", "stops the run", "bad", "Expectations about the records as a whole. If one fails, no model is trained."),
    (
        "row",
        "rows quarantined",
        "fair",
        "Values that are impossible, missing or not numbers. Their rows are in quarantine and are not used.",
    ),
    ("unusual", "unusual, only a warning", "fair", "Values that are possible but rare. Their rows are used."),
    (
        "drift",
        "drift, only a warning",
        "fair",
        "Columns that differ from production's snapshot by more than chance. Without a change, "
        f"{drift.FALSE_ALARM_RATE:.0%} of the runs have such a warning.",
    ),
)
_ENCODINGS = {
    "uci": "They were read as the codes of the UCI archive.",
    "kaggle": "They were read as the codes of the Kaggle file, and converted to those of the UCI archive.",
    "mapping": "They were read with the mapping below, and converted to the codes and units of the contract.",
}
_UNDECIDED = "It is uncertain whether the codes are UCI's or Kaggle's."


def render(result: "ExpectationSuiteValidationResult", report: "Report", *, run: str, source: str) -> bytes:
    """Return the page: HTML in UTF-8, the same bytes for the same input.

    Args:
        result: what Great Expectations returned for the suite.
        report: the outcome of the checks.
        run: Airflow's DAG run id.
        source: where the records came from.
    """
    template = rendering.templates().get_template("data_docs_page.html")
    page = template.render(
        verdict=_verdict(report),
        tone="bad" if report.stopped else "fair" if report.findings or report.quarantined or report.warnings else "",
        summary=list(_summary(report)),
        run=run,
        source=source,
        report=report,
        total=_counted(report.rows, "row"),
        segments=_segments(report),
        limit=f"{100 * report.max_quarantine:g}%",
        groups=list(_groups(report)),
        encoding=_ENCODINGS.get(report.encoding, _UNDECIDED),
        checks=data_docs_checks.by_column(result, report.names),
        contract=contract,
        version=result.meta["great_expectations_version"],
    )
    return page.encode()


def _verdict(report: "Report") -> str:
    if report.stopped:
        return "The run stopped: these records are refused"
    if report.quarantined:
        return f"The run continued, with {_counted(report.quarantined, 'row')} in quarantine"
    if report.findings:
        return "The run continued, with warnings"
    return "The run continued: all checks passed"


def _summary(report: "Report") -> Iterator[str]:
    """Return sentences about the records of a run that continued."""
    yield f"{_counted(report.used, 'record')} of {report.rows:,} are used, in training set or hold-out."
    if report.duplicates:
        yield f"{_counted(report.duplicates, 'row')} repeated an earlier row and counted once."
    if report.quarantined:
        yield (
            f"{_counted(report.quarantined, 'row')} with invalid values went to quarantine. Correct "
            "them in the source, and the next run uses them."
        )
    if any(one.layer == "unusual" for one in report.findings):
        yield "Some values are possible but rare. They were used; check whether they are correct."
    if any(one.layer == "drift" for one in report.findings):
        yield "The records differ from production's snapshot by more than chance. Check whether the source has changed."
    yield from report.warnings


def _segments(report: "Report") -> list[dict[str, Any]]:
    """Return the segments of the bar of rows, with its legend."""
    usable = "usable" if report.stopped else "used"
    parts = (
        (
            "used",
            usable,
            report.used,
            "not used, as the run stopped" if report.stopped else "in training set or hold-out",
        ),
        ("duplicates", "repeated", report.duplicates, "the same record as an earlier row"),
        ("quarantined", "quarantined", report.quarantined, "rows with impossible or missing values"),
    )
    return [
        {
            "style": style,
            "name": name,
            "count": count,
            "shown": f"{count:,}",
            "meaning": meaning,
            "percent": f"{100 * count / max(report.rows, 1):.2f}",
            "share": _share(count, report.rows),
        }
        for style, name, count, meaning in parts
    ]


def _groups(report: "Report") -> Iterator[dict[str, Any]]:
    """Return the findings by layer, the most severe first."""
    for layer, title, tone, meaning in _LAYERS:
        found = [_described(one, report.rows) for one in report.findings if one.layer == layer]
        if found:
            yield {"title": title, "tone": tone, "meaning": meaning, "findings": found}


def _described(finding: "Finding", rows: int) -> dict[str, Any]:
    column = data_docs_checks.COLUMNS.get(finding.column)
    count, shown = finding.count, len(finding.rows)
    of_row = not finding.column and finding.layer == "row"
    return {
        "title": "Whole rows" if of_row else data_docs_checks.title(finding.column),
        "name": (finding.name or column.name) if column else "",
        "unit": column.unit if column else "",
        "about": column.description if column else "",
        "codes": finding.codes,
        "expected": finding.expected,
        "found": _violations(count, rows) if count else finding.found,
        "rows": finding.rows,
        "more": f"The first {shown} of {count:,} rows." if 0 < shown < count else "",
    }


def _violations(count: int, rows: int) -> str:
    verb = "does" if count == 1 else "do"
    return f"{count:,} of {_counted(rows, 'row')} ({_share(count, rows)}) {verb} not meet this"


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _share(count: int, rows: int) -> str:
    share = 100 * count / max(rows, 1)
    if 0 < share < 0.1:
        return "less than 0.1%"
    if 99.9 < share < 100:
        return "more than 99.9%"
    return f"{share:.1f}".removesuffix(".0") + "%"
