"""Measures the time of a run's evidence, and that of the same evidence as a plain scikit-learn program.

    .venv/bin/python tests/benchmarks/evidence_cost.py --page docs/evaluation.md

Both programs start with the same file and the same checks by Great Expectations with their Data Docs, compute the same
numbers, which are compared, and end with two registered versions. Each runs in its own process. Heartline's forks one
process per family, as Airflow maps its tasks; it also draws figures, exports the models and runs the smoke test. The
records are those of the Cleveland file in HEARTLINE_REAL_DATA, else those of the sample. CPU seconds include those of
child processes, such as the service of the smoke test, but not those of the MLflow server.
"""

import argparse
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "include"))

from clock import Clock, cpu_seconds
from cost_page import BEGIN, END, has_place, replaced
from pipeline_cost import ROOT, machine, mlflow_server

WAYS = ("heartline", "plain")
AIM_WARM, AIM_COLD = 1 / 8, 1 / 6
EXACT = ("exact_probabilities", "chosen")
TOLERANCE = 1e-6  # of probabilities of a family whose fast equivalent is not equal to the last bit
ROUNDED = ("fold_aucs", "importance", "scores", "delta_auc")  # computed by other formulas
SEED = 0
_MEASURED = ("imports", "spent", "cpu", "warm", "warm_cpu", "requests")


def main(arguments: list[str] | None = None) -> None:
    """Measure both programs, compare their numbers, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profile", default="full", help="quick takes a minute less; its figures are not the page's")
    parser.add_argument("--page", type=Path, help="a page whose measured part is replaced")
    parser.add_argument("--json", type=Path, help="a file for the figures")
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.way:
        given.out.write_text(json.dumps(measure(given.way, given.profile, given.out.parent)))
        return
    if given.page and not has_place(given.page.read_text()):
        parser.error(f"{given.page} has no lines {BEGIN} and {END}")
    results = {way: _in_a_process_of_its_own(way, given.profile) for way in WAYS}
    found = {
        "profile": given.profile,
        "basis": results["plain"]["basis"],
        "machine": machine(),
        "ways": {way: {key: result[key] for key in _MEASURED} for way, result in results.items()},
        "max_abs_diff": max_abs_diff(results["heartline"]["numbers"], results["plain"]["numbers"]),
    }
    if given.json:
        given.json.write_text(json.dumps(found, indent=1) + "\n")
    if given.page:
        given.page.write_text(replaced(given.page.read_text(), markdown(found)))
    print(markdown(found))


def _in_a_process_of_its_own(way: str, profile: str) -> dict[str, Any]:
    print(way, file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory() as folder, mlflow_server(Path(folder)) as address:
        out = Path(folder, "found")
        subprocess.run(
            [sys.executable, __file__, "--way", way, "--profile", profile, "--out", str(out)],
            env={
                **os.environ,
                "PYTHONPATH": str(ROOT / "include"),
                "MLFLOW_TRACKING_URI": address,
                "HEARTLINE_STORE": Path(folder, "store").as_uri(),
                "HEARTLINE_SOURCE_FOLDERS": "/",
                "OMP_NUM_THREADS": "1",  # for both: more cost more than they bring at this size
            },
            check=True,
        )
        found: dict[str, Any] = json.loads(out.read_text())
        return found


def measure(way: str, profile: str, folder: Path) -> dict[str, Any]:
    """Run one program; return its numbers, and the seconds of its imports, of its parts and of all but the imports."""
    started = perf_counter()
    import mlflow.sklearn

    from heartline.pipeline.ingest import ingest
    from heartline.pipeline.preprocess import preprocess
    from heartline.pipeline.validate import validate

    assert mlflow.sklearn
    imports = perf_counter() - started
    source, basis = _records(folder)
    requests = _counting_requests()
    clock, started, cpu_before = Clock(), perf_counter(), cpu_seconds()
    with clock.counting("checks by Great Expectations, with Data Docs"):
        ingested = ingest(source)
        prepared = preprocess(validate(ingested, run=way), profile=profile, seed=SEED)
    numbers = {"heartline": _heartline, "plain": _plain}[way](prepared, clock)
    return {
        "basis": basis,
        "numbers": numbers,
        "imports": imports,
        "spent": clock.spent,
        "cpu": clock.cpu,
        "warm": perf_counter() - started,
        "warm_cpu": cpu_seconds() - cpu_before,
        "requests": requests.value,
    }


def _counting_requests() -> Any:
    """Count from now on the requests to MLflow of this process and of those that it forks; return the counter."""
    import requests

    counter, send = multiprocessing.Value("q"), requests.Session.send

    def counting(self: Any, *given: Any, **more: Any) -> Any:
        with counter.get_lock():
            counter.value += 1
        return send(self, *given, **more)

    requests.Session.send = counting  # type: ignore[method-assign]
    return counter


def _records(folder: Path) -> tuple[str, str]:
    from heartline.ingestion.sample import synthetic

    real = Path(os.environ.get("HEARTLINE_REAL_DATA", ""), "processed.cleveland.data")
    if os.environ.get("HEARTLINE_REAL_DATA") and real.is_file():
        return str(real), "the Cleveland file"
    synthetic.generate().to_csv(folder / "sample.csv", index=False)
    return str(folder / "sample.csv"), "the synthetic sample"


def _heartline(prepared: dict[str, Any], clock: Clock) -> dict[str, Any]:
    from heartline.pipeline import candidates
    from heartline.pipeline.compare import compare
    from heartline.pipeline.register import register
    from heartline.training.families import FAMILIES

    context = multiprocessing.get_context("fork")
    with (
        clock.counting("both families: folds, scores, pictures, export, smoke test"),
        context.Pool(len(FAMILIES)) as pool,
    ):
        done = pool.starmap(_train, [(name, prepared) for name in FAMILIES])
    trained = [outcome for outcome, _ in done]
    with clock.counting("comparison: bootstrap, page, model cards"):
        compared = compare(trained, prepared, run="heartline")
    with clock.counting("registration"):
        register(compared, promotion="manual", run="heartline")
    numbers: dict[str, Any] = {}
    for outcome, cv in done:
        evidence = candidates.read_evidence(outcome)
        numbers[outcome["family"]] = {
            "probabilities": cv.probabilities.tolist(),
            "fold_aucs": cv.fold_aucs.tolist(),
            "chosen": [dict(one) for one in cv.chosen],
            "importance": cv.importance.tolist(),
            "cv": _ends(evidence["out_of_fold"]),
            "holdout": _ends(evidence["holdout"]),
        }
    (delta,) = _comparisons(compared["comparison_run"])
    numbers["delta_auc"] = [delta["auc"][end] for end in ("value", "low", "high")]
    return numbers


def _train(name: str, prepared: dict[str, Any]) -> tuple[dict[str, Any], Any]:
    """Train a family, and keep its cross-validation, which the task does not return."""
    from heartline.evaluation import cross_validation
    from heartline.pipeline.train import train

    validate, kept = cross_validation.cross_validate, []

    def keeping(*given: Any, **more: Any) -> Any:
        kept.append(validate(*given, **more))
        return kept[-1]

    cross_validation.cross_validate = keeping
    return train(name, prepared, run="heartline"), kept[0]


def _ends(estimates: dict[str, Any]) -> dict[str, list[float]]:
    return {name: [one["value"], one["low"], one["high"]] for name, one in estimates.items()}


def _comparisons(run_id: str) -> list[dict[str, Any]]:
    import mlflow

    return list(mlflow.artifacts.load_dict(f"runs:/{run_id}/comparison.json")["comparisons"])


def _plain(prepared: dict[str, Any], clock: Clock) -> dict[str, Any]:
    import mlflow
    import plain_evidence

    from heartline.packaging import export
    from heartline.pipeline import candidates

    inputs = candidates.TrainingInputs.of(prepared)
    numbers, models = plain_evidence.evidence(inputs.records, inputs.holdout, inputs.folds, inputs.profile, SEED, clock)
    with clock.counting("registration"):
        mlflow.set_experiment("plain")
        for name, model in models.items():
            with mlflow.start_run(run_name=name):
                mlflow.log_params(model[-1].get_params())
                mlflow.log_metrics({key: ends[0] for key, ends in numbers[name]["cv"].items()})
                mlflow.sklearn.log_model(
                    model,
                    name="model",
                    registered_model_name="plain",
                    serialization_format="skops",
                    skops_trusted_types=list(export.trusted_types()),
                    pip_requirements=["scikit-learn"],
                )
    return numbers


def max_abs_diff(ours: dict[str, Any], theirs: dict[str, Any]) -> dict[str, float]:
    """Return the largest difference between the numbers of both programs, by kind; ignore what only ours has."""
    import numpy as np

    from heartline.training.families import FAMILIES

    families = [name for name in theirs if name != "delta_auc"]
    found = dict.fromkeys(("exact_probabilities", "probabilities"), 0.0)
    for name in families:
        kind = "probabilities" if FAMILIES[name].tolerance else "exact_probabilities"
        difference = np.abs(np.subtract(ours[name]["probabilities"], theirs[name]["probabilities"])).max()
        found[kind] = max(found[kind], float(difference))
    found["fold_aucs"] = max(
        float(np.abs(np.subtract(ours[name]["fold_aucs"], theirs[name]["fold_aucs"])).max()) for name in families
    )
    found["chosen"] = float(
        sum(
            mine != other
            for name in families
            for mine, other in zip(ours[name]["chosen"], theirs[name]["chosen"], strict=True)
        )
    )
    found["importance"] = max(
        float(np.abs(np.subtract(ours[name]["importance"], theirs[name]["importance"])).max()) for name in families
    )
    found["scores"] = max(
        float(np.abs(np.subtract(ours[name][records][score], ends)).max())
        for name in families
        for records in ("cv", "holdout")
        for score, ends in theirs[name][records].items()
    )
    found["delta_auc"] = float(np.abs(np.subtract(ours["delta_auc"], theirs["delta_auc"])).max())
    return found


def markdown(found: dict[str, Any]) -> str:
    """Return the measured part of the page."""
    plain, ours, differences = (*(found["ways"][way] for way in ("plain", "heartline")), found["max_abs_diff"])
    warm = ours["warm"] / plain["warm"]
    cold = (ours["warm"] + ours["imports"]) / (plain["warm"] + plain["imports"])
    about = ", ".join([found["machine"]["processor"], f"Python {found['machine']['python']}"])
    lines = [
        f"Profile {found['profile']}, {found['basis']}; {about}, one BLAS thread. Seconds.",
        "",
        "| | plain program, wall | plain program, CPU | Heartline, wall | Heartline, CPU |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for what in {**plain["spent"], **ours["spent"]}:
        cells = [f"{one[kind][what]:.1f}" if what in one[kind] else "" for one, kind in _columns(plain, ours)]
        lines.append(f"| {what} | {' | '.join(cells)} |")
    totals = [f"**{one[key]:.1f}**" for one in (plain, ours) for key in ("warm", "warm_cpu")]
    lines.append(f"| **all of it** | {' | '.join(totals)} |")
    lines.append(f"| imports | {plain['imports']:.1f} | | {ours['imports']:.1f} | |")
    exact = all(differences[kind] == 0 for kind in EXACT) and differences["probabilities"] <= TOLERANCE
    lines += [
        "",
        f"Heartline takes 1/{1 / warm:.1f} of the time ({_verdict(warm, AIM_WARM)}), 1/{1 / cold:.1f} with imports "
        f"({_verdict(cold, AIM_COLD)}), 1/{plain['warm_cpu'] / ours['warm_cpu']:.1f} of the CPU, and sends "
        f"{ours['requests']} requests to MLflow. "
        + (
            "The forest's probabilities and all chosen hyperparameters are equal to the last bit, the logistic "
            f"regression's probabilities differ by at most {differences['probabilities']:.0e}"
            if exact
            else f"Probabilities or choices DIFFER: {differences}"
        )
        + ". Fold AUCs, scores and their intervals differ by at most "
        f"{max(differences[kind] for kind in ROUNDED):.0e}: Heartline computes them from counts, not by scikit-learn's "
        "functions.",
    ]
    return "\n".join(lines)


def _columns(plain: dict[str, Any], ours: dict[str, Any]) -> list[tuple[dict[str, Any], str]]:
    return [(one, kind) for one in (plain, ours) for kind in ("spent", "cpu")]


def _verdict(ratio: float, aim: float) -> str:
    return f"aim 1/{1 / aim:.0f}: {'met' if ratio <= aim else 'NOT met'}"


if __name__ == "__main__":
    main()
