"""One way of scoring a file, measured in this process; ``scoring`` starts it for each measurement."""

import json
import resource
import sys
import tempfile
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from time import perf_counter, process_time

import pandas as pd

from heartline import contract

NAMES = list(contract.FEATURE_NAMES)
FIRST = 1_000  # lines


def heartline(family: str, output: Path) -> Callable[[Path], object]:
    """Return batch scoring as ``./heartline score`` runs it."""
    from heartline.ingestion import sources
    from heartline.parameters import scoring as parameters
    from heartline.scoring import local
    from heartline.scoring.model import ScoringModel

    model = ScoringModel(stored(family, output.parent), "1")
    silent = local.Progress(lambda count: None, lambda count: None, lambda count: None)

    def score(records: Path) -> None:
        given = parameters.chosen({"source": str(records), "output": str(output)})
        local.score(given, model, run="r", settings=sources.Settings(), progress=silent, enter=lambda content: 0)

    return score


def sklearn(family: str, output: Path) -> Callable[[Path], object]:
    """Return the plain way: pandas reads, the pipeline predicts, pandas writes."""
    from heartline.packaging import export

    pipeline = export.from_skops(stored(family, output.parent)["model.skops"])

    def score(records: Path) -> None:
        frame = pd.read_csv(records)
        probability = pipeline.predict_proba(frame[NAMES].to_numpy("float64"))[:, 1]
        result = frame[["patient_id"]].assign(
            probability=probability, has_heart_disease=probability >= contract.THRESHOLD
        )
        result.to_parquet(output)

    return score


def mlflow(family: str, output: Path) -> Callable[[Path], object]:
    """Return MLflow's batch inference with the registered version's python_function."""
    import mlflow.pyfunc

    from heartline.registry import flavours

    folder = Path(tempfile.mkdtemp(dir=output.parent)) / "model"
    bundle = stored(family, output.parent)
    flavours.save(bundle, folder, run_id="r", model_id="m")
    for name, data in bundle.items():
        (folder / name).write_bytes(data)
    model = mlflow.pyfunc.load_model(str(folder))

    def score(records: Path) -> None:
        frame = pd.read_csv(records)
        probability = model.predict(frame[NAMES])["probability"]
        result = frame[["patient_id"]].assign(
            probability=probability, has_heart_disease=probability >= contract.THRESHOLD
        )
        result.to_parquet(output)

    return score


def stored(family: str, folder: Path) -> dict[str, bytes]:
    """Return the bundle of a family that ``scoring`` has trained."""
    return {path.name: path.read_bytes() for path in (folder / family).iterdir()}


WAYS = {"heartline": heartline, "sklearn": sklearn, "mlflow": mlflow}


def main() -> None:
    """Score once, and print what it took as JSON."""
    way, family, records, folder = sys.argv[1:]
    score = WAYS[way](family, Path(folder, f"scored-{way}.parquet"))
    first = Path(folder, "first.csv")
    with Path(records).open("rb") as file:
        first.write_bytes(b"".join(islice(file, FIRST)))
    score(first)  # what is imported and set up at the first call is not counted
    cpu, wall = process_time(), perf_counter()
    score(Path(records))
    used = {"cpu": process_time() - cpu, "wall": perf_counter() - wall}
    print(json.dumps({**used, "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}))


if __name__ == "__main__":
    main()
