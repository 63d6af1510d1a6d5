"""Moves of production in the running stack: the lock in PostgreSQL, and what the history knows after a move by hand."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from heartline.registry.production import alias_lock
from tests.running import Running

API = "/api/2.0/mlflow"


@pytest.fixture
def lock_url(running: Running) -> str:
    """Return the URL of the lock of the running stack."""
    password = (running.home / "secrets" / "heartline_db_password").read_text().strip()
    return f"postgresql://heartline:{password}@127.0.0.1:{running.ports['POSTGRES']}/heartline"


def _history(running: Running) -> list[dict]:
    return [one for one in json.loads(running.call("history", "--json").stdout) if one["kind"] == "moved"]


def _production(running: Running) -> str:
    model = requests.get(
        running.url("MLFLOW", f"{API}/registered-models/get"), params={"name": "heart-disease"}, timeout=30
    ).json()["registered_model"]
    return {one["alias"]: one["version"] for one in model.get("aliases", [])}.get("production", "")


def test_the_lock_names_its_holder_and_is_lost_with_its_session(running, lock_url):
    with alias_lock.hold("promote of version 2 by anna", url=lock_url) as still_held:
        still_held()
        with (
            pytest.raises(alias_lock.AliasLockError) as caught,
            alias_lock.hold("another", url=lock_url, seconds=0.2),
        ):
            pass
        assert "held by promote of version 2 by anna on " in caught.value.where
        assert lock_url.split(":")[2].partition("@")[0] not in str(caught.value), "no password"
    with alias_lock.hold("another", url=lock_url, seconds=0.2):
        pass


def test_of_two_concurrent_promotions_the_history_has_no_gap(running):
    first = _production(running)
    other = "2" if first == "1" else "1"
    running.call("promote", other, "--force")
    running.call("promote", first, "--force")
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda version: running.call("promote", version, "--force", check=False), (other, other)))
    moves = _history(running)[::-1]
    assert _production(running) == moves[-1]["to"] == other
    assert [one["from"] for one in moves[1:]] == [one["to"] for one in moves[:-1]]
    assert sum(one["to"] == other for one in moves[-2:]) == 1
    running.call("promote", first, "--force")


def test_the_ledger_of_the_running_stack_is_intact(running):
    found = json.loads(running.call("history", "verify", "--json").stdout)
    assert (found["intact"], found["compared_with_mlflow"]) == (True, True)
    entries = json.loads(running.call("history", "--json").stdout)
    assert entries[-1]["number"] == 1
    registered = [one for one in entries if one["kind"] == "registered"]
    assert {one["facts"]["family"] for one in registered} == {"logistic_regression", "random_forest"}
    assert all(len(one["facts"]["digest"]) == 64 for one in registered)
    assert "was in production" in running.call("history", "--at", "2100-01-01").stdout


def test_an_alias_that_was_removed_in_mlflow_is_recorded_and_no_first_up(running):
    first = _production(running)
    requests.delete(
        running.url("MLFLOW", f"{API}/registered-models/alias"),
        json={"name": "heart-disease", "alias": "production"},
        timeout=30,
    ).raise_for_status()
    try:
        done = running.call("up", check=False)
        assert done.returncode == 1
        assert f"version {first} was in production before" in done.stderr
        assert _history(running)[0]["how"].startswith("moved outside")
    finally:
        running.call("promote", first, "--force")
