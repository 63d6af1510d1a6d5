"""What `up` decides: the stack, the registry and the runs are pretended."""

import pytest

from stack import console, source_choice
from stack.commands import up as subject
from stack.errors import WorkError
from stack.processes.lifecycle import Stack
from tests.running import free_ports


class World:
    """What there is, and what was done to it."""

    def __init__(self):
        self.aliases: dict[str, str] = {}
        self.under_way: dict | None = None
        self.outcome: dict | Exception = {"version": "1"}
        self.trained: list[dict] = []

    def train(self, stack, given):
        self.trained.append(given)
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome

    def promote(self, stack, version, *, how):
        assert how == "first up"
        self.aliases["production"] = version
        return version


@pytest.fixture
def world(monkeypatch):
    made = World()
    monkeypatch.delenv("HEARTLINE_SOURCE", raising=False)
    monkeypatch.setenv("HEARTLINE_UCI_URL", f"http://127.0.0.1:{free_ports(1)[0]}/")
    monkeypatch.setattr(subject.lifecycle, "start", lambda stack: None)
    monkeypatch.setattr(subject.Registry, "at", lambda self, alias: made.aliases.get(alias))
    monkeypatch.setattr(subject.train, "join", lambda stack: made.under_way)
    monkeypatch.setattr(subject.train, "train", made.train)
    monkeypatch.setattr(subject.train, "promote", made.promote)
    monkeypatch.setattr(subject.service, "wait_until_served", lambda settings, version: None)
    monkeypatch.setattr(subject.service, "predict", lambda settings, record: {"has_heart_disease": True})
    return made


@pytest.fixture
def up(settings, monkeypatch, capsys):
    monkeypatch.setattr(console, "err", console.Console(width=200, highlight=False))

    def run(**given):
        subject.up(Stack.of(settings), given)
        return capsys.readouterr().out

    return run


def test_the_first_one_trains_and_promotes_and_predicts(world, up, settings):
    said = up(source="postgres", profile="quick")
    assert world.trained == [{"source": "postgres", "profile": "quick"}]
    assert world.aliases == {"production": "1"}
    assert '"has_heart_disease": true' in said
    assert all(url in said for url in (settings.airflow_url, settings.mlflow_url, settings.service_url))
    assert "airflow_admin_password" in said
    assert source_choice.remembered(settings.home) == "postgres"


def test_the_second_one_trains_nothing(world, up):
    world.aliases = {"production": "7"}
    said = up()
    assert world.trained == []
    assert world.aliases == {"production": "7"}
    assert "nothing is trained" not in said


def test_a_second_one_with_a_source_says_that_nothing_is_trained(world, up, settings):
    source_choice.remember(settings.home, "uci")
    world.aliases = {"production": "7"}
    said = up(source="sample")
    assert world.trained == []
    assert "nothing is trained: version 7 is in production. ./heartline train" in said
    assert source_choice.remembered(settings.home) == "uci"


def test_a_sample_that_nobody_asked_for_is_said_loudly(world, up):
    assert "SYNTHETIC" in up()
    assert world.trained == [{"source": "sample"}]


def test_a_sample_that_was_asked_for_is_not(world, up):
    assert "SYNTHETIC" not in up(source="sample")


def test_what_was_staged_before_needs_no_training(world, up):
    world.aliases = {"staging": "4"}
    up()
    assert world.trained == []
    assert world.aliases["production"] == "4"


def test_a_run_under_way_is_waited_for(world, up):
    world.aliases, world.under_way = {"staging": "4"}, {"version": "5"}
    up()
    assert world.trained == []
    assert world.aliases["production"] == "5"


def test_with_a_source_it_is_trained_all_the_same(world, up):
    world.aliases = {"staging": "4"}
    up(source="uci")
    assert world.trained == [{"source": "uci"}]
    assert world.aliases["production"] == "1"


def test_a_source_that_fails_is_not_remembered(world, up, settings):
    world.outcome = WorkError("the run failed", where="", expected="", hint="")
    with pytest.raises(WorkError):
        up(source="uci")
    assert "production" not in world.aliases
    assert source_choice.remembered(settings.home) is None
