"""Compares the CPU of a request to the service with that of other servers of the same models, in one run.

    .venv/bin/python tests/benchmarks/serving.py --page docs/serving-speed.md

Each server is gunicorn or uvicorn with one worker, in a session of its own. Round after round, each is sent the same
requests in turn, and the CPU of all processes of its session is measured. The client runs in this process; its CPU is
not counted.
"""

import argparse
import json
import platform
import tempfile
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path
from typing import Any

from cost_page import BEGIN, END, has_place, replaced
from pipeline_cost import machine
from serving_page import markdown
from serving_peers import beside, measure, models
from serving_peers.servers import Kind

ROUNDS, STARTS, TREES = 9, 3, 300
PACKAGES = ("mlflow", "scikit-learn", "flask", "gunicorn", "onnxruntime")


def main(arguments: list[str] | None = None) -> None:
    """Measure, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--rounds", type=int, default=ROUNDS, help="number of rounds; in each, every server gets every load"
    )
    parser.add_argument("--starts", type=int, default=STARTS, help="starts of each server, to measure memory; 0: none")
    parser.add_argument("--trees", type=int, default=TREES, help="trees in the forest")
    parser.add_argument("--share", type=float, default=1.0, help="share of the default number of requests")
    parser.add_argument("--servers", nargs="+", default=measure.PEERS, choices=measure.PEERS, help="servers to measure")
    parser.add_argument("--bare", action="store_true", help="run the service without API keys and prediction log")
    parser.add_argument("--worker", default="heartline", choices=("heartline", "gthread"), help="of the service")
    parser.add_argument("--page", type=Path, help="a page whose measured part is replaced")
    parser.add_argument("--json", type=Path, help="a file to write the figures to")
    given = parser.parse_args(arguments)
    if given.page and not has_place(given.page.read_text()):
        parser.error(f"{given.page} has no lines {BEGIN} and {END}")
    if given.page and set(given.servers) != set(measure.PEERS):
        parser.error("the page needs all servers")
    if given.page and given.worker != "heartline":
        parser.error("the page is about the default worker")
    found = run(given)
    if given.json:
        given.json.write_text(json.dumps(found, indent=1) + "\n")
    if given.page:
        given.page.write_text(replaced(given.page.read_text(), markdown(found)))
    print(markdown(found))


def run(given: argparse.Namespace) -> dict[str, Any]:
    """Train the models, start the servers, measure; return the figures."""
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        measure.progress("train")
        models.prepare(folder, given.trees)
        records = measure.Records(folder)
        ours: dict[str, Any] = {"extra": {}} if given.bare else _beside(folder, stack)
        ours["extra"]["HEARTLINE_WORKER"] = given.worker
        kinds = _kinds(folder, given.servers, ours)
        started = measure.starts(kinds, records, given.starts)
        return {
            "machine": {"processor": machine()["processor"], "python": platform.python_version()}
            | {name: version(name) for name in PACKAGES},
            "trees": given.trees,
            "rounds": given.rounds,
            "on": sorted(kinds[0].extra),
            **measure.requests(kinds, records, given.rounds, given.share),
            "starts": started,
        }


def _beside(folder: Path, stack: ExitStack) -> dict[str, Any]:
    """Return how the service runs in production: with API keys, and with the prediction log."""
    file, key = beside.keys(folder)
    url = stack.enter_context(beside.log_database(folder))
    return {
        "extra": {"HEARTLINE_API_KEYS": str(file), "HEARTLINE_PREDICTION_LOG_URL": url},
        "headers": {"X-API-Key": key},
        "later": True,
    }


def _kinds(folder: Path, names: list[str], ours: dict[str, Any]) -> list[Kind]:
    kinds = [
        Kind(name, family, folder, **(ours if name == "ours" else {}))
        for family in measure.FAMILIES
        for name in names
        if name != "echo"
    ]
    if "echo" in names:
        kinds.append(Kind("echo", measure.FAMILIES[0], folder))
    return sorted(kinds, key=lambda kind: kind.name != "ours")


if __name__ == "__main__":
    main()
