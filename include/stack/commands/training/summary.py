"""What a training run did, in ten lines or as JSON: records, verdict, versions, production, links."""

import json
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from heartline import addresses
from stack.clients.airflow import Airflow
from stack.clients.mlflow import PRODUCTION, Registry
from stack.settings import DAG

TOP_REASONS = 3
COMPARISON = "comparison.html"
PROMOTE = "./heartline promote"


def collect(airflow: Airflow, registry: Registry, run: str, registered: dict[str, Any]) -> dict[str, Any]:
    """Return the summary of a run; a part that cannot be read is None or empty.

    Args:
        airflow: the api-server.
        registry: MLflow.
        run: the run's id.
        registered: its result.
    """
    ingested, validated, compared = (_returned(airflow, run, task) for task in ("ingest", "validate", "compare"))
    report = _report(validated.get("report", ""))
    comparison_run = compared.get("comparison_run", "")
    return {
        "run": run,
        "source": validated.get("source"),
        "rows": validated.get("rows"),
        "used": validated.get("used"),
        "duplicates": validated.get("duplicates"),
        "quarantined": validated.get("quarantined"),
        "quarantine_reasons": _reasons(report),
        "quarantine_csv": validated.get("quarantine_csv"),
        "columns_left_out": ingested.get("extra_columns", []),
        **registered,
        "production": registry.at(PRODUCTION),
        "links": {
            "run": addresses.airflow_run(run),
            "data_docs": validated.get("data_docs"),
            "comparison": registry.run_page(comparison_run, COMPARISON) if comparison_run else None,
            "mlflow": addresses.model(),
        },
    }


def lines(found: dict[str, Any], promote: str = PROMOTE) -> list[str]:
    """Return the summary as lines for a terminal.

    Args:
        found: what ``collect`` returned.
        promote: the command that puts a version into production.
    """
    links = found["links"]
    versions = sorted(found.get("versions", {}).items(), key=lambda one: int(one[1]))
    shown = {
        "source": found["source"],
        "records": _records(found),
        "quarantine": "; ".join(found["quarantine_reasons"]) + f"; all: {found['quarantine_csv']}"
        if found["quarantined"]
        else None,
        "left out": f"columns {', '.join(found['columns_left_out'])}" if found["columns_left_out"] else None,
        "outcome": _outcome(found),
        "verdict": found.get("reason") or found.get("verdict"),
        "look": found.get("look"),
        "versions": ", ".join(f"{number} ({family})" for family, number in versions),
        "aliases": None if found.get("outcome") == "ended" else _aliases(found, promote),
        "repaired": "; ".join(found.get("repaired", [])),
        "data docs": links["data_docs"],
        "comparison": links["comparison"],
        "mlflow": links["mlflow"],
    }
    return [f"{name:<11} {text}" for name, text in shown.items() if text]


def _outcome(found: dict[str, Any]) -> str | None:
    """Return why the run ended before its last task; None where it did not."""
    if found.get("outcome") == "nothing new":
        return (
            "nothing new: these records, parameters and code are registered already; "
            "to train again nevertheless: --set force=true"
        )
    if found.get("outcome") == "ended":
        return f"{found.get('note')}; the run ended after {found.get('until')}, as asked"
    return None


def _records(found: dict[str, Any]) -> str | None:
    if found["rows"] is None:
        return None
    return (
        f"{found['used']} of {found['rows']} rows used, {found['duplicates']} duplicate, "
        f"{found['quarantined']} in quarantine"
    )


def _aliases(found: dict[str, Any], promote: str) -> str:
    version, production = found.get("version"), found["production"]
    staging = f"staging is version {version} ({found.get('family')})" if version else "staging was not moved"
    if found.get("promoted"):
        now = f"this run moved production to version {production}"
    elif production is None:
        now = "no version is in production yet" + (f"; to promote it: {promote}" if promote else "")
    elif production == version:
        now = f"version {production} is in production already"
    else:
        now = f"version {production} stays in production; to replace it: {promote}"
    held_back = f" ({found['held_back']})" if found.get("held_back") else ""
    return f"{staging}; {now}{held_back}"


def _returned(airflow: Airflow, run: str, task: str) -> dict[str, Any]:
    found = airflow.returned(DAG, run, task)
    return found if isinstance(found, dict) else {}


def _report(uri: str) -> dict[str, Any]:
    """Return the report of ``validate``; empty if the store is not on this machine."""
    if not uri.startswith("file://"):
        return {}
    try:
        found = json.loads(Path(unquote(urlsplit(uri).path)).read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _reasons(report: dict[str, Any]) -> list[str]:
    """Return the commonest reasons of the quarantine, the first one first."""
    findings = [one for one in report.get("findings", []) if one.get("layer") == "row"]
    findings.sort(key=lambda one: -one["count"])
    shown = [f"{one['count']} × {one['column']}: expected {one['expected']}" for one in findings[:TOP_REASONS]]
    more = len(findings) - len(shown)
    return [*shown, f"and {more} other {'reason' if more == 1 else 'reasons'}"] if more else shown
