"""A retry after an outage of MLflow, a refusal or a change of code: nothing is doubled, nothing is lost."""

import dataclasses
from collections.abc import Callable
from typing import Any

import mlflow
import numpy as np
import pytest
from mlflow.exceptions import MlflowException

from heartline import contract
from heartline.errors import RegistryError
from heartline.evaluation import cross_validation
from heartline.packaging import smoke_test
from heartline.pipeline import candidates
from heartline.pipeline.compare import compare
from heartline.pipeline.register import register
from heartline.pipeline.train import train
from heartline.registry import mlflow_registry
from heartline.storage import object_store as stores
from heartline.training import families
from tests.unit.pipeline.support import LINEAR, mlflow_counts, prepare, take

# ---- outages of MLflow

CALLS = (
    *("create_experiment", "get_experiment_by_name", "search_runs", "create_run", "log_batch", "log_inputs"),
    *("log_artifacts", "set_terminated", "search_registered_models", "get_model_version", "search_model_versions"),
    *("search_logged_models", "create_logged_model", "log_model_artifacts", "finalize_logged_model"),
    *("get_run", "log_outputs"),
    *("create_registered_model", "create_model_version", "set_model_version_tag", "set_registered_model_alias"),
    "set_registered_model_tag",
)


def fail_after(patch: pytest.MonkeyPatch, count: int) -> None:
    """Let MLflow answer ``count`` requests and refuse all later ones."""
    left = [count]

    def short_lived(original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            if left[0] == 0:
                raise MlflowException("API request failed with exception Connection refused")
            left[0] -= 1
            return original(*arguments, **named)

        return call

    for name in CALLS:
        patch.setattr(mlflow.MlflowClient, name, short_lived(getattr(mlflow.MlflowClient, name)))


def retry_until_done(task: Callable[[], Any]) -> tuple[Any, int]:
    """Retry a task, each time with an outage one request later; return its result and the number of outages."""
    outages = 0
    while True:
        with pytest.MonkeyPatch.context() as patch:
            fail_after(patch, outages)
            try:
                return task(), outages
            except RegistryError as error:
                assert error.what.startswith("MLflow could not "), error
                assert "Connection refused" in error.what
                assert error.hint.endswith("Airflow retries the task")
                outages += 1


def test_an_outage_of_mlflow_at_any_request_doubles_nothing(module_store, mlflow_store, many, quick_training, cached):
    # given what an undisturbed run adds
    for module, name in ((cross_validation, "cross_validate"), (cross_validation, "evaluate"), (families, "fit")):
        cached(module, name)
    frame = take(many, negative=70, positive=60, negative_holdout=15, positive_holdout=15)
    added, outages = [], []
    for seed, disturbed in ((6, False), (7, True)):
        before = mlflow_counts(mlflow_store)
        prepared = prepare(frame, seed=seed)
        # when each request of a task fails once
        call = retry_until_done if disturbed else (lambda task: (task(), 0))
        trained, one = call(lambda prepared=prepared: train(LINEAR, prepared))
        compared, two = call(lambda prepared=prepared, trained=trained: compare([trained], prepared))
        registered, three = call(lambda compared=compared: register(compared, promotion="manual"))
        after = mlflow_counts(mlflow_store)
        added.append({name: after[name] - before[name] for name in after})
        outages = [one, two, three]
        assert mlflow_registry.aliased("staging").number == registered["version"]
    # then
    assert added[0] == added[1]
    assert (added[0]["runs"], added[0]["models"], added[0]["versions"]) == (2, 1, 1)
    assert min(outages) >= 6, outages


# ---- a smoke test that fails for a while


def refusing(why: str) -> Callable[[bytes], smoke_test.SmokeTestResult]:
    """Return a smoke test that fails."""

    def refuse(bundle: bytes) -> smoke_test.SmokeTestResult:
        raise smoke_test.SmokeTestError(why, where="a bundle", expected="predictions", hint="look")

    return refuse


@pytest.fixture
def trains(module_store, mlflow_store, many, quick_training, cached) -> Callable[..., tuple[str, str, str | None]]:
    """Return a function that trains and returns id, status and refusal of the run.

    Its argument ``why`` lets the smoke test fail with this message.
    """
    for module, name in ((cross_validation, "cross_validate"), (cross_validation, "evaluate"), (families, "fit")):
        cached(module, name)

    def train_with(seed: int, why: str = "") -> tuple[str, str, str | None]:
        prepared = prepare(take(many, negative=70, positive=60, negative_holdout=15, positive_holdout=15), seed=seed)
        with pytest.MonkeyPatch.context() as patch:
            if why:
                patch.setattr(smoke_test, "run", refusing(why))
            run = mlflow_store.get_run(train(LINEAR, prepared)["run_id"])
        return run.info.run_id, run.info.status, (run.data.tags.get("refused") or "").split("\n")[0] or None

    return train_with


def test_the_refusal_of_a_run_is_updated_and_removed_once_it_passes(trains, mlflow_store):
    run_id = trains(12, "its answers differ")[0]
    assert trains(12, "it does not answer") == (run_id, "FAILED", "it does not answer")
    assert trains(12) == (run_id, "FINISHED", None)

    # a run that finished before the tag was removed still has it
    mlflow_store.set_tag(run_id, "refused", "it does not answer")
    assert trains(12) == (run_id, "FINISHED", None)


def test_a_refusal_after_a_finished_run_is_a_run_of_its_own(trains, mlflow_store):
    passed = trains(13)
    refused = trains(13, "its answers differ")
    assert refused[0] != passed[0]
    assert refused[1:] == ("FAILED", "its answers differ")
    assert mlflow_store.get_run(passed[0]).info.status == "FINISHED"
    # when the refused run was interrupted, and is refused for another reason
    mlflow_store.update_run(refused[0], status="RUNNING")
    assert trains(13, "it does not answer") == (refused[0], "FAILED", "it does not answer")
    # and when it passes again
    assert trains(13) == passed == (passed[0], "FINISHED", None)
    assert mlflow_store.get_run(refused[0]).data.tags["refused"].startswith("it does not answer")


# ---- other code and other libraries on the same snapshot


def test_changed_code_makes_another_run_and_another_version_of_a_snapshot(pair, monkeypatch):
    prepared, before, mlflow_store = pair.prepared, pair.linear, pair.client
    compared = compare([before], prepared, run="before the change")
    first = register(compared, promotion="manual")["version"]
    # given other code behind the same parameters
    recipe = families.family(LINEAR)

    def build(parameters: dict[str, Any], seed: int) -> Any:
        return recipe.build({**parameters, "C": parameters["C"] / 50}, seed)

    changed = dataclasses.replace(recipe, build=build, fast_equivalent=None)
    monkeypatch.setattr(families, "FAMILIES", {**families.FAMILIES, LINEAR: changed})
    # when
    after = train(LINEAR, prepared)
    again = compare([after], prepared, run="after the change")
    second = register(again, promotion="manual")["version"]
    # then
    old, new = (mlflow_store.get_run(one["run_id"]).data for one in (before, after))
    assert old.params["C"] != new.params["C"]
    assert old.metrics["brier"] != new.metrics["brier"]
    assert new.metrics["roc_auc"] == after["roc_auc"]
    assert first != second
    for number, trained, comparison in ((first, before, compared), (second, after, again)):
        version = mlflow_store.get_model_version(contract.MODEL_NAME, number)
        assert version.run_id == trained["run_id"]
        assert version.tags["comparison_run"] == comparison["comparison_run"]
        assert version.tags["bundle"] == stores.digest_of(trained["bundle"])


def test_a_refused_run_is_continued_or_replaced_after_an_upgrade(
    module_store, mlflow_store, many, quick_training, monkeypatch, cached
):
    # given
    for module, name in ((cross_validation, "cross_validate"), (cross_validation, "evaluate"), (families, "fit")):
        cached(module, name)
    prepared = prepare(take(many, negative=70, positive=60, negative_holdout=15, positive_holdout=15), seed=11)
    with monkeypatch.context() as patch:
        patch.setattr(smoke_test, "run", refusing("it does not answer"))
        refused = train(LINEAR, prepared)["run_id"]
    # when another release of Python comes, and then another library
    monkeypatch.setattr(candidates.platform, "python_version", lambda: "3.11.99")
    patched = train(LINEAR, prepared)["run_id"]
    monkeypatch.setattr(candidates, "installed", lambda name: "99.1")
    upgraded = train(LINEAR, prepared)["run_id"]
    # then
    assert patched == refused
    assert upgraded != refused
    for run_id, numpy in ((patched, np.__version__), (upgraded, "99.1")):
        run = mlflow_store.get_run(run_id)
        assert (run.info.status, run.data.params["numpy"]) == ("FINISHED", numpy)
