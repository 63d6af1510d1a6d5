"""What the tests of the pipeline share beside their fixtures."""

import json
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest

from heartline import contract
from heartline.evaluation import importance
from heartline.packaging import smoke_test
from heartline.pipeline.handovers import Prepared, Refused, Trained, Validated
from heartline.pipeline.preprocess import preprocess
from heartline.reports import model_figures
from heartline.storage import object_store as stores
from heartline.storage import record_identity, snapshots, splits
from heartline.training import families

WITH_REFITS = importance.odds_ratios
LINEAR, FOREST = "logistic_regression", "random_forest"
NOT_OURS = (DeprecationWarning, PendingDeprecationWarning)  # raised between libraries
POINTS = ("roc_auc", "delta_auc", "used")  # a metric of each kind of run
SMALL = families.Profile("test", splits=4, repeats=2, trees=20)


def skip_service_and_figures(patch: pytest.MonkeyPatch) -> None:
    """Let training start no service and draw no figures, as both take seconds."""
    patch.setattr(smoke_test, "run", lambda bundle: smoke_test.SmokeTestResult("0" * 64, 32, 0.0))
    patch.setattr(model_figures, "draw", lambda evidence: {})
    patch.setattr(importance, "odds_ratios", lambda model, records, seed: [])


def prepare(frame: pd.DataFrame, *, seed: int = 0, profile: str = SMALL.name) -> Prepared:
    """Return what ``preprocess`` returns for records that passed the checkpoint."""
    records = record_identity.canonical(frame)
    validated: Validated = {
        "snapshot": snapshots.write_snapshot(records),
        "origin": "sample",
        "source": "a test",
        "encoding": "uci",
        "validation_run": "0" * 32,
        "report": stores.put(b"{}", "reports", ".json"),
        "page": stores.put(b"<p>", "pages", ".html"),
        "data_docs": "file:///page.html",
        "quarantine": "file:///quarantine.parquet",
        "quarantine_csv": "file:///quarantine.csv",
        "expectations": 53,
        "rows": len(frame),
        "used": len(records),
        "duplicates": len(frame) - len(records),
        "quarantined": 0,
    }
    return preprocess(validated, profile=profile, seed=seed)


def take(records: pd.DataFrame, **counts: int) -> pd.DataFrame:
    """Return the first records of each kind.

    Args:
        records: to take from.
        counts: number of ``negative`` and ``positive`` records of the training set, and of ``negative_holdout`` and
            ``positive_holdout`` records.
    """
    holdout = record_identity.fingerprints(records)[0] < np.uint64(splits.HOLDOUT_SHARE * 2**64)
    positive = (records["num"] > 0).to_numpy()
    kinds = {
        "negative": ~positive & ~holdout,
        "positive": positive & ~holdout,
        "negative_holdout": ~positive & holdout,
        "positive_holdout": positive & holdout,
    }
    return pd.concat([records[kinds[name]].iloc[:count] for name, count in counts.items()])


def mlflow_counts(client: mlflow.MlflowClient) -> dict[str, int]:
    """Return how many runs, points of metrics, logged models and versions MLflow holds."""
    ids = [one.experiment_id for one in client.search_experiments()]
    runs = client.search_runs(ids)
    return {
        "runs": len(runs),
        "points": sum(len(client.get_metric_history(one.info.run_id, name)) for one in runs for name in POINTS),
        "models": len(client.search_logged_models(ids)),
        "versions": len(client.search_model_versions(f"name = '{contract.MODEL_NAME}'")),
    }


def move_by_hand(version: str) -> None:
    """Point ``production`` at a version as a user does in MLflow's UI."""
    mlflow.MlflowClient().set_registered_model_alias(contract.MODEL_NAME, "production", str(version))


def artifact(client: mlflow.MlflowClient, run_id: str, name: str) -> Path:
    """Return an artifact of a run as a local file."""
    return Path(client.download_artifacts(run_id, name))


def production_model(client: mlflow.MlflowClient, run_id: str) -> dict[str, Any]:
    """Return what the comparison of a run says about the model in production."""
    found: dict[str, Any] = json.loads(artifact(client, run_id, "comparison.json").read_text())["production_model"]
    return found


def refused(trained: Trained, reason: str = "the service does not answer", **fields: str) -> Refused:
    """Return a family as if the smoke test had failed."""
    kept = {name: trained[name] for name in ("family", "predictions", "run_id", "roc_auc")}
    return {"outcome": "refused", "cause": "not servable", "reason": reason, "error": reason, **kept, **fields}
