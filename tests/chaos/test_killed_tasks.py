"""A task is a transaction: killed at any boundary and run again, it leaves what an undisturbed run leaves."""

import multiprocessing
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import pytest

from heartline import registry, stages, store

CLIENT_CALLS = (
    *("create_experiment", "create_run", "log_batch", "log_inputs", "log_artifacts", "set_terminated"),
    *("create_registered_model", "create_logged_model", "log_model_artifacts", "finalize_logged_model"),
    *("create_model_version", "set_model_version_tag", "set_registered_model_alias"),
)
FAMILY = "logistic_regression"
RUN = "the run that is killed"
Prepared = dict[str, Any]


class World:
    """A store and an MLflow of their own; whatever touches them does so in a fork, so that it can be killed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.call(lambda: registry.aliased(registry.PRODUCTION))  # MLflow's tables are not what is killed here

    def call(self, work: Callable[[], Any], kill_after: int = 0) -> Any:
        """Return what ``work`` returns; None where the process was killed after that many boundaries."""
        context = multiprocessing.get_context("fork")
        receiver, sender = context.Pipe(duplex=False)
        child = context.Process(target=self._work, args=(work, kill_after, sender))
        child.start()
        sender.close()
        try:
            kind, result = receiver.recv()
        except EOFError:
            kind, result = "killed", None
        child.join()
        assert kind != "failed", result
        assert kind != "killed" or child.exitcode == -signal.SIGKILL
        return result

    def _work(self, work: Callable[[], Any], kill_after: int, sender: Any) -> None:
        os.environ["HEARTLINE_STORE"] = (self.folder / "store").as_uri()
        mlflow.set_tracking_uri(f"sqlite:///{self.folder}/mlflow.db")
        os.chdir(self.folder)
        if kill_after:
            _kill_after(kill_after)
        try:
            sender.send(("done", work()))
        except BaseException as error:
            sender.send(("failed", repr(error)))

    def contents(self) -> dict[str, Any]:
        """Return what stands in the store and in MLflow, without what differs from run to run."""
        return self.call(self._contents)

    def _contents(self) -> dict[str, Any]:
        client = mlflow.MlflowClient()
        experiments = client.search_experiments(order_by=["name ASC"])
        ids = [one.experiment_id for one in experiments]
        runs = client.search_runs(ids)
        versions = client.search_model_versions("name = 'heart-disease'")
        return {
            "store": sorted(str(path.relative_to(self.folder)) for path in (self.folder / "store").rglob("*.*")),
            "experiments": [one.name for one in experiments],
            "runs": sorted((one.data.tags[registry.KEY], one.info.status) for one in runs),
            "points": sorted(
                (name, len(client.get_metric_history(one.info.run_id, name)))
                for one in runs
                for name in one.data.metrics
            ),
            "files": sorted(_files(client, one.info.run_id) for one in runs),
            "models": len(client.search_logged_models(ids)),
            "versions": [(one.version, one.tags[registry.KEY], one.tags.get("verdict")) for one in versions],
            "aliases": [one.aliases for one in client.search_registered_models()],
        }


def _files(client: mlflow.MlflowClient, run_id: str) -> list[str]:
    return sorted(one.path for one in client.list_artifacts(run_id))


def _kill_after(count: int) -> None:
    left = [count]

    def lethal(original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            result = original(*arguments, **named)
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return call

    store.put = lethal(store.put)
    for name in CLIENT_CALLS:
        setattr(mlflow.MlflowClient, name, lethal(getattr(mlflow.MlflowClient, name)))


def _steps(source: str) -> dict[str, Callable[[dict[str, Any]], Any]]:
    """Return the stages by name; each takes what the earlier ones returned."""
    return {
        "ingest": lambda so_far: stages.ingest(source),
        "validate": lambda so_far: stages.validate(so_far["ingest"], run=RUN),
        "preprocess": lambda so_far: stages.preprocess(so_far["validate"], profile="quick", seed=0),
        "train": lambda so_far: stages.train(FAMILY, so_far["preprocess"], run=RUN),
        "compare": lambda so_far: stages.compare([so_far["train"]], so_far["preprocess"], run=RUN),
        "register": lambda so_far: stages.register(so_far["compare"], promote="manual"),
    }


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], dict[str, Any]]:
    world = World(tmp_path_factory.mktemp("undisturbed"))
    outcome: dict[str, Any] = {}
    for name, step in _steps("sample:150").items():
        outcome[name] = world.call(lambda step=step: step(outcome))
    return outcome, world.contents()


@pytest.mark.timeout(1500)  # some fifty processes, one after the other
def test_a_task_that_is_killed_at_every_boundary_leaves_what_an_undisturbed_one_does(undisturbed, tmp_path):
    expected, contents = undisturbed
    world = World(tmp_path)
    outcome: dict[str, Any] = {}
    kills = {}
    for name, step in _steps("sample:150").items():
        kills[name] = 0
        while (result := world.call(lambda step=step: step(outcome), kill_after=kills[name] + 1)) is None:
            kills[name] += 1
        outcome[name] = result

    assert {name for name, count in kills.items() if count} == set(expected), "every stage was killed at least once"
    assert sum(kills.values()) > 20
    assert outcome["register"] == expected["register"]
    assert _digests(outcome) == _digests(expected)
    assert world.contents() == contents


def _digests(outcome: dict[str, Any]) -> dict[str, str]:
    """Return every content address that the stages returned."""
    found = {}
    for stage, result in outcome.items():
        for name, value in result.items():
            if isinstance(value, str) and value.startswith("file://") and "/store/" in value:
                found[f"{stage}.{name}"] = value.partition("/store/")[2]
    return found
