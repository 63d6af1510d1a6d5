"""Writes docs/cost.md: tables from the results of ``pipeline_cost.py``, and which aims are met."""

import math
import textwrap
from collections.abc import Callable, Iterable, Sequence
from typing import Any

Result = dict[str, Any]
STAGES = ("ingest", "validate", "preprocess")
LINEAR, FOREST = FAMILIES = ("logistic_regression", "random_forest")
TRAINING = (*FAMILIES, "compare", "register")
COLUMNS = (
    "rows",
    "CPU",
    "Great Expectations' share",
    "remaining CPU",
    "wall",
    "peak memory",
    "bytes per row",
    "`pandas.read_csv`",
    "its peak memory",
)

# The aims: seconds of CPU without Great Expectations, bytes, slope.
AIM_ROWS, AIM_CPU = 1_000_000, 3.0
AIM_MEMORY_ROWS, AIM_MEMORY = 10_000_000, 4e9
AIM_SLOPE = 1.05
AIM_LINEAR_CPU, AIM_LINEAR_MEMORY = 60.0, 1e9
AIM_PATH_SLOPE = 1.1
AIM_BUNDLE = 100e6
PER_ROW_FROM = 100_000  # with fewer rows, fixed costs dominate

BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"


def total(size: Result, what: str) -> float:
    """Return the seconds of all tasks."""
    return float(sum(stage[what] for stage in size["stages"].values()))


def peak(size: Result) -> int:
    """Return the largest memory of a task in bytes, including libraries."""
    return int(max(stage["peak"] for stage in size["stages"].values()))


def added(size: Result) -> int:
    """Return the memory in bytes that the records add to the libraries'."""
    return int(max(stage["peak"] - stage["base"] for stage in size["stages"].values()))


def slope(sizes: list[Result], cost: Callable[[Result], float]) -> float:
    """Return the slope of the logarithm of a cost by that of the rows, between the two largest sizes."""
    small, large = sizes[-2:]
    return math.log(cost(large) / cost(small)) / math.log(large["rows"] / small["rows"])


def markdown(results: Result) -> str:
    """Return the tables, and which aims are met."""
    sizes: list[Result] = results["sizes"]
    about = ", ".join([results["machine"]["processor"], *(f"{k} {v}" for k, v in list(results["machine"].items())[1:])])
    largest = sizes[-1]
    parts = [
        f"Rows drawn from {largest['basis']}; {about}.",
        _table(COLUMNS, (_row(size) for size in sizes)),
        "CPU time, wall time and peak memory of each task:",
        _table(
            ("rows", *STAGES),
            (
                [
                    f"{size['rows']:,}",
                    *(
                        f"{_seconds(one['cpu'])}, {_seconds(one['wall'])}, {_megabytes(one['peak'])}"
                        for one in size["stages"].values()
                    ),
                ]
                for size in sizes
            ),
        ),
        "Storage size and use of the records:",
        _table(
            ("rows", "CSV, bytes per row", "snapshot, bytes per row", "used", "duplicates", "quarantined"),
            (
                [
                    f"{size['rows']:,}",
                    f"{size['file_bytes'] / size['rows']:.1f}",
                    f"{size['snapshot_bytes'] / size['rows']:.1f}",
                    *(f"{size[what]:,}" for what in ("used", "duplicates", "quarantined")),
                ]
                for size in sizes
            ),
        ),
        *aims(sizes),
        *_training([size for size in sizes if "training" in size], results.get("profile", "quick")),
    ]
    return "\n\n".join(
        part if part.startswith("|") else textwrap.fill(part, 120, break_on_hyphens=False) for part in parts
    )


def _row(size: Result) -> list[str]:
    return [
        f"{size['rows']:,}",
        _seconds(total(size, "cpu")),
        _seconds(size["great_expectations_cpu"]),
        _seconds(total(size, "cpu") - size["great_expectations_cpu"]),
        _seconds(total(size, "wall")),
        _megabytes(peak(size)),
        f"{added(size) / size['rows']:,.0f}" if size["rows"] >= PER_ROW_FROM else "–",
        _seconds(size["pandas"]["cpu"]),
        _megabytes(size["pandas"]["peak"]),
    ]


def aims(sizes: list[Result]) -> list[str]:
    """Return a sentence for each aim that these sizes apply to."""
    sentences = []
    for size in sizes:
        if size["rows"] == AIM_ROWS:
            beyond = total(size, "cpu") - size["great_expectations_cpu"]
            sentences.append(
                f"At {AIM_ROWS:,} rows the aim is at most {AIM_CPU:.0f} s of CPU without Great Expectations: "
                f"{beyond:.2f} s, {_met(beyond <= AIM_CPU)}."
            )
        if size["rows"] == AIM_MEMORY_ROWS:
            sentences.append(
                f"At {AIM_MEMORY_ROWS:,} rows the aim is at most {AIM_MEMORY / 1e9:.0f} GB in each task: "
                f"{peak(size) / 1e9:.2f} GB, {_met(peak(size) <= AIM_MEMORY)}."
            )
    if len(sizes) > 1 and sizes[-2]["rows"] >= PER_ROW_FROM:
        cpu, memory = slope(sizes, lambda size: total(size, "cpu")), slope(sizes, added)
        sentences.append(
            f"From {sizes[-2]['rows']:,} to {sizes[-1]['rows']:,} rows the aim is a slope (log cost by log rows) of at "
            f"most {AIM_SLOPE}: CPU has a slope of {cpu:.2f}, {_met(cpu <= AIM_SLOPE)}; memory of "
            f"{memory:.2f}, {_met(memory <= AIM_SLOPE)}. (`pandas.read_csv` alone: "
            f"{slope(sizes, lambda size: size['pandas']['cpu']):.2f}.)"
        )
    return sentences


def _training(sizes: list[Result], profile: str) -> list[str]:
    """Return the table of the tasks from ``train`` on, and which aims are met."""
    if not sizes:
        return []
    titles = ("train, logistic regression", "train, random forest", "compare", "register")
    table = _table(
        ("rows", *titles, "bundles"),
        (
            [
                f"{size['rows']:,}",
                *(_cost(size["training"].get(name)) for name in TRAINING),
                ", ".join(
                    _megabytes(one) if one >= 1e6 else f"{one / 1e3:,.0f} kB" for one in size["bundles"].values()
                ),
            ]
            for size in sizes
        ),
    )
    return [f"Training with `profile={profile}`, CPU time and peak memory of each task:", table, *_training_aims(sizes)]


def _cost(one: Result | None) -> str:
    return f"{_seconds(one['cpu'])}, {_megabytes(one['peak'])}" if one else "–"


def path(size: Result) -> float:
    """Return the seconds of CPU from ``ingest`` to a registered logistic regression."""
    return total(size, "cpu") + float(sum(one["cpu"] for name, one in size["training"].items() if name != FOREST))


def _training_aims(sizes: list[Result]) -> list[str]:
    sentences = []
    by_rows = {size["rows"]: size for size in sizes}
    if AIM_ROWS in by_rows:
        costs, bundles = (by_rows[AIM_ROWS][what] for what in ("training", "bundles"))
        one = costs[LINEAR]
        sentences.append(
            f"At {AIM_ROWS:,} rows the aim for training a logistic regression is at most {AIM_LINEAR_CPU:.0f} s of CPU "
            f"and {AIM_LINEAR_MEMORY / 1e9:.0f} GB: {one['cpu']:.1f} s, {_met(one['cpu'] <= AIM_LINEAR_CPU)}; "
            f"{one['peak'] / 1e9:.2f} GB, {_met(one['peak'] <= AIM_LINEAR_MEMORY)}. For a forest it is at most "
            f"{AIM_MEMORY / 1e9:.0f} GB and a bundle of {_megabytes(AIM_BUNDLE)}: "
            f"{costs[FOREST]['peak'] / 1e9:.2f} GB, {_met(costs[FOREST]['peak'] <= AIM_MEMORY)}; "
            f"{_megabytes(bundles[FOREST])}, "
            f"{_met(bundles[FOREST] <= AIM_BUNDLE)}."
        )
    if AIM_MEMORY_ROWS in by_rows:
        large = by_rows[AIM_MEMORY_ROWS]
        most = max(peak(large), *(one["peak"] for one in large["training"].values()))
        sentences.append(
            f"At {AIM_MEMORY_ROWS:,} rows the aim is at most {AIM_MEMORY / 1e9:.0f} GB in each task up to a registered "
            f"logistic regression: {most / 1e9:.2f} GB, {_met(most <= AIM_MEMORY)}."
        )
    if AIM_ROWS in by_rows and AIM_MEMORY_ROWS in by_rows:
        found = slope([by_rows[AIM_ROWS], by_rows[AIM_MEMORY_ROWS]], path)
        sentences.append(
            f"From {AIM_ROWS:,} to {AIM_MEMORY_ROWS:,} rows the aim for the CPU of this path is a slope of at most "
            f"{AIM_PATH_SLOPE}: {found:.2f}, {_met(found <= AIM_PATH_SLOPE)}."
        )
    return sentences


def _met(yes: bool) -> str:
    return "met" if yes else "**not met**"


def _seconds(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds < 10 else f"{seconds:.1f} s"


def _megabytes(size: float) -> str:
    return f"{size / 1e6:,.0f} MB"


def _table(header: Sequence[str], rows: Iterable[list[str]]) -> str:
    lines = [header, ["---:"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def has_place(page: str) -> bool:
    """Return whether the page has a measured part."""
    return -1 < page.find(BEGIN) < page.find(END)


def replaced(page: str, measured: str) -> str:
    """Return the page with another measured part."""
    before, _, rest = page.partition(BEGIN)
    after = rest.partition(END)[2]
    return f"{before}{BEGIN}\n\n{measured}\n\n{END}{after}"
