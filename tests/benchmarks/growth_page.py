"""Writes docs/growth.md: tables and a figure from the results of ``forest_growth.py``."""

import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from heartline.training import families

Result = dict[str, Any]

PROTOBUF = "An ONNX file cannot exceed 2 GB, the limit of its format, protobuf."


def expected(forest: Result, trees: int) -> Result:
    """Return the cost of a forest with another number of trees, assuming equal cost of each tree.

    Args:
        forest: as measured.
        trees: the other number.
    """
    times = trees / forest["trees"]
    size = forest["bytes"] * times
    return {
        **forest,
        "trees": trees,
        "cpu": forest["cpu"] * times,
        "peak": forest["peak"] + size - forest["bytes"],
        "bytes": size,
        "seconds_per_prediction": forest["seconds_per_prediction"] * times,
    }


def whole_run(forest: Result, rows: int, name: str) -> float:
    """Return the CPU seconds of all forests of a run and of their out-of-fold predictions, from those of one forest.

    Args:
        forest: as measured.
        rows: training rows.
        name: of the profile.
    """
    profile = families.profile(name)
    one = expected(forest, profile.trees)
    predictions = profile.repeats * rows * one["seconds_per_prediction"]
    return float((profile.splits * profile.repeats + 1) * one["cpu"] + predictions)


def markdown(results: Result) -> str:
    """Return the tables and the text between them."""
    sizes, trees, few = results["sizes"], results["trees"], results["few"]
    about = list(results["machine"].items())
    compared = [size for size in sizes if size["gain"]]
    parts = [
        f"{about[0][1]}, {', '.join(f'{name} {value}' for name, value in about[1:])}. A tree has at "
        f"most {results['leaves']:,} leaves with more than {results['leaves_from']:,} training rows, and a sample of "
        f"{results['bound']:,} rows with more rows than that; with fewer the bounds have no effect. Figures with ≈ are "
        f"those of {few} trees, times {trees / few:.3g}.",
        _table(
            (
                "rows",
                "sample",
                "leaves",
                "trees",
                "CPU",
                "peak memory",
                "nodes of a tree",
                "pickled",
                "CPU per prediction",
            ),
            (row for size in sizes for row in _costs(size, trees)),
        ),
        f"ROC AUC on {results['tested']:,} other rows. The difference is with the bounds minus without, {few} trees "
        "each, with its 95 % interval (DeLong).",
        _table(_headings(trees, few), (_scores(size, "auc") for size in sizes)),
        f"Brier score on the same rows. ≈ is the estimate for {trees} trees without the bounds, from {few} trees and "
        "from half of them.",
        _table(
            (*_headings(trees, few), f"none, {trees}"),
            ([*_scores(size, "brier"), _many(size, trees, few)] for size in sizes),
        ),
        f"Export of {results['export']['trees']} trees with the bounds, grown on {results['export']['rows']:,} rows. "
        "Both files are in the bundle: "
        f"{_megabytes(sum(results['export'][name]['bytes'] for name in ('skops', 'onnx')))}.",
        _table(
            ("format", "size", "writing", "its peak memory", "reading", "its peak memory"),
            (_format(name, results["export"][name]) for name in ("skops", "onnx")),
        ),
        *(_export_grown(size, results) for size in compared[-1:]),
        *(_night(size, trees) for size in compared[-1:]),
    ]
    return "\n\n".join(
        part if part.startswith("|") else textwrap.fill(part, 120, break_on_hyphens=False) for part in parts
    )


def _costs(size: Result, trees: int) -> list[list[str]]:
    """Return the rows of one size: as measured, and the smaller forest extrapolated to all trees."""
    rows = []
    for forest in size["forests"]:
        rows.append(_cost(size["rows"], forest, ""))
        if forest["trees"] != trees:
            rows.append(_cost(size["rows"], expected(forest, trees), "≈ "))
    return rows


def _cost(rows: int, forest: Result, mark: str) -> list[str]:
    return [
        f"{rows:,}",
        f"{forest['bound']:,}" if forest["bound"] else "all",
        f"{forest['leaves']:,}" if forest["leaves"] else "any",
        str(forest["trees"]),
        mark + _seconds(forest["cpu"]),
        mark + _megabytes(forest["peak"]),
        f"{forest['nodes']:,.0f}",
        mark + _megabytes(forest["bytes"]),
        f"{mark}{1e6 * forest['seconds_per_prediction']:.0f} µs",
    ]


def _headings(trees: int, few: int) -> list[str]:
    return ["rows", f"bounds, {trees} trees", f"bounds, {few}", f"none, {few}", "difference"]


def _scores(size: Result, score: str) -> list[str]:
    """Return the row of one size: where the bound has no effect there is one forest and no difference."""
    with_bound, without, gain = size["forests"][0]["scores"], size["forests"][-1]["scores"], size["gain"]
    cells = [f"{size['rows']:,}", f"{with_bound['all'][score]:.4f}", f"{with_bound['few'][score]:.4f}"]
    if gain is None:
        return [*cells, "the same", "–"]
    one = gain[score]
    return [*cells, f"{without['few'][score]:.4f}", f"{one['value']:+.4f} ({one['low']:+.4f} to {one['high']:+.4f})"]


def _many(size: Result, trees: int, few: int) -> str:
    """Return the estimated Brier score of many unbounded trees: that of k trees is a limit plus a term in 1/k."""
    if size["gain"] is None:
        return "the same"
    scores = size["forests"][-1]["scores"]
    half, all_few = scores["half"]["brier"], scores["few"]["brier"]
    spread = (half - all_few) / (1 / (few // 2) - 1 / few)
    return f"≈ {all_few - spread * (1 / few - 1 / trees):.4f}"


def _format(name: str, one: Result) -> list[str]:
    costs = [cell for cost in (one, one["reading"]) for cell in (_seconds(cost["cpu"]), _megabytes(cost["peak"]))]
    return [name, _megabytes(one["bytes"]), *costs]


def _export_grown(size: Result, results: Result) -> str:
    """Return the estimated cost of the exports at a larger size: it grows with the nodes."""
    found, forest = results["export"], size["forests"][-1]
    times, onnx = forest["nodes"] / found["nodes"], found["onnx"]
    return (
        "Size, time and memory grow with the nodes, which no longer grow with the records. Without the bounds a tree "
        f"of {size['rows']:,} rows has {times:.1f} times the nodes: about {_megabytes(onnx['bytes'] * times)} of ONNX, "
        f"{_seconds(onnx['cpu'] * times)} and {_megabytes(onnx['peak'] * times)} of memory to write it. {PROTOBUF}"
    )


def _night(size: Result, trees: int) -> str:
    """Return the CPU time of a run of each profile at this size."""
    with_bound, without = size["forests"]
    profiles = [
        f"`{name}` fits {profile.splits * profile.repeats + 1} forests of {profile.trees} trees: "
        f"{_hours(whole_run(with_bound, size['rows'], name))} of CPU with the bounds, "
        f"{_hours(whole_run(without, size['rows'], name))} without"
        for name, profile in families.PROFILES.items()
    ]
    return (
        f"By these figures a run that trains on {size['rows']:,} rows takes, including out-of-fold predictions: "
        f"{'; '.join(profiles)}. "
        f"Each of its processes holds a forest of {_megabytes(expected(with_bound, trees)['bytes'])} at most with the "
        f"bounds, of {_megabytes(expected(without, trees)['bytes'])} without."
    )


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---:"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _seconds(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds < 10 else f"{seconds:,.0f} s"


def _megabytes(size: float) -> str:
    return f"{size / 1e6:.1f} MB" if size < 1e7 else f"{size / 1e6:,.0f} MB"


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:.1f} hours" if seconds >= 3600 else f"{seconds / 60:.1f} minutes"


def draw(results: Result, path: Path) -> None:
    """Draw CPU time and Brier score as SVG."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams.update({"svg.hashsalt": "growth", "svg.fonttype": "none", "font.family": "sans-serif"})
    from matplotlib import pyplot

    trees, few, sizes = results["trees"], results["few"], results["sizes"]
    rows = [size["rows"] for size in sizes]
    bounded, unbounded = [size["forests"][0] for size in sizes], [size["forests"][-1] for size in sizes]
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(7.5, 3.2), layout="constrained")
    without, with_bound = {"color": "#d55e00", "marker": "s", "linestyle": "--"}, {"color": "#0072b2", "marker": "o"}
    left.plot(rows, [expected(one, trees)["cpu"] for one in unbounded], **without, label="no bounds")
    left.plot(rows, [one["cpu"] for one in bounded], **with_bound, label="bounds")
    left.set(xscale="log", yscale="log", xlabel="training rows", ylabel=f"CPU of {trees} trees, s")
    right.plot(rows, [one["scores"]["few"]["brier"] for one in unbounded], **without, label=f"no bounds, {few} trees")
    right.plot(rows, [one["scores"]["few"]["brier"] for one in bounded], **with_bound, label=f"bounds, {few} trees")
    right.plot(
        rows,
        [one["scores"]["all"]["brier"] for one in bounded],
        color="0.4",
        marker="^",
        label=f"bounds, {trees} trees",
    )
    right.set(xscale="log", xlabel="training rows", ylabel="Brier score")
    for axes in (left, right):
        axes.legend(frameon=False)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, metadata={"Date": None, "Creator": None})
    pyplot.close(figure)
