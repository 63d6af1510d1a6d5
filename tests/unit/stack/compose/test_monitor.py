"""`python -m stack.compose.monitor`: the command in a compose project."""

import json
import sys

import pytest

from heartline.ledger import store as ledger_store
from heartline.monitoring import alarm_entries, store
from stack.commands import monitor as command
from stack.compose import monitor
from tests import monitoring_reports as example
from tests.memory_ledger import MemoryLedger


@pytest.fixture
def ledger(monkeypatch):
    """A ledger in memory with an open alarm, and the reports behind it."""
    found = MemoryLedger()
    for method in ("append", "entries"):
        monkeypatch.setattr(
            ledger_store, method, lambda *given, url=None, method=method, **more: getattr(found, method)(*given, **more)
        )
    reports = example.reports("harm")
    monkeypatch.setattr(store, "reports", lambda since=None, *, url=None: reports)
    monkeypatch.setattr(store.Store, "notes", lambda self, day: [])
    monkeypatch.setattr(command, "today", lambda: example.TODAY)
    for one in reports:
        for alarm in one.alarms:
            alarm_entries.enter(alarm, one.digest, by="run x")
    return found


@pytest.fixture
def call(monkeypatch, capsys):
    """Run the command line, and return its exit code, output and messages."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["stack.compose.monitor", *arguments])
        with pytest.raises(SystemExit) as ended:
            monitor.main()
        printed = capsys.readouterr()
        return ended.value.code, printed.out, printed.err

    return run


def test_an_open_alarm_is_shown_with_exit_code_1(ledger, call):
    code, out, _ = call("--json")
    assert code == 1
    assert json.loads(out)["open_alarms"][0]["number"] == 1


def test_it_is_acknowledged_with_the_given_name(ledger, call):
    code, _, err = call("--acknowledge", "1", "--reason", "checked with the ward", "--by", "anna")
    assert (code, err) == (0, "alarm 1 is acknowledged\n")
    assert (ledger.kept[-1].kind, ledger.kept[-1].by) == ("acknowledged", "anna")


def test_to_acknowledge_needs_a_name(ledger, call):
    code, _, err = call("--acknowledge", "1", "--reason", "checked with the ward")
    assert code == 2
    assert "--acknowledge needs --by NAME" in err
    assert len(ledger.kept) == 1
