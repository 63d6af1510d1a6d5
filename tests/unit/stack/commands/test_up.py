"""The decisions of `up`, with a fake stack, registry and training runs."""

from datetime import UTC, datetime

import pytest

from heartline.registry.production.alias_history import Move
from stack import console, source_choice
from stack.commands import up as subject
from stack.errors import UsageError, WorkError
from stack.processes.lifecycle import Stack
from tests.running import free_ports


class World:
    """The state of the registry and the runs, and what `up` did."""

    def __init__(self):
        self.aliases: dict[str, str] = {}
        self.active_run: dict | None = None
        self.outcome: dict | Exception = {"version": "1"}
        self.trained: list[dict] = []
        self.started: list = []
        self.moves: list[Move] = []
        self.served: tuple[str, str] | None = None
        self.waits = ""

    def train(self, stack, given, *, promote):
        assert promote == "", "up promotes the version itself"
        self.trained.append(given)
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome

    def promote(self, registry, version, *, by, how):
        assert (by, how) == ("anna", "first up")
        self.aliases["production"] = version
        return version


@pytest.fixture
def world(monkeypatch):
    made = World()
    monkeypatch.delenv("HEARTLINE_SOURCE", raising=False)
    monkeypatch.setenv("HEARTLINE_UCI_URL", f"http://127.0.0.1:{free_ports(1)[0]}/")
    monkeypatch.setattr(subject.lifecycle, "start", made.started.append)
    monkeypatch.setattr(subject.readiness, "wait", lambda stack, began: None)
    monkeypatch.setattr(subject.Registry, "at", lambda self, alias: made.aliases.get(alias))
    monkeypatch.setattr(subject.Registry, "served", lambda self: made.served)
    monkeypatch.setattr(subject.promote, "moves", lambda registry: made.moves)
    monkeypatch.setattr(subject.train, "join", lambda stack: made.active_run)
    monkeypatch.setattr(subject.train, "train", made.train)
    monkeypatch.setattr(subject.promote, "promote", made.promote)
    monkeypatch.setattr(subject.promote, "waits_for_approval", lambda registry, version: made.waits)
    monkeypatch.setattr(subject.promote, "current_user", lambda: "anna")
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


def test_the_first_up_trains_promotes_and_predicts(world, up, settings):
    said = up(source="postgres", profile="quick")
    assert world.trained == [{"source": "postgres", "profile": "quick"}]
    assert world.aliases == {"production": "1"}
    assert '"has_heart_disease": true' in said
    assert all(url in said for url in (settings.airflow_url, settings.mlflow_url, settings.service_url))
    assert "airflow_admin_password" in said
    assert source_choice.remembered(settings.home) == "postgres"


def test_where_an_approval_is_required_the_first_up_says_which_version_waits_and_where(world, up):
    world.waits = "nobody has approved it"
    said = up(source="postgres")
    assert "version 1 is trained and waits for an approval" in said
    assert "/required_actions" in said
    assert "airflow_approver_password" in said
    assert "POST" not in said
    assert world.aliases == {}


@pytest.mark.parametrize(
    ("moves", "served", "what"),
    [
        (
            [Move(datetime(2026, 3, 1, tzinfo=UTC), "", "7", "anna", "promote")],
            None,
            "version 7 was in production before",
        ),
        ([], ("7", "uci"), "the service serves version 7"),
    ],
)
def test_a_lost_alias_is_not_a_first_up(world, up, moves, served, what):
    world.moves, world.served = moves, served
    with pytest.raises(WorkError, match=what) as caught:
        up()
    assert "./heartline promote VERSION" in caught.value.hint
    assert world.trained == []
    assert world.aliases == {}


def test_a_second_up_trains_nothing(world, up):
    world.aliases = {"production": "7"}
    said = up()
    assert world.trained == []
    assert world.aliases == {"production": "7"}
    assert "not training" not in said


def test_a_second_up_with_a_source_says_that_it_does_not_train(world, up, settings):
    source_choice.remember(settings.home, "uci")
    world.aliases = {"production": "7"}
    said = up(source="sample")
    assert world.trained == []
    assert "not training: version 7 is in production. To train another one: ./heartline train" in said
    assert source_choice.remembered(settings.home) == "uci"


def test_falling_back_to_the_sample_prints_a_warning(world, up):
    assert "SYNTHETIC" in up()
    assert world.trained == [{"source": "sample"}]


def test_choosing_the_sample_prints_no_warning(world, up):
    assert "SYNTHETIC" not in up(source="sample")


def test_a_staged_version_is_promoted_without_training(world, up):
    world.aliases = {"staging": "4"}
    up()
    assert world.trained == []
    assert world.aliases["production"] == "4"


def test_an_active_run_is_waited_for(world, up):
    world.aliases, world.active_run = {"staging": "4"}, {"version": "5"}
    up()
    assert world.trained == []
    assert world.aliases["production"] == "5"


def test_with_a_source_a_new_model_is_trained_although_one_is_staged(world, up):
    world.aliases = {"staging": "4"}
    up(source="uci")
    assert world.trained == [{"source": "uci"}]
    assert world.aliases["production"] == "1"


def test_a_source_whose_run_failed_is_not_stored(world, up, settings):
    world.outcome = WorkError("the run failed", where="", expected="", hint="")
    with pytest.raises(WorkError):
        up(source="uci")
    assert "production" not in world.aliases
    assert source_choice.remembered(settings.home) is None


def test_a_wrong_schedule_is_refused_before_anything_starts(world, up, settings, monkeypatch):
    monkeypatch.setenv("HEARTLINE_SCHEDULE", "0 2 * *")
    with pytest.raises(UsageError, match="'0 2 \\* \\*' cannot be used"):
        up(source="sample")
    assert world.started == []
    assert source_choice.remembered(settings.home) is None
