"""Two hundred moves of production by processes that are killed anywhere: the ledger tells exactly what happened."""

import multiprocessing
import os
import random
import signal
import sqlite3
from contextlib import closing

import mlflow
import pytest

from heartline import contract
from heartline.ledger import chain, store
from heartline.registry import mlflow_registry
from heartline.registry.production import alias_history
from tests.unit.registry.support import create_version

MOVES = 200
WRITES = ("set_experiment_tag", "set_registered_model_alias")


@pytest.fixture
def registry(tmp_path, ledger_database):
    """An MLflow with three versions, whose database itself records each change of an alias; its path."""
    before = mlflow.get_tracking_uri()
    database = tmp_path / "mlflow.db"
    mlflow.set_tracking_uri(f"sqlite:///{database}")
    client = mlflow.MlflowClient()
    client.create_registered_model(contract.MODEL_NAME)
    for number in range(3):
        create_version(client, tmp_path / str(number), "uci")
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("CREATE TABLE moved (place INTEGER PRIMARY KEY, version TEXT)")
        for event in ("INSERT", "UPDATE"):
            connection.execute(
                f"CREATE TRIGGER on_{event} AFTER {event} ON registered_model_aliases WHEN NEW.alias = 'production' "
                "BEGIN INSERT INTO moved (version) VALUES (NEW.version); END"
            )
        connection.commit()
    yield database
    mlflow.set_tracking_uri(before)


def _moved(database):
    with closing(sqlite3.connect(database)) as connection:
        return [str(version) for (version,) in connection.execute("SELECT version FROM moved ORDER BY place")]


def _kill_at(boundary):
    """Kill this process before or after one of its writes, of which a move has four."""
    passed = 0

    def lethal(write):
        def call(*arguments, **more):
            nonlocal passed
            if passed == boundary:
                os.kill(os.getpid(), signal.SIGKILL)
            answer = write(*arguments, **more)
            passed += 2
            if passed - 1 == boundary:
                os.kill(os.getpid(), signal.SIGKILL)
            return answer

        return call

    for name in WRITES:
        setattr(mlflow.MlflowClient, name, lethal(getattr(mlflow.MlflowClient, name)))
    store.append = lethal(store.append)


def _move(seed):
    """Move production to a random version; be killed at a write, or at any instruction, or not at all."""
    chance = random.Random(seed)
    version = chance.choice("123")
    if chance.random() < 0.6:
        _kill_at(chance.randrange(10))
    else:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)  # which ends the process at once
        signal.setitimer(signal.ITIMER_REAL, chance.uniform(0.01, 1))
    mlflow_registry.move_production(version, by=f"run {seed}")
    os._exit(0)


@pytest.mark.slow
@pytest.mark.timeout(1500)  # some hundreds of processes, two at a time
def test_the_ledger_is_what_happened_whenever_the_movers_are_killed(registry):
    process, seed, ends = multiprocessing.get_context("fork"), 0, []
    while len(_moved(registry)) < MOVES:
        movers = [process.Process(target=_move, args=(seed + one,)) for one in range(2)]
        for one in movers:
            one.start()
        for one in movers:
            one.join()
        ends += [one.exitcode for one in movers]
        seed += 2
        assert seed < 20 * MOVES, "the processes move production"
    moves = mlflow_registry.record_external_moves()
    # then
    assert [one.after for one in moves] == _moved(registry), "each move once, in its order"
    assert [one.before for one in moves] == ["", *(one.after for one in moves[:-1])], "without a gap"
    assert mlflow_registry.aliased("production").number == moves[-1].after
    assert all(one.by.startswith("run ") for one in moves), "none looks like one in MLflow's UI"
    assert -signal.SIGKILL in ends
    assert set(ends) <= {0, -signal.SIGKILL, -signal.SIGALRM}
    client = mlflow.MlflowClient()
    noted = alias_history.noted_head(client.get_experiment_by_name(alias_history.EXPERIMENT).tags)
    assert noted.number == moves[-1].number
    entries = store.entries()
    assert chain.verify(entries, store.head(), [noted]) is None
    assert len(entries) > 2 * MOVES, "announcements of moves that were not made stay"
