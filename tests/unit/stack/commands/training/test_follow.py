from datetime import UTC, datetime

import pytest

from stack import console
from stack.commands.training import follow
from stack.errors import UnhealthyError, WorkError


def task(name, state, start="10:00:00", end="10:00:02", tries=1, mapped=-1, label=None):
    day = "2026-01-01T{}+00:00"
    return {
        "dag_id": "d",
        "dag_run_id": "r",
        "task_id": name,
        "map_index": mapped,
        "rendered_map_index": label,
        "state": state,
        "try_number": tries,
        "start_date": start and day.format(start),
        "end_date": end and day.format(end),
    }


class FakeAirflow:
    """Returns prepared responses in turn: each an exception, or the run's state and its tasks."""

    url = "http://airflow"

    def __init__(self, *responses, log=()):
        self.responses, self.events = list(responses), list(log)

    def run(self, dag_id, run_id):
        if isinstance(self.responses[0], Exception):
            raise self.responses.pop(0)
        return {"state": self.responses[0][0]}

    def tasks(self, dag_id, run_id):
        return self.responses.pop(0)[1]

    def log(self, one):
        return self.events


@pytest.fixture(autouse=True)
def no_sleep(monkeypatch):
    monkeypatch.setattr(follow.time, "sleep", lambda _: None)


def test_without_a_terminal_each_change_is_one_line(capsys, monkeypatch):
    monkeypatch.setattr(console, "err", console.Console(width=120, highlight=False))
    airflow = FakeAirflow(
        ("running", [task("ingest", "running", end=None)]),
        ("running", [task("ingest", "success"), task("train", "up_for_retry", mapped=0, label="forest")]),
        ("success", [task("ingest", "success"), task("train", "success", tries=2, mapped=0, label="forest")]),
    )
    follow.follow(airflow, "d", "r")
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert lines == ["ingest success 2.0 s", "train [forest] up_for_retry 2.0 s", "train [forest] success 2.0 s"]


def test_the_table_shows_state_duration_and_tries(capsys):
    now = datetime(2026, 1, 1, 10, 0, 9, tzinfo=UTC)
    assert follow.seconds(task("a", "running", end=None), now) == 9
    assert follow.seconds(task("a", None, start=None, end=None), now) is None
    tasks = [
        task("ingest", "success"),
        task("train", "running", tries=3, mapped=1, label="a_b"),
        task("compare", None, None, None),
    ]
    console.Console(width=80).print(follow.table(tasks))
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines == [
        ["ingest", "success", "2.0", "s"],
        ["train", "[a_b]", "running", "2.0", "s", "try", "3"],
        ["compare", "waiting"],
    ]


def test_a_failed_run_shows_the_exception():
    said = "a column is missing\n  where:    x.csv"
    log = [{"event": "starting"}, {"event": "failed", "error_detail": [{"exc_type": "DataError", "exc_value": said}]}]
    airflow = FakeAirflow(("failed", [task("ingest", "failed"), task("train", "upstream_failed", None, None)]), log=log)
    with pytest.raises(WorkError) as caught:
        follow.follow(airflow, "d", "r")
    assert caught.value.what == "the run failed in ingest"
    assert "DataError: a column is missing" in caught.value.where
    assert "x.csv" in caught.value.where


def test_without_an_exception_the_end_of_the_log_is_shown():
    assert follow.reason([{"event": f"line {n}"} for n in range(30)]).splitlines()[-1] == "line 29"
    assert follow.reason([]) == "its log is empty"


def test_an_outage_in_the_middle_is_waited_for():
    outage = UnhealthyError("no answer", where="", expected="", hint="")
    follow.follow(FakeAirflow(outage, outage, ("success", [])), "d", "r")


class Queued(FakeAirflow):
    """Airflow with another run before this one."""

    def __init__(self, *responses, before, healthy=True):
        super().__init__(*responses)
        self.before, self.healthy = before, healthy

    def active_runs(self, dag_id):
        return [*self.before, "r"]

    def scheduler_healthy(self):
        return self.healthy


@pytest.fixture
def said(monkeypatch, capsys):
    monkeypatch.setattr(console, "err", console.Console(width=200, highlight=False))

    def lines():
        return capsys.readouterr().out.splitlines()

    return lines


def test_the_run_that_is_waited_for_is_named_once(said):
    follow.follow(Queued(("queued", []), ("queued", []), ("success", []), before=["earlier"]), "d", "r")
    assert said() == ["waiting for run earlier, which has not ended: one run at a time"]


def test_a_run_that_waits_for_no_other_says_nothing(said):
    follow.follow(Queued(("queued", []), ("success", []), before=[]), "d", "r")
    assert said() == []


def test_a_scheduler_that_is_away_is_named(said, monkeypatch):
    monkeypatch.setattr(follow, "QUIET", -1)
    follow.follow(Queued(("running", []), ("running", []), ("success", []), before=[], healthy=False), "d", "r")
    assert [line for line in said() if "the scheduler does not run" in line]


def test_a_retry_is_shown_with_its_reason_and_time(said):
    log = [
        {"event": "failed", "error_detail": [{"exc_type": "RegistryError", "exc_value": "MLflow is away\n  where: x"}]},
        {"event": "Attempt 1 of 17 failed; tried again in 15 s", "logger": follow.RETRIES_LOGGER},
    ]
    waiting = ("running", [task("train", "up_for_retry")])
    follow.follow(FakeAirflow(waiting, waiting, ("success", []), log=log), "d", "r")
    lines = [line.strip() for line in said()]
    assert lines.count("train: RegistryError: MLflow is away") == 1
    assert lines.count("Attempt 1 of 17 failed; tried again in 15 s") == 1


def test_a_failure_says_that_it_is_not_tried_again():
    log = [
        {"event": "failed", "error_detail": [{"exc_type": "DataError", "exc_value": "bad"}]},
        {"event": "Not tried again: …", "logger": follow.RETRIES_LOGGER},
    ]
    assert follow.reason(log) == "DataError: bad\nNot tried again: …"
