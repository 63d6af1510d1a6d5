"""The models of the benchmark: trained once, and stored for each of the servers."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

FAMILIES = {"lr": "logistic_regression", "rf": "random_forest"}
SEED = 0
ROOT = Path(__file__).resolve().parents[3]


def prepare(folder: Path, trees: int) -> None:
    """Train both families on the sample in a process of their own; ``folder`` gets them, and the requests.

    Raises:
        RuntimeError: it did not succeed.
    """
    program = f"from serving_peers import models; models.store({str(folder)!r}, {trees})"
    path = f"{ROOT / 'include'}:{Path(__file__).parents[1]}"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"the models could not be trained: {done.stderr[-3000:]}")


def store(folder: str, trees: int) -> None:
    """Train, and write each model as a bundle, as MLflow keeps it, and as joblib does.

    ``records.json`` gets complete and incomplete records, and for each family what it must answer to them.
    """
    import dataclasses

    import joblib
    import mlflow.sklearn
    import pandas as pd
    from mlflow.models import infer_signature

    from heartline import contract
    from heartline.ingestion.sample import synthetic
    from heartline.packaging import export
    from heartline.packaging.bundle import unpack
    from heartline.storage import record_identity, splits
    from heartline.training import families

    cohort = splits.to_labelled(record_identity.canonical(synthetic.generate()))
    profile = dataclasses.replace(families.profile("full"), trees=trees)
    names = [column.name for column in contract.FEATURES]
    answers: dict[str, list[float]] = {}
    for short, family in FAMILIES.items():
        model = families.fit(family, cohort, profile=profile, seed=SEED)
        about = {"name": contract.MODEL_NAME, "family": family, "origin": "sample", "snapshot": "0" * 64}
        bundle = export.build_bundle(model, about=about, evaluation={}, seed=SEED)
        place = Path(folder, short)
        (place / "bundle").mkdir(parents=True)
        for name, data in unpack(bundle).items():
            (place / "bundle" / name).write_bytes(data)
        joblib.dump((model, names), place / "plain.joblib")
        mlflow.sklearn.save_model(
            model,
            place / "mlflow",
            pyfunc_predict_fn="predict_proba",
            serialization_format="cloudpickle",
            pip_requirements=["scikit-learn"],
            # as its manual has it; without one it looks at no field, for two thirds of the cost
            signature=infer_signature(
                pd.DataFrame(cohort.features, columns=names), model.predict_proba(cohort.features)
            ),
        )
        answers[short] = families.probability(model, cohort.features).tolist()
    asked = {"records": [_record(names, row) for row in cohort.features.tolist()], "answers": answers}
    Path(folder, "records.json").write_text(json.dumps(asked))


def _record(names: list[str], row: list[float]) -> dict[str, Any]:
    """Return a record as a client would send it: whole numbers as such, null where nothing is known."""
    return {
        name: None if math.isnan(value) else int(value) if value.is_integer() else value
        for name, value in zip(names, row, strict=True)
    }
