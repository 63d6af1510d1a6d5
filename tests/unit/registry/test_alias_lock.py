"""The file lock of movers without PostgreSQL; the PostgreSQL lock is tested in the running stack."""

import threading

import pytest

from heartline.registry.production import alias_lock
from heartline.registry.production.alias_lock import AliasLockError


@pytest.fixture
def registry(tmp_path):
    return f"sqlite:///{tmp_path}/mlflow.db"


def test_a_second_mover_is_told_who_holds_the_lock(registry):
    with (
        alias_lock.hold("promote of version 2 by anna", registry=registry) as still_held,
        pytest.raises(AliasLockError, match="another move of an alias is in progress") as caught,
        alias_lock.hold("another", registry=registry, seconds=0),
    ):
        pass
    still_held()
    assert "held by promote of version 2 by anna, process " in caught.value.where


def test_a_second_mover_waits_for_the_first(registry):
    order, started = [], threading.Event()

    def second():
        started.set()
        with alias_lock.hold("second", registry=registry):
            order.append("second")

    with alias_lock.hold("first", registry=registry):
        thread = threading.Thread(target=second)
        thread.start()
        started.wait()
        order.append("first")
    thread.join()
    assert order == ["first", "second"]


def test_registries_do_not_exclude_each_other(registry):
    with alias_lock.hold("one", registry=registry), alias_lock.hold("other", registry=f"{registry}2", seconds=0):
        pass


def test_a_database_that_does_not_answer_is_named_without_its_password():
    with (
        pytest.raises(AliasLockError) as caught,
        alias_lock.hold("one", url="postgresql+psycopg2://heartline:secret@127.0.0.1:1/heartline"),
    ):
        pass
    assert caught.value.where == "PostgreSQL at 127.0.0.1:1/heartline"
    assert "secret" not in str(caught.value)
