"""Measures cost and scores of a forest by the number of records, with the bounds on a tree and without.

    .venv/bin/python tests/benchmarks/forest_growth.py --page docs/growth.md --figure docs/images/forest-growth.svg

Each forest is grown in its own process, by scikit-learn's public class. docs/growth.md describes the method.
"""

import argparse
import io
import json
import math
import pickle
import resource
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "include"))
sys.path.insert(0, str(Path(__file__).resolve().parent))

import numpy as np
import onnxruntime
from growth_page import draw, markdown
from marked_part import MarkedPart
from pipeline_cost import forked, machine

from heartline.arrays import Floats, Ints
from heartline.comparison import paired_tests
from heartline.ingestion.sample import synthetic
from heartline.packaging import export
from heartline.scores import brier, roc_auc, squared_errors
from heartline.storage import splits
from heartline.training import families

Result = dict[str, Any]

PART = MarkedPart("growth")
ROWS = (1_000, 10_000, 30_000, 100_000, 1_000_000)
FAMILY, LEAF = "random_forest", {"min_samples_leaf": 1}  # full trees: the most expensive setting
SEED, SEED_TESTED = 1, 2
Z = 1.96


def main(arguments: list[str] | None = None) -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=ROWS, help="numbers of training rows")
    parser.add_argument("--trees", type=int, default=families.profile("full").trees, help="trees of a bounded forest")
    parser.add_argument("--few", type=int, default=30, help="trees of an unbounded forest, and of both where compared")
    parser.add_argument(
        "--bound", type=int, default=families.MAX_SAMPLES, help="rows in the sample of a tree of a bounded forest"
    )
    parser.add_argument("--leaves", type=int, default=families.MAX_LEAVES, help="leaves of a tree of a bounded forest")
    parser.add_argument(
        "--leaves-from", type=int, default=families.LEAVES_FROM, help="rows above which leaves are bounded"
    )
    parser.add_argument("--tested", type=int, default=200_000, help="other rows, which the forests predict")
    parser.add_argument("--exported", type=int, default=1_000_000, help="training rows of the forest that is exported")
    parser.add_argument("--json", type=Path, help="a file for the figures")
    parser.add_argument("--page", type=Path, help="a page whose part between the markers is replaced")
    parser.add_argument("--figure", type=Path, help="an SVG file for the curves")
    given = parser.parse_args(arguments)
    PART.expect(parser, given.page)
    results = measure(given)
    if given.json:
        given.json.write_text(json.dumps(results, indent=1) + "\n")
    if given.page:
        PART.write(given.page, markdown(results))
    if given.figure:
        draw(results, given.figure)
    print(markdown(results))


def measure(given: argparse.Namespace) -> Result:
    """Grow every forest, and return its cost and its scores."""
    sizes = []
    with tempfile.TemporaryDirectory() as folder:
        for rows in sorted(given.rows):
            sample = given.bound if rows > given.bound else None
            leaves = given.leaves if rows > given.leaves_from else None
            plans = [{"bound": sample, "leaves": leaves, "trees": given.trees}]
            if leaves:
                plans.append({"bound": None, "leaves": None, "trees": given.few})
            grown = [
                _logged(
                    f"{rows:,} rows, {plan['trees']} trees, leaves {plan['leaves']}",
                    lambda plan=plan, rows=rows: grow(rows, **plan, few=given.few, tested=given.tested, kept=folder),
                )[0]
                for plan in plans
            ]
            gain = forked(lambda: _gain(Path(folder), given.tested))[0] if len(grown) > 1 else None
            sizes.append({"rows": rows, "forests": grown, "gain": gain})
        exported = _logged(
            f"export of {given.trees} trees on {given.exported:,} rows",
            lambda: exports(given.exported, given.trees, Path(folder), given),
        )[0]
        for name, read in (("skops", _read_skops), ("onnx", _read_onnx)):
            exported[name]["reading"] = forked(lambda read=read, name=name: read(Path(folder, name).read_bytes()))[1]
    about = machine()
    return {
        "machine": {
            **{name: about[name] for name in ("processor", "python")},
            **{name: version(name) for name in ("scikit-learn", "skl2onnx", "skops")},
        },
        **{name: getattr(given, name) for name in ("trees", "few", "bound", "leaves", "leaves_from", "tested")},
        "sizes": sizes,
        "export": exported,
    }


def _logged(what: str, work: Callable[[], Any]) -> Any:
    print(what, file=sys.stderr, flush=True)
    return forked(work)


def grow(rows: int, *, bound: int | None, leaves: int | None, trees: int, few: int, tested: int, kept: str) -> Result:
    """Grow one forest in this process, and return its cost and its scores.

    Args:
        rows: training rows.
        bound: size of a tree's sample; None for all of them.
        leaves: of a tree at most; None for no bound.
        trees: in the forest.
        few: number of first trees that are scored separately, and half of them too.
        tested: other rows.
        kept: a folder for the predictions of the first trees, by which two forests of one size are compared.
    """
    records = _records(rows, SEED)
    (model, cost) = _fitted(records, trees, bound, leaves)
    forest = model[-1]
    counter, nodes = _Counter(), _nodes(model)
    pickle.dump(model, counter, protocol=5)
    others = _records(tested, SEED_TESTED)
    started = _cpu()
    predictions = families.probability(model, others.features)
    seconds = _cpu() - started
    scores = {"all": _score(others.labels, predictions)}
    for name, count in (("few", few), ("half", few // 2)):
        forest.estimators_ = forest.estimators_[:count]
        predictions = families.probability(model, others.features)
        scores[name] = _score(others.labels, predictions)
        if name == "few":
            np.save(_predictions(kept, leaves), predictions)
    return {
        **cost,
        "bound": bound,
        "leaves": leaves,
        "trees": trees,
        "nodes": nodes,
        "bytes": counter.count,
        "seconds_per_prediction": seconds / tested,
        "scores": scores,
    }


def exports(rows: int, trees: int, folder: Path, given: argparse.Namespace) -> Result:
    """Fit one bounded forest, write it to a folder in each format, and return the cost."""
    sample = given.bound if rows > given.bound else None
    model, _ = _fitted(_records(rows, SEED), trees, sample, given.leaves if rows > given.leaves_from else None)
    found: Result = {"rows": rows, "trees": trees, "nodes": _nodes(model)}
    for name, write in (("skops", export.to_skops), ("onnx", export.to_onnx)):
        size, cost = forked(lambda write=write, name=name: Path(folder, name).write_bytes(write(model)))
        found[name] = {**cost, "bytes": size}
    return found


def _read_skops(data: bytes) -> int:
    return len(export.from_skops(data))


def _read_onnx(data: bytes) -> int:
    return len(onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"]).get_inputs())


def _records(rows: int, seed: int) -> splits.LabelledDataset:
    return splits.to_labelled(synthetic.generate(rows, seed))


def _fitted(records: splits.LabelledDataset, trees: int, bound: int | None, leaves: int | None) -> tuple[Any, Result]:
    recipe, profile = families.family(FAMILY), replace(families.profile("full"), trees=trees)
    parameters = {**recipe.parameters(profile, len(records)), **LEAF, "max_samples": bound, "max_leaf_nodes": leaves}
    model = recipe.build(parameters, SEED)
    base, started = _peak(), _cpu()
    model.fit(records.features, records.labels)
    return model, {"cpu": _cpu() - started, "peak": _peak(), "base": base}


def _nodes(model: Any) -> float:
    return float(np.mean([one.tree_.node_count for one in model[-1].estimators_]))


def _predictions(folder: str | Path, leaves: int | None) -> Path:
    return Path(folder, f"{'bounded' if leaves else 'unbounded'}.npy")


def _gain(folder: Path, tested: int) -> Result:
    """Return the differences of the bounded forest's scores from the unbounded one's, with 95 % intervals."""
    labels = _records(tested, SEED_TESTED).labels
    with_bound, without = (np.load(_predictions(folder, bound)) for bound in (1, None))
    losses = squared_errors(labels, with_bound) - squared_errors(labels, without)
    mean, error = float(losses.mean()), float(losses.std(ddof=1)) / math.sqrt(tested)
    return {
        "auc": asdict(paired_tests.delong(labels, with_bound, without).auc),
        "brier": {"value": mean, "low": mean - Z * error, "high": mean + Z * error},
    }


def _score(labels: Ints, probabilities: Floats) -> Result:
    return {"auc": roc_auc(labels, probabilities), "brier": brier(labels, probabilities)}


def _cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


class _Counter(io.RawIOBase):
    """A file that counts the bytes written to it and discards them."""

    count = 0

    def write(self, data: Any) -> int:
        size = memoryview(data).nbytes
        self.count += size
        return size


if __name__ == "__main__":
    main()
