"""Measures the tasks of a training run from 303 rows to ten million, and pandas reading the same file.

    .venv/bin/python tests/benchmarks/pipeline_cost.py --page docs/cost.md

The rows are drawn from the Cleveland file in HEARTLINE_REAL_DATA, else from the sample, and their measurements are
jittered, so that they differ. Each size has its own process, which imports the libraries and forks a process for each
task, as Airflow does. The cost of a task is therefore without imports, and its peak memory is its own.
"""

import argparse
import contextlib
import json
import multiprocessing
import os
import platform
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from cost_page import BEGIN, END, FAMILIES, FOREST, STAGES, Result, has_place, markdown, replaced

ROOT = Path(__file__).resolve().parents[2]
ROWS = (303, 10_000, 100_000, 1_000_000, 10_000_000)
SEED = 0
JITTER = 0.05  # standard deviation of what is added to a measurement, as a share of its usual range
FOREST_ROWS = 1_000_000  # with more rows only the logistic regression is trained
CHUNK = 250_000  # rows that are written at a time


def main(arguments: list[str] | None = None) -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=ROWS, help="numbers of rows")
    parser.add_argument("--profile", default="quick", help="of training; full takes ten times as long")
    parser.add_argument("--before-training", action="store_true", help="measure only what comes before training")
    parser.add_argument("--json", type=Path, help="a file for the figures; sizes that it holds are kept")
    parser.add_argument("--page", type=Path, help="a page whose measured part is replaced")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.one:
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps(measure(given.one, Path(folder), given.profile, training=not given.before_training)))
        return
    if given.page and not has_place(given.page.read_text()):
        parser.error(f"{given.page} has no lines {BEGIN} and {END}")
    with tempfile.TemporaryDirectory() as folder, mlflow_server(Path(folder)) as address:
        sizes = [_in_a_process_of_its_own(rows, address, given) for rows in sorted(given.rows)]
    if given.json and given.json.exists():
        kept = json.loads(given.json.read_text())["sizes"]
        sizes = sorted([*sizes, *(one for one in kept if one["rows"] not in given.rows)], key=lambda one: one["rows"])
    results = {"machine": machine(), "profile": given.profile, "sizes": sizes}
    if given.json:
        given.json.write_text(json.dumps(results, indent=1) + "\n")
    if given.page:
        given.page.write_text(replaced(given.page.read_text(), markdown(results)))
    print(markdown(results))


@contextmanager
def mlflow_server(folder: Path) -> Iterator[str]:
    """Run MLflow and the ledger's database in processes of their own: the tasks' cost does not include theirs.

    The environment names the ledger until the end.
    """
    sys.path[:0] = [str(ROOT), str(ROOT / "include")]
    from tests.postgres import Postgres

    before = dict(os.environ)
    database = Postgres(folder / "postgres")
    os.environ["HEARTLINE_LEDGER_URL"] = database.ledger_url
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = ("--host", "127.0.0.1", "--port", str(port), "--workers", "1")
    stores = ("--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--artifacts-destination", str(folder / "files"))
    server = subprocess.Popen(
        [sys.executable, "-m", "mlflow", "server", *options, *stores],
        env={**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            with contextlib.suppress(OSError), urllib.request.urlopen(f"{address}/health", timeout=1):
                break
            time.sleep(0.2)
        yield address
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait()
        database.remove()
        os.environ.clear()
        os.environ.update(before)


def _in_a_process_of_its_own(rows: int, mlflow_address: str, given: argparse.Namespace) -> Result:
    print(f"{rows:,} rows", file=sys.stderr, flush=True)
    done = subprocess.run(
        [
            sys.executable,
            __file__,
            *("--one", str(rows), "--profile", given.profile),
            *(["--before-training"] if given.before_training else []),
        ],
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT / "include"),
            "MLFLOW_TRACKING_URI": mlflow_address,
            "OMP_NUM_THREADS": "1",
        },
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    found: Result = json.loads(done.stdout.splitlines()[-1])
    return found


def machine() -> dict[str, str]:
    """Return the processor and the versions that the results depend on."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    model = next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine()
    )
    packages = ("great-expectations", "pandas", "numpy", "pyarrow")
    return {
        "processor": f"{os.cpu_count()} × {model}",
        "python": platform.python_version(),
        **{name: version(name) for name in packages},
    }


def measure(rows: int, folder: Path, profile: str, *, training: bool) -> Result:
    """Run all tasks on ``rows`` rows, and return their cost.

    Args:
        rows: of the source.
        folder: for the source and the store.
        profile: of training.
        training: whether to run the tasks from ``train`` on.
    """
    os.environ["HEARTLINE_STORE"] = (folder / "store").as_uri()
    os.environ["HEARTLINE_SOURCE_FOLDERS"] = str(folder)
    import pandas as pd

    from heartline.pipeline.ingest import ingest
    from heartline.pipeline.preprocess import preprocess
    from heartline.pipeline.validate import validate
    from heartline.storage import object_store

    source = folder / "records.csv"

    def write() -> str:
        return write_records(source, rows)

    def validate_timed() -> tuple[Result, float]:
        spent = clock_great_expectations()
        validated = validate(ingested, run=f"{rows} rows")
        return validated, sum(spent)

    basis, _ = forked(write)
    _, pandas_cost = forked(lambda: len(pd.read_csv(source, na_values="?")))
    ingested, ingest_cost = forked(lambda: ingest(str(source)))
    (validated, expectations_cpu), validate_cost = forked(validate_timed)
    prepared, preprocess_cost = forked(lambda: preprocess(validated, profile=profile, seed=SEED))
    snapshot = Path(validated["snapshot"].removeprefix("file://"))
    return {
        "rows": rows,
        "basis": basis,
        "used": validated["used"],
        "duplicates": validated["duplicates"],
        "quarantined": validated["quarantined"],
        "snapshot": object_store.digest_of(validated["snapshot"]),
        "file_bytes": source.stat().st_size,
        "snapshot_bytes": snapshot.stat().st_size,
        "stages": dict(zip(STAGES, (ingest_cost, validate_cost, preprocess_cost), strict=True)),
        "great_expectations_cpu": expectations_cpu,
        "pandas": pandas_cost,
        **(train_and_register(prepared, FAMILIES if rows <= FOREST_ROWS else FAMILIES[:1]) if training else {}),
    }


def train_and_register(prepared: Any, families: Sequence[str]) -> Result:
    """Run ``train`` for each family, ``compare`` and ``register``; return their cost and the size of the bundles."""
    from heartline.pipeline.compare import compare
    from heartline.pipeline.register import register
    from heartline.pipeline.train import train

    costs, trained, bundles = {}, [], {}
    for family in families:
        outcome, costs[family] = forked(lambda family=family: train(family, prepared, run="cost"))
        if outcome["outcome"] != "trained":
            raise RuntimeError(outcome["error"])
        trained.append(outcome)
        bundles[family] = Path(outcome["bundle"].removeprefix("file://")).stat().st_size
    compared, costs["compare"] = forked(lambda: compare(trained, prepared, run="cost"))
    registered, costs["register"] = forked(lambda: register(compared, promotion="manual", run="cost"))
    if set(registered["versions"]) != set(families):
        raise RuntimeError(f"not all families were registered: {registered}")
    if FOREST in families:
        print(f"{compared['verdict']}: {compared['reason']}", file=sys.stderr)
    return {"training": costs, "bundles": bundles}


def clock_great_expectations() -> list[float]:
    """Return a list that gets the CPU seconds of each context and each run of a checkpoint in this process."""
    import great_expectations as gx

    spent: list[float] = []

    def clocked(original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            started = time.process_time()
            try:
                return original(*arguments, **named)
            finally:
                spent.append(time.process_time() - started)

        return call

    gx.get_context = clocked(gx.get_context)
    gx.Checkpoint.run = clocked(gx.Checkpoint.run)  # type: ignore[method-assign]
    return spent


def forked(work: Callable[[], Any]) -> tuple[Any, dict[str, float]]:
    """Call ``work`` in a fork of this process, and return its result and its cost.

    Raises:
        RuntimeError: it failed, or was killed, for example for lack of memory.
    """
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=_work, args=(work, sender))
    child.start()
    sender.close()
    try:
        result, cost = receiver.recv()
    except EOFError:
        child.join()
        raise RuntimeError(f"a task ended with exit code {child.exitcode}") from None
    child.join()
    return result, cost


def _work(work: Callable[[], Any], sender: Any) -> None:
    base, cpu, wall = _peak(), _cpu(), time.perf_counter()
    result = work()
    sender.send((result, {"cpu": _cpu() - cpu, "wall": time.perf_counter() - wall, "peak": _peak(), "base": base}))


def _cpu() -> float:
    """Return the seconds of CPU of all threads of this process, and of its children, in user mode and the kernel."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def _peak() -> int:
    """Return the largest resident memory of this process so far, in bytes."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def write_records(path: Path, rows: int) -> str:
    """Write ``rows`` records as CSV, missing values as `?` as in the UCI files; return their source."""
    import numpy as np
    import pandas as pd
    import pyarrow as pa
    from pyarrow import csv

    from heartline import contract
    from heartline.ingestion.sample import synthetic

    real = Path(os.environ.get("HEARTLINE_REAL_DATA", ""), "processed.cleveland.data")
    names = list(contract.COLUMN_NAMES)
    if os.environ.get("HEARTLINE_REAL_DATA") and real.is_file():
        frame, basis = pd.read_csv(real, header=None, names=names, na_values="?"), "the Cleveland file"
    else:
        frame, basis = synthetic.generate(), "the synthetic sample"
    options = csv.WriteOptions(include_header=False, quoting_style="none")
    with path.open("wb") as file:
        file.write(f"{','.join(names)}\n".encode())
        for start in range(0, rows, CHUNK):
            random = np.random.default_rng([SEED, start])
            drawn = random.integers(0, len(frame), min(CHUNK, rows - start))
            columns = [_jittered(frame[one.name].to_numpy("float64")[drawn], one, random) for one in contract.COLUMNS]
            csv.write_csv(pa.table(columns, names=names), file, options)
    return basis


def _jittered(values: Any, column: Any, random: Any) -> Any:
    """Return a column (n,) for Arrow: measurements jittered, integers as such, `?` for missing values."""
    import numpy as np
    import pyarrow as pa

    if column.kind == "measurement":
        low, high = column.usual
        noise = random.normal(0, JITTER * (high - low), len(values))
        values = np.clip(values + noise, low, high).round(column.decimals)
    array = pa.array(values, from_pandas=True)
    if column.whole:
        array = array.cast(pa.int64())
    return array.cast(pa.string()).fill_null("?") if array.null_count else array


if __name__ == "__main__":
    main()
