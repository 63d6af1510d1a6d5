"""A task is a transaction: killed at any boundary and retried, it leaves the same state as an undisturbed run."""

import multiprocessing
import os
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import mlflow
import pytest

from heartline.comparison import verdict_names
from heartline.ledger import chain, store
from heartline.pipeline.compare import compare
from heartline.pipeline.ingest import ingest
from heartline.pipeline.preprocess import preprocess
from heartline.pipeline.register import register
from heartline.pipeline.train import train
from heartline.pipeline.validate import validate
from heartline.registry import mlflow_registry
from heartline.storage import object_store
from tests.postgres import Postgres

CLIENT_CALLS = (
    *("create_experiment", "create_run", "log_batch", "log_inputs", "log_artifacts", "set_terminated"),
    *("create_registered_model", "create_logged_model", "log_model_artifacts", "finalize_logged_model"),
    *("log_outputs", "create_model_version", "set_registered_model_alias"),
)
FAMILY = "logistic_regression"
RUN, AGAIN = "the run that is killed", "the run of the next night"
Prepared = dict[str, Any]


class World:
    """A store, an MLflow and a ledger for one test; each access runs in a forked process, so that it can be killed."""

    def __init__(self, folder: Path, ledger: Postgres) -> None:
        self.folder = folder
        ledger.empty_ledger()
        self.ledger_url = ledger.ledger_url
        # creates MLflow's tables: their migration is not to be killed
        self.call(lambda: mlflow_registry.aliased(mlflow_registry.PRODUCTION))

    def call(self, work: Callable[[], Any], spared: set[str] | None = None) -> Any:
        """Return what ``work`` returns; None if it was killed.

        With ``spared``, the process is killed after the first boundary that is not in this set, and the boundary is
        added to it. Counting boundaries would miss some: a retry skips what an earlier attempt did.
        """
        context = multiprocessing.get_context("fork")
        receiver, sender = context.Pipe(duplex=False)
        child = context.Process(target=self._work, args=(work, spared, sender))
        child.start()
        sender.close()
        kind, result = receiver.recv()
        child.join()
        assert kind != "failed", result
        if kind == "killed" and spared is not None:
            assert child.exitcode == -signal.SIGKILL
            spared.add(result)
            return None
        return result

    def _work(self, work: Callable[[], Any], spared: set[str] | None, sender: Any) -> None:
        os.environ["HEARTLINE_STORE"] = (self.folder / "store").as_uri()
        os.environ["HEARTLINE_SOURCE_FOLDERS"] = str(self.folder)
        os.environ[store.VARIABLE] = self.ledger_url
        mlflow.set_tracking_uri(f"sqlite:///{self.folder}/mlflow.db")
        os.chdir(self.folder)
        if spared is not None:
            _kill_at(spared, sender)
        try:
            sender.send(("done", work()))
        except BaseException as error:
            sender.send(("failed", repr(error)))

    def contents(self) -> dict[str, Any]:
        """Return the content of the store and of MLflow, without what differs from run to run."""
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
            "runs": sorted((one.data.tags[mlflow_registry.KEY], one.info.status) for one in runs),
            "points": sorted(
                (name, len(client.get_metric_history(one.info.run_id, name)))
                for one in runs
                for name in one.data.metrics
            ),
            "files": sorted(_files(client, one.info.run_id) for one in runs),
            "outputs": sorted(len(one.outputs.model_outputs) for one in runs if one.outputs),
            "models": len(client.search_logged_models(ids)),
            "versions": [(one.version, one.tags[mlflow_registry.KEY], one.tags.get("verdict")) for one in versions],
            "aliases": [one.aliases for one in client.search_registered_models()],
            "moves": [(one.before, one.after, one.by) for one in mlflow_registry.record_external_moves()],
            "registered": [(one.version, one.by, one.facts["winner"]) for one in store.entries(kinds=("registered",))],
            "broken": chain.verify(store.entries(), store.head()),
            "artifacts": _artifacts(client, ids),
        }


def _artifacts(client: mlflow.MlflowClient, ids: list[str]) -> list[str]:
    """Return each file below the artifact root, with the key of its run or model in place of the id."""
    roots = {Path(urlsplit(client.get_experiment(one).artifact_location).path) for one in ids}
    owners = {
        **{one.info.run_id: one.data.tags[mlflow_registry.KEY] for one in client.search_runs(ids)},
        **{one.model_id: one.tags[mlflow_registry.KEY] for one in client.search_logged_models(ids)},
    }
    found = []
    for root in roots:
        for path in root.rglob("*"):
            if path.is_file():
                parts = path.relative_to(root).parts
                found.append("/".join(owners.get(part, part) for part in parts))
    return sorted(found)


def _files(client: mlflow.MlflowClient, run_id: str) -> list[str]:
    return sorted(one.path for one in client.list_artifacts(run_id))


def _kill_at(spared: set[str], sender: Any) -> None:
    calls: Counter[str] = Counter()

    def lethal(name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            result = original(*arguments, **named)
            label = f"{name} {arguments[0]}" if name == "append" else name  # the kind of the ledger's entry
            calls[label] += 1
            boundary = f"{label} {calls[label]}"
            if boundary not in spared:
                sender.send(("killed", boundary))
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return call

    object_store.put = lethal("put", object_store.put)
    store.append = lethal("append", store.append)
    for name in CLIENT_CALLS:
        setattr(mlflow.MlflowClient, name, lethal(name, getattr(mlflow.MlflowClient, name)))


def _steps(source: str) -> dict[str, Callable[[dict[str, Any]], Any]]:
    """Return the tasks of two nights by name; each takes what the earlier ones returned."""

    def promoted(compared: dict[str, Any]) -> Any:
        # a family without a challenger is never better: the verdict is set here, so that production is moved
        return register({**compared, "verdict": verdict_names.BETTER}, promotion="if_better", run="a night")

    return {
        "ingest": lambda so_far: ingest(source),
        "validate": lambda so_far: validate(so_far["ingest"], run=RUN),
        "preprocess": lambda so_far: preprocess(so_far["validate"], profile="quick", seed=0),
        "train": lambda so_far: train(FAMILY, so_far["preprocess"], run=RUN),
        "compare": lambda so_far: compare([so_far["train"]], so_far["preprocess"], run=RUN),
        "register": lambda so_far: promoted(so_far["compare"]),
        # another seed gives another version, which replaces the first in production
        "preprocess again": lambda so_far: preprocess(so_far["validate"], profile="quick", seed=1),
        "train again": lambda so_far: train(FAMILY, so_far["preprocess again"], run=AGAIN),
        "compare again": lambda so_far: compare([so_far["train again"]], so_far["preprocess again"], run=AGAIN),
        "register again": lambda so_far: promoted(so_far["compare again"]),
    }


# their boundaries are those of the first night
KILLED_BEFORE = {"preprocess again", "train again", "compare again"}


@pytest.fixture(scope="module")
def undisturbed(
    tmp_path_factory: pytest.TempPathFactory, ledger_server: Postgres
) -> tuple[dict[str, Any], dict[str, Any]]:
    world = World(tmp_path_factory.mktemp("undisturbed"), ledger_server)
    outcome: dict[str, Any] = {}
    for name, step in _steps("sample:150").items():
        outcome[name] = world.call(lambda step=step: step(outcome))
    return outcome, world.contents()


@pytest.mark.slow
def test_an_undisturbed_run_moves_production_and_leaves_no_orphaned_file(undisturbed):
    outcome, contents = undisturbed
    assert sum(contents["outputs"]) == contents["models"] == 2
    assert [outcome[name]["promoted"] for name in ("register", "register again")] == [True, True]
    assert contents["moves"] == [("", "1", "run a night"), ("1", "2", "run a night")]
    assert contents["registered"] == [("1", "run a night", True), ("2", "run a night", True)]
    assert contents["broken"] is None
    assert contents["aliases"] == [{"staging": 2, "production": 2}]
    keys = {key for key, _ in contents["runs"]} | {key for _, key, _ in contents["versions"]}
    assert len(contents["artifacts"]) == 56
    assert [one for one in contents["artifacts"] if keys.isdisjoint(one.split("/"))] == []


@pytest.mark.slow
@pytest.mark.timeout(1500)  # some sixty processes, one after the other
def test_a_task_that_is_killed_at_every_boundary_leaves_the_state_of_an_undisturbed_one(
    undisturbed, tmp_path, ledger_server
):
    expected, contents = undisturbed
    world = World(tmp_path, ledger_server)
    outcome: dict[str, Any] = {}
    kills: dict[str, set[str]] = {}
    for name, step in _steps("sample:150").items():
        kills[name] = set()
        spared = None if name in KILLED_BEFORE else kills[name]
        while (result := world.call(lambda step=step: step(outcome), spared)) is None:
            pass
        outcome[name] = result

    assert {name for name, boundaries in kills.items() if boundaries} == set(expected) - KILLED_BEFORE
    assert {one.split()[0] for one in kills["register"] | kills["train"]} == {"put", "append", *CLIENT_CALLS}
    aliases = {"set_registered_model_alias 1", "set_registered_model_alias 2"}
    entries = {"append registered 1", "append moving 1", "append moved 1"}
    assert kills["register"] & kills["register again"] >= aliases | entries, "staging, production and the ledger"
    for name in ("register", "register again"):
        assert outcome[name] == expected[name]
    assert _digests(outcome) == _digests(expected)
    assert world.contents() == contents


def _digests(outcome: dict[str, Any]) -> dict[str, str]:
    """Return every content address that the tasks returned."""
    found = {}
    for task, result in outcome.items():
        for name, value in result.items():
            if isinstance(value, str) and value.startswith("file://") and "/store/" in value:
                found[f"{task}.{name}"] = value.partition("/store/")[2]
    return found
