"""Waiting for Airflow: until it answers again, the stack is stopped, or it takes too long."""

import pytest

from stack import console
from stack.clients.airflow import Airflow
from stack.commands.training import patience as subject
from stack.commands.training.patience import Patience
from stack.errors import UnhealthyError
from tests.running import free_ports


class Clock:
    """A clock that only sleeping moves."""

    def __init__(self):
        self.now = 0.0

    def monotonic(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    made = Clock()
    monkeypatch.setattr(subject, "time", made)
    monkeypatch.setattr(console, "err", console.Console(width=200, highlight=False))
    return made


def away(clock, until):
    def question():
        if clock.now < until:
            raise UnhealthyError("airflow does not answer", where="here", expected="", hint="")
        return "answer"

    return question


@pytest.mark.parametrize("seconds", [1, 60, 500])
def test_an_outage_is_waited_for_and_named_once(clock, capsys, seconds):
    assert Patience()(away(clock, seconds)) == "answer"
    said = capsys.readouterr().out.splitlines()
    assert said == ["waiting, at most 10 minutes: airflow does not answer", f"Airflow answers again, after {seconds} s"]


def test_without_an_outage_nothing_is_said(clock, capsys):
    assert Patience()(away(clock, 0)) == "answer"
    assert capsys.readouterr().out == ""


def test_a_long_outage_is_an_error(clock):
    with pytest.raises(UnhealthyError, match="does not answer"):
        Patience()(away(clock, 10_000))
    assert clock.now > subject.OUTAGE_LIMIT


def test_a_stopped_stack_is_named_at_once(clock):
    with pytest.raises(UnhealthyError, match="the stack was stopped") as caught:
        Patience(lambda: clock.now > 5)(away(clock, 10_000))
    assert clock.now < 30
    assert "./heartline up" in caught.value.hint


def test_a_supervisor_that_is_replaced_is_no_stopped_stack(clock):
    assert Patience(lambda: 5 < clock.now < 12)(away(clock, 60)) == "answer"


@pytest.mark.parametrize("status", [500, 503])
def test_an_api_server_without_its_database_is_waited_for(answers, status):
    server = answers(free_ports(1)[0])
    path = "GET /api/v2/dags/d/dagRuns/r"
    server.answers |= {
        "POST /auth/token": (201, {"access_token": "t"}),
        path: [(status, {"detail": "database"}), (status, "gone"), (200, {"state": "success"})],
    }
    airflow = Airflow(server.url, "pw")
    assert Patience()(lambda: airflow.run("d", "r"))["state"] == "success"
    assert len([one for one in server.asked if one[0] == path]) == 3


def test_an_api_server_that_goes_away_and_comes_back_is_waited_for(answers, clock, monkeypatch):
    port = free_ports(1)[0]
    airflow = Airflow(f"http://127.0.0.1:{port}", "pw")

    def come_back(seconds):
        clock.now += seconds
        if clock.now == 3:
            answers(port).answers |= {
                "POST /auth/token": (201, {"access_token": "t"}),
                "GET /api/v2/dags/d/dagRuns/r": (200, {"state": "success"}),
            }

    monkeypatch.setattr(clock, "sleep", come_back)
    assert Patience()(lambda: airflow.run("d", "r"))["state"] == "success"
    assert clock.now == 3
