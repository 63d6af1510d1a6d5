"""What a forest costs as records become more, with and without the bound on what a tree sees, and how good it is.

    .venv/bin/python tests/benchmarks/forest_growth.py --page docs/growth.md --figure docs/images/forest-growth.svg

Each forest is grown in a process of its own, by scikit-learn's public class. docs/growth.md says how it is measured.
"""

import argparse
import io
import json
import math
import pickle
import resource
import sys
import tempfile
import textwrap
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "include"))
sys.path.insert(0, str(Path(__file__).resolve().parent))

import numpy as np
import onnxruntime
from pipeline_cost import forked, machine

from heartline import dataset, export, paired, sample, training

Result = dict[str, Any]

BEGIN, END = "<!-- growth: begin -->", "<!-- growth: end -->"
ROWS = (1_000, 10_000, 100_000, 300_000, 1_000_000)
FAMILY, LEAF = "random_forest", {"min_samples_leaf": 1}  # full trees: the candidate that costs most
SEED, SEED_TESTED = 1, 2
Z = 1.96
PROTOBUF = "An ONNX file ends at 2 GB, the limit of its format, protobuf."


def main(arguments: list[str] | None = None) -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=ROWS, help="numbers of training rows")
    parser.add_argument("--trees", type=int, default=training.profile("full").trees, help="trees of a bounded forest")
    parser.add_argument("--few", type=int, default=30, help="trees of an unbounded forest, and of both where compared")
    parser.add_argument(
        "--bound", type=int, default=training.MAX_SAMPLES, help="rows that a tree of a bounded one sees"
    )
    parser.add_argument("--tested", type=int, default=200_000, help="other rows, which the forests answer")
    parser.add_argument("--exported", type=int, default=100_000, help="training rows of the forest that is exported")
    parser.add_argument("--json", type=Path, help="a file for the figures")
    parser.add_argument("--page", type=Path, help="a page whose part between the markers is written anew")
    parser.add_argument("--figure", type=Path, help="an SVG file for the curves")
    given = parser.parse_args(arguments)
    if given.page and not -1 < given.page.read_text().find(BEGIN) < given.page.read_text().find(END):
        parser.error(f"{given.page} has no lines {BEGIN} and {END}")
    results = measure(given)
    if given.json:
        given.json.write_text(json.dumps(results, indent=1) + "\n")
    if given.page:
        before, _, rest = given.page.read_text().partition(BEGIN)
        given.page.write_text(f"{before}{BEGIN}\n\n{markdown(results)}\n\n{END}{rest.partition(END)[2]}")
    if given.figure:
        draw(results, given.figure)
    print(markdown(results))


def measure(given: argparse.Namespace) -> Result:
    """Grow every forest, and return what each cost and how good it is."""
    sizes = []
    with tempfile.TemporaryDirectory() as folder:
        for rows in sorted(given.rows):
            plans = [{"bound": given.bound if rows > given.bound else None, "trees": given.trees}]
            if rows > given.bound:
                plans.append({"bound": None, "trees": given.few})
            grown = [
                _told(
                    f"{rows:,} rows, {plan['trees']} trees, bound {plan['bound']}",
                    lambda plan=plan, rows=rows: grow(rows, **plan, few=given.few, tested=given.tested, kept=folder),
                )[0]
                for plan in plans
            ]
            gain = forked(lambda: _gain(Path(folder), given.tested))[0] if len(grown) > 1 else None
            sizes.append({"rows": rows, "forests": grown, "gain": gain})
        exported = _told(
            f"export of {given.trees} trees on {given.exported:,} rows",
            lambda: exports(given.exported, given.trees, Path(folder)),
        )[0]
        for name, read in (("skops", _read_skops), ("onnx", _read_onnx)):
            exported[name]["reading"] = forked(lambda read=read, name=name: read(Path(folder, name).read_bytes()))[1]
    about = machine()
    return {
        "machine": {
            **{name: about[name] for name in ("processor", "python")},
            **{name: version(name) for name in ("scikit-learn", "skl2onnx", "skops")},
        },
        **{name: getattr(given, name) for name in ("trees", "few", "bound", "tested")},
        "sizes": sizes,
        "export": exported,
    }


def _told(what: str, work: Callable[[], Any]) -> Any:
    print(what, file=sys.stderr, flush=True)
    return forked(work)


def grow(rows: int, *, bound: int | None, trees: int, few: int, tested: int, kept: str) -> Result:
    """Grow one forest in this process, and return what it cost and how good it is.

    Args:
        rows: training rows.
        bound: how many of them a tree sees; None for as many as there are.
        trees: in the forest.
        few: how many of them, the first ones, are scored apart, and half of these.
        tested: other rows.
        kept: a folder for the answers of the first ones: two forests of one size are compared on them.
    """
    records = _records(rows, SEED)
    (model, cost) = _fitted(records, trees, bound)
    forest = model[-1]
    counter, nodes = _Counter(), _nodes(model)
    pickle.dump(model, counter, protocol=5)
    others = _records(tested, SEED_TESTED)
    begun = _cpu()
    answers = training.probability(model, others.features)
    seconds = _cpu() - begun
    scores = {"all": _score(others.labels, answers)}
    for name, count in (("few", few), ("half", few // 2)):
        forest.estimators_ = forest.estimators_[:count]
        answers = training.probability(model, others.features)
        scores[name] = _score(others.labels, answers)
        if name == "few":
            np.save(_answers(kept, bound), answers)
    return {
        **cost,
        "bound": bound,
        "trees": trees,
        "nodes": nodes,
        "bytes": counter.count,
        "seconds_per_answer": seconds / tested,
        "scores": scores,
    }


def exports(rows: int, trees: int, folder: Path) -> Result:
    """Fit one forest, write it to a folder in each format, and return what that costs."""
    model, _ = _fitted(_records(rows, SEED), trees, None)
    found: Result = {"rows": rows, "trees": trees, "nodes": _nodes(model)}
    for name, write in (("skops", export.to_skops), ("onnx", export.to_onnx)):
        size, cost = forked(lambda write=write, name=name: Path(folder, name).write_bytes(write(model)))
        found[name] = {**cost, "bytes": size}
    return found


def _read_skops(data: bytes) -> int:
    return len(export.from_skops(data))


def _read_onnx(data: bytes) -> int:
    return len(onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"]).get_inputs())


def _records(rows: int, seed: int) -> dataset.Labelled:
    return dataset.labelled(sample.generate(rows, seed))


def _fitted(records: dataset.Labelled, trees: int, bound: int | None) -> tuple[Any, Result]:
    recipe, profile = training.family(FAMILY), replace(training.profile("full"), trees=trees)
    parameters = {**recipe.parameters(profile, len(records)), **LEAF, "max_samples": bound}
    model = recipe.build(parameters, SEED)
    base, begun = _peak(), _cpu()
    model.fit(records.features, records.labels)
    return model, {"cpu": _cpu() - begun, "peak": _peak(), "base": base}


def _nodes(model: Any) -> float:
    return float(np.mean([one.tree_.node_count for one in model[-1].estimators_]))


def _answers(folder: str | Path, bound: int | None) -> Path:
    return Path(folder, f"{'bounded' if bound else 'unbounded'}.npy")


def _gain(folder: Path, tested: int) -> Result:
    """Return by how much the bounded forest's scores differ from the unbounded one's, with 95 % intervals."""
    labels = _records(tested, SEED_TESTED).labels
    with_bound, without = (np.load(_answers(folder, bound)) for bound in (1, None))
    worse = (with_bound - labels) ** 2 - (without - labels) ** 2
    mean, error = float(worse.mean()), float(worse.std(ddof=1)) / math.sqrt(tested)
    return {
        "auc": asdict(paired.delong(labels, with_bound, without).auc),
        "brier": {"value": mean, "low": mean - Z * error, "high": mean + Z * error},
    }


def _score(labels: dataset.Ints, answers: dataset.Floats) -> Result:
    return {"auc": paired.auc(labels, answers), "brier": float(np.mean((answers - labels) ** 2))}


def _cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


class _Counter(io.RawIOBase):
    """A file that counts what is written to it and keeps nothing."""

    count = 0

    def write(self, data: Any) -> int:
        size = memoryview(data).nbytes
        self.count += size
        return size


def expected(forest: Result, trees: int) -> Result:
    """Return what a forest of another number of trees costs, as far as each tree costs the same.

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
        "seconds_per_answer": forest["seconds_per_answer"] * times,
    }


def whole_run(forest: Result, rows: int, name: str) -> float:
    """Return the CPU seconds of a profile's forests and of their answers out of fold, from one forest's.

    Args:
        forest: as measured.
        rows: training rows.
        name: of the profile.
    """
    profile = training.profile(name)
    one = expected(forest, profile.trees)
    answers = profile.repeats * rows * one["seconds_per_answer"]
    return float((profile.splits * profile.repeats + 1) * one["cpu"] + answers)


def markdown(results: Result) -> str:
    """Return the tables, and what they say."""
    sizes, trees, few = results["sizes"], results["trees"], results["few"]
    about = list(results["machine"].items())
    compared = [size for size in sizes if size["gain"]]
    parts = [
        f"{about[0][1]}, {', '.join(f'{name} {value}' for name, value in about[1:])}. The bound is "
        f"{results['bound']:,} rows for each tree; up to there it changes nothing. Figures with ≈ are those of {few} "
        f"trees, times {trees / few:.3g}.",
        _table(
            ("rows", "bound", "trees", "CPU", "peak memory", "nodes of a tree", "pickled", "CPU per answer"),
            (row for size in sizes for row in _costs(size, trees)),
        ),
        f"ROC AUC on {results['tested']:,} other rows. The difference is with the bound minus without, {few} trees "
        "each, with its 95 % interval (DeLong).",
        _table(_headings(trees, few), (_scores(size, "auc") for size in sizes)),
        f"Brier score on the same rows. ≈ is what {trees} trees without the bound come to, judged from {few} and half "
        "of them.",
        _table(
            (*_headings(trees, few), f"none, {trees}"),
            ([*_scores(size, "brier"), _many(size, trees, few)] for size in sizes),
        ),
        f"Export of {results['export']['trees']} trees grown on {results['export']['rows']:,} rows:",
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
    """Return the rows of one size: as measured, and what the smaller forest would cost at full size."""
    rows = []
    for forest in size["forests"]:
        rows.append(_cost(size["rows"], forest, ""))
        if forest["trees"] != trees:
            rows.append(_cost(size["rows"], expected(forest, trees), "≈ "))
    return rows


def _cost(rows: int, forest: Result, mark: str) -> list[str]:
    return [
        f"{rows:,}",
        f"{forest['bound']:,}" if forest["bound"] else "none",
        str(forest["trees"]),
        mark + _seconds(forest["cpu"]),
        mark + _megabytes(forest["peak"]),
        f"{forest['nodes']:,.0f}",
        mark + _megabytes(forest["bytes"]),
        f"{mark}{1e6 * forest['seconds_per_answer']:.0f} µs",
    ]


def _headings(trees: int, few: int) -> list[str]:
    return ["rows", f"bound, {trees} trees", f"bound, {few}", f"none, {few}", "difference"]


def _scores(size: Result, score: str) -> list[str]:
    """Return one size's row: where the bound changes nothing there is one forest, and no difference."""
    with_bound, without, gain = size["forests"][0]["scores"], size["forests"][-1]["scores"], size["gain"]
    cells = [f"{size['rows']:,}", f"{with_bound['all'][score]:.4f}", f"{with_bound['few'][score]:.4f}"]
    if gain is None:
        return [*cells, "the same", "–"]
    one = gain[score]
    return [*cells, f"{without['few'][score]:.4f}", f"{one['value']:+.4f} ({one['low']:+.4f} to {one['high']:+.4f})"]


def _many(size: Result, trees: int, few: int) -> str:
    """Return the Brier score of many unbounded trees: that of k trees is a limit plus a part that falls with 1/k."""
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
    """Return what the exports come to at a larger size: they grow with the nodes."""
    found = results["export"]
    said = []
    for what, forest in zip(("with", "without"), size["forests"], strict=True):
        times = forest["nodes"] / found["nodes"]
        onnx = found["onnx"]
        said.append(
            f"{what} the bound a tree of {size['rows']:,} rows has {times:.1f} times the nodes: about "
            f"{_megabytes(onnx['bytes'] * times)} of ONNX, {_seconds(onnx['cpu'] * times)} and "
            f"{_megabytes(onnx['peak'] * times)} of memory to write it"
        )
    return f"These grow with the nodes: {'; '.join(said)}. {PROTOBUF}"


def _night(size: Result, trees: int) -> str:
    """Return what a run of each profile takes at this size."""
    with_bound, without = size["forests"]
    said = [
        f"`{name}` fits {profile.splits * profile.repeats + 1} forests of {profile.trees} trees: "
        f"{_hours(whole_run(with_bound, size['rows'], name))} of CPU with the bound, "
        f"{_hours(whole_run(without, size['rows'], name))} without"
        for name, profile in training.PROFILES.items()
    ]
    return (
        f"A run that trains on {size['rows']:,} rows, by these figures, answers out of fold included: "
        f"{'; '.join(said)}. "
        f"Each of its processes holds a forest of {_megabytes(expected(with_bound, trees)['bytes'])} at most with the "
        f"bound, of {_megabytes(expected(without, trees)['bytes'])} without."
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
    """Write the curves as SVG: CPU, and Brier score."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams.update({"svg.hashsalt": "growth", "svg.fonttype": "none", "font.family": "sans-serif"})
    from matplotlib import pyplot

    trees, few, sizes = results["trees"], results["few"], results["sizes"]
    rows = [size["rows"] for size in sizes]
    bounded, unbounded = [size["forests"][0] for size in sizes], [size["forests"][-1] for size in sizes]
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(7.5, 3.2), layout="constrained")
    without, with_bound = {"color": "#d55e00", "marker": "s", "linestyle": "--"}, {"color": "#0072b2", "marker": "o"}
    left.plot(rows, [expected(one, trees)["cpu"] for one in unbounded], **without, label="no bound")
    left.plot(rows, [one["cpu"] for one in bounded], **with_bound, label=f"bound {results['bound']:,}")
    left.set(xscale="log", yscale="log", xlabel="training rows", ylabel=f"CPU of {trees} trees, s")
    right.plot(rows, [one["scores"]["few"]["brier"] for one in unbounded], **without, label=f"no bound, {few} trees")
    right.plot(rows, [one["scores"]["few"]["brier"] for one in bounded], **with_bound, label=f"bound, {few} trees")
    right.plot(
        rows, [one["scores"]["all"]["brier"] for one in bounded], color="0.4", marker="^", label=f"bound, {trees} trees"
    )
    right.set(xscale="log", xlabel="training rows", ylabel="Brier score")
    for axes in (left, right):
        axes.legend(frameon=False)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, metadata={"Date": None, "Creator": None})
    pyplot.close(figure)


if __name__ == "__main__":
    main()
