"""The history of production in a real MLflow: moves by runs, moves by hand, and what a deletion leaves."""

import multiprocessing
import os
import signal
from datetime import UTC, datetime

import mlflow
import pytest
from mlflow.exceptions import MlflowException

from heartline import contract
from heartline.errors import RegistryError
from heartline.ledger import chain, store
from heartline.registry import mlflow_registry, runs
from heartline.registry.production import alias_history
from heartline.registry.production.alias_history import EXTERNAL, RUN
from tests.memory_ledger import use_in_memory
from tests.unit.registry.support import create_version


@pytest.fixture(scope="module")
def versions(mlflow_store, tmp_path_factory):
    """Versions in a real registry, by their origin."""
    mlflow_store.create_registered_model(contract.MODEL_NAME)
    return {
        origin: create_version(mlflow_store, tmp_path_factory.mktemp("model"), origin)
        for origin in ("sample", "uci", "file")
    }


@pytest.fixture
def production(mlflow_store, versions, monkeypatch):
    """Production at the version of UCI's data, without a recorded move."""
    use_in_memory(monkeypatch)
    if kept := mlflow_store.get_experiment_by_name(alias_history.EXPERIMENT):
        for key in kept.tags:
            mlflow_store.delete_experiment_tag(kept.experiment_id, key)
    mlflow_store.set_registered_model_alias(contract.MODEL_NAME, mlflow_registry.PRODUCTION, versions["uci"])
    return versions["uci"]


def _moves():
    return [(one.before, one.after, one.by, one.how) for one in mlflow_registry.record_external_moves()]


def test_a_move_by_a_run_records_the_run(versions, production):
    started = datetime.now(UTC)
    assert mlflow_registry.move_production(versions["file"], by="run scheduled__2026") == ""
    assert mlflow_registry.aliased("production").number == versions["file"]
    assert _moves() == [
        ("", production, "unknown", EXTERNAL),
        (production, versions["file"], "run scheduled__2026", RUN),
    ]
    assert started <= mlflow_registry.record_external_moves()[-1].when <= datetime.now(UTC)


def test_a_retried_run_moves_production_once(versions, production):
    for _ in range(3):
        assert mlflow_registry.move_production(versions["file"], by="run r") == ""
    assert len(_moves()) == 2


def test_a_run_on_the_sample_does_not_replace_real_data(versions, production):
    refused = mlflow_registry.move_production(versions["sample"], by="run r")
    assert refused.endswith(f"and version {production} in production was not (its origin: uci)")
    assert mlflow_registry.aliased("production").number == production


def test_a_run_does_not_move_production_that_changed_since_its_comparison(versions, production, mlflow_store):
    mlflow_store.set_registered_model_alias(contract.MODEL_NAME, mlflow_registry.PRODUCTION, versions["sample"])
    assert mlflow_registry.move_production(versions["file"], by="run r", expected=production) == (
        f"production changed since the decision: it was at version {production} and is at version "
        f"{versions['sample']} now"
    )
    assert mlflow_registry.aliased("production").number == versions["sample"]
    assert mlflow_registry.move_production(versions["file"], by="run r", expected=versions["sample"]) == ""
    assert mlflow_registry.aliased("production").number == versions["file"]


def test_a_move_in_mlflow_is_recorded(versions, production, mlflow_store):
    mlflow_registry.move_production(versions["file"], by="run r")
    mlflow_store.set_registered_model_alias(contract.MODEL_NAME, mlflow_registry.PRODUCTION, versions["sample"])
    assert _moves()[-1] == (versions["file"], versions["sample"], "unknown", EXTERNAL)
    assert len(_moves()) == 3


def test_a_missing_version_moves_nothing(production):
    with pytest.raises(RegistryError) as caught:
        mlflow_registry.move_production("99", by="run r")
    assert str(caught.value) == (
        "MLflow could not point alias production at version 99: "
        "Model Version (name=heart-disease, version=99) not found\n"
        f"  where:    MLFLOW_TRACKING_URI {mlflow.get_tracking_uri()}\n"
        "  expected: an existing resource of an MLflow server at this address\n"
        "  hint:     check in MLflow's UI whether it was deleted (if so, trigger a new run), "
        "and that MLFLOW_TRACKING_URI is right; a retry cannot change this"
    )
    assert mlflow_registry.aliased("production").number == production


def test_production_exists_at_every_instant(versions, production, mlflow_store, monkeypatch):
    """Wherever a move is interrupted, the alias points at one version or the other."""
    asked = []

    def watched(name):
        def call(self, *arguments, **more):
            asked.append((name, mlflow_registry.aliased("production").number))
            raise MlflowException("unreachable")

        return call

    monkeypatch.setattr(type(mlflow_store), "set_experiment_tag", watched("tag"))
    monkeypatch.setattr(type(mlflow_store), "delete_registered_model_alias", watched("delete"))
    with pytest.raises(RegistryError):
        mlflow_registry.move_production(versions["file"], by="run r")
    assert asked == [("tag", production)], "the external move is recorded before the move"
    assert mlflow_registry.aliased("production").number == production


@pytest.fixture
def trained(mlflow_store, production, tmp_path):
    """A run and the version that it moved production to."""
    run_id = mlflow_registry.log_run(runs.Run("key", "a run", {}, {}, {}, {"a.txt": b"a"}))
    version = create_version(mlflow_store, tmp_path, "file", run_id)
    assert mlflow_registry.move_production(version, by="run r") == ""
    return run_id, version


def test_production_stays_without_the_run_that_trained_it(trained, mlflow_store):
    run_id, version = trained
    moves = _moves()
    mlflow_store.delete_run(run_id)
    assert mlflow_registry.aliased("production").number == version
    assert _moves() == moves


def test_production_is_deleted_with_its_version_and_history_says_so(trained, production, versions, mlflow_store):
    _, version = trained
    mlflow_store.delete_model_version(contract.MODEL_NAME, version)
    assert mlflow_registry.aliased("production") is None
    assert _moves()[-2:] == [(production, version, "run r", RUN), (version, "", "unknown", EXTERNAL)]
    refused = mlflow_registry.move_production(versions["file"], by="run r", expected=version)
    assert refused.endswith("and is at no version now")
    with pytest.raises(RegistryError, match=f"version={version}\\) not found\n"):
        mlflow_registry.move_production(version, by="run r")
    assert mlflow_registry.move_production(versions["file"], by="run r", expected="") == ""


@pytest.fixture
def renamed(trained, mlflow_store):
    """The registered model under another name, and a new one in its place, until the test ends."""
    mlflow_store.rename_registered_model(contract.MODEL_NAME, "kept for the other tests")
    mlflow_store.create_registered_model(contract.MODEL_NAME)
    yield trained[1]
    mlflow_store.delete_registered_model(contract.MODEL_NAME)
    mlflow_store.rename_registered_model("kept for the other tests", contract.MODEL_NAME)


def test_a_model_that_is_renamed_or_made_again_leaves_its_history(renamed, mlflow_store, tmp_path):
    # given
    sample = create_version(mlflow_store, tmp_path / "sample", "sample")
    moves = _moves()
    assert moves[-1] == (renamed, "", "unknown", EXTERNAL)
    # then
    lost = f"the alias production is missing in MLflow, and version {renamed} was in production before"
    assert mlflow_registry.lost_production() == lost
    refused = mlflow_registry.move_production(sample, by="run r")
    assert refused.endswith(f"and version {renamed}, which was in production before, was not (its origin: file)")
    real = create_version(mlflow_store, tmp_path / "real", "uci")
    assert mlflow_registry.move_production(real, by="run r") == ""
    # and when it is deleted and made again
    mlflow_store.delete_registered_model(contract.MODEL_NAME)
    mlflow_store.create_registered_model(contract.MODEL_NAME)
    again = create_version(mlflow_store, tmp_path / "again", "sample")
    assert mlflow_registry.move_production(again, by="run r").startswith(f"version {again} was trained on the synth")
    assert _moves() == [*moves, ("", real, "run r", RUN), (real, "", "unknown", EXTERNAL)]
    assert mlflow_registry.aliased("production") is None


def test_the_history_survives_the_deletion_of_its_experiment(versions, production, mlflow_store):
    mlflow_registry.move_production(versions["file"], by="run r")
    moves = _moves()
    mlflow_store.delete_experiment(mlflow_store.get_experiment_by_name(alias_history.EXPERIMENT).experiment_id)
    assert _moves() == moves
    assert mlflow_registry.move_production(production, by="run r") == ""
    assert _moves() == [*moves, (versions["file"], production, "run r", RUN)]


def test_the_origin_is_that_of_the_files_and_not_of_a_tag_that_anybody_can_change(versions, production, mlflow_store):
    mlflow_store.set_model_version_tag(contract.MODEL_NAME, versions["sample"], "origin", "file")
    try:
        assert "trained on the synthetic sample" in mlflow_registry.move_production(versions["sample"], by="run r")
    finally:
        mlflow_store.set_model_version_tag(contract.MODEL_NAME, versions["sample"], "origin", "sample")


@pytest.mark.parametrize("damage", ["deleted", "truncated", "changed", "without a manifest"])
def test_no_alias_is_pointed_at_a_version_that_cannot_be_downloaded(production, mlflow_store, tmp_path, damage):
    version = create_version(mlflow_store, tmp_path, "uci")
    path = tmp_path / ("manifest.json" if damage == "without a manifest" else "model.onnx")
    if damage in ("deleted", "without a manifest"):
        path.unlink()
    else:
        path.write_bytes(b"" if damage == "truncated" else b"something else")
    refused = mlflow_registry.move_production(version, by="run r")
    assert refused.startswith(f"version {version} cannot be downloaded: {path.name} ")
    with pytest.raises(RegistryError, match=f"version {version} cannot be downloaded: {path.name} ") as caught:
        mlflow_registry.stage(version)
    assert "train again on the same records" in caught.value.hint
    assert mlflow_registry.aliased("production").number == production
    assert mlflow_registry.aliased("staging") is None


def _promote(uri, rounds, barrier, versions, answers):
    mlflow.set_tracking_uri(uri)
    for expected in range(rounds):
        barrier.wait()
        before = mlflow_registry.aliased("production").number
        barrier.wait()  # both have decided on the same state
        target = versions[(versions.index(before) + 1 + (os.getpid() % 2 if expected % 2 else 0)) % len(versions)]
        answers.put((expected, before, target, mlflow_registry.move_production(target, by="me", expected=before)))


@pytest.mark.slow
def test_of_two_concurrent_moves_one_is_made_and_the_other_told_so(
    versions, mlflow_store, tmp_path, production, ledger_database
):
    # given
    rounds = 50
    numbers = [production, *(create_version(mlflow_store, tmp_path / str(one), "uci") for one in range(2))]
    process = multiprocessing.get_context("spawn")
    barrier, answers = process.Barrier(2), process.Queue()
    movers = [
        process.Process(target=_promote, args=(mlflow.get_tracking_uri(), rounds, barrier, numbers, answers))
        for _ in range(2)
    ]
    # when
    for mover in movers:
        mover.start()
    told = [answers.get(timeout=300) for _ in range(2 * rounds)]
    for mover in movers:
        mover.join()
    # then
    moves = mlflow_registry.record_external_moves()
    assert mlflow_registry.aliased("production").number == moves[-1].after
    assert [one.before for one in moves[1:]] == [one.after for one in moves[:-1]], "no gap"
    assert chain.verify(store.entries(), store.head()) is None
    assert all(one.how == RUN for one in moves[1:])
    for round_ in range(rounds):
        both = [(target, refused) for at, _, target, refused in told if at == round_]
        made = moves[round_ + 1].after
        assert [target for target, refused in both if not refused] == [made] * sum(target == made for target, _ in both)


def _die_at(uri, version, boundary):
    mlflow.set_tracking_uri(uri)
    client, count = mlflow.MlflowClient, 0

    def dying(write):
        def call(*arguments, **more):
            nonlocal count
            count += 1
            if count == boundary:
                os.kill(os.getpid(), signal.SIGKILL)
            return write(*arguments, **more)

        return call

    for place, name in ((client, "set_experiment_tag"), (client, "set_registered_model_alias"), (store, "append")):
        setattr(place, name, dying(getattr(place, name)))
    mlflow_registry.move_production(version, by="run r")
    os._exit(0)


@pytest.mark.slow
@pytest.mark.parametrize("boundary", [1, 2, 3, 4])
def test_a_killed_process_leaves_no_lock_and_no_gap(versions, production, mlflow_store, ledger_database, boundary):
    """It ends before it announces the move, moves the alias, enters the move, or notes the entry's hash in MLflow."""
    mlflow_registry.record_external_moves()
    mover = multiprocessing.get_context("spawn").Process(
        target=_die_at, args=(mlflow.get_tracking_uri(), versions["file"], boundary)
    )
    mover.start()
    mover.join(120)
    assert mover.exitcode == -signal.SIGKILL
    assert mlflow_registry.move_production(versions["file"], by="run r") == ""
    assert _moves()[1:] == [(production, versions["file"], "run r", RUN)]
    assert mlflow_registry.aliased("production").number == versions["file"]
    noted = alias_history.noted_head(mlflow_store.get_experiment_by_name(alias_history.EXPERIMENT).tags)
    assert chain.verify(store.entries(), store.head(), [noted]) is None
    assert noted.number == mlflow_registry.record_external_moves()[-1].number
