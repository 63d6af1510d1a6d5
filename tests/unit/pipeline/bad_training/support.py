"""What the tests of bad training share beside their fixtures."""

from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest

from heartline import contract
from heartline.evaluation import importance
from heartline.packaging import smoke_test
from heartline.pipeline.preprocess import preprocess
from heartline.reports import model_figures
from heartline.storage import object_store as stores
from heartline.storage import record_identity, snapshots, splits

WITH_REFITS = importance.odds_ratios
LINEAR, FOREST = "logistic_regression", "random_forest"
NOT_OURS = (DeprecationWarning, PendingDeprecationWarning)  # between libraries, and nothing about the numbers
POINTS = ("cv_roc_auc", "delta_auc", "used")  # one of each kind of run


def leave_out(patch: pytest.MonkeyPatch) -> None:
    """Start no service and draw nothing."""
    patch.setattr(smoke_test, "run", lambda bundle: smoke_test.SmokeTestResult("0" * 64, 32, 0.0))
    patch.setattr(model_figures, "draw", lambda evidence: {})
    patch.setattr(importance, "odds_ratios", lambda model, records, seed: [])


def prepare(frame: pd.DataFrame, *, seed: int = 0, profile: str = "test") -> dict[str, Any]:
    """Return what ``preprocess`` makes of records that passed the checkpoint."""
    records = record_identity.canonical(frame)
    validated = {
        "snapshot": snapshots.write_snapshot(records),
        "origin": "sample",
        "source": "a test",
        "encoding": "uci",
        "validation_run": "0" * 32,
        "report": stores.put(b"{}", "reports", ".json"),
        "page": stores.put(b"<p>", "pages", ".html"),
        "quarantine_csv": "file:///quarantine.csv",
        "rows": len(frame),
        "used": len(records),
        "duplicates": len(frame) - len(records),
        "quarantined": 0,
    }
    return preprocess(validated, profile=profile, seed=seed)


def taken(many: pd.DataFrame, **counts: int) -> pd.DataFrame:
    """Return so many records: healthy and sick ones to train on, healthy and sick ones to hold out."""
    held = record_identity.fingerprints(many)[0] < np.uint64(splits.HOLDOUT_SHARE * 2**64)
    sick = (many["num"] > 0).to_numpy()
    kinds = {"healthy": ~sick & ~held, "sick": sick & ~held, "healthy_held": ~sick & held, "sick_held": sick & held}
    return pd.concat([many[kinds[name]].iloc[:count] for name, count in counts.items()])


def everything(client: mlflow.MlflowClient) -> dict[str, int]:
    """Return how much stands in MLflow."""
    ids = [one.experiment_id for one in client.search_experiments()]
    runs = client.search_runs(ids)
    return {
        "runs": len(runs),
        "points": sum(len(client.get_metric_history(one.info.run_id, name)) for one in runs for name in POINTS),
        "models": len(client.search_logged_models(ids)),
        "versions": len(client.search_model_versions(f"name = '{contract.MODEL_NAME}'")),
    }
