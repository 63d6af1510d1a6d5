"""`heartline monitor`: what it prints, the page, acknowledging an alarm, and its exit codes."""

import json

import pytest

from heartline.errors import MonitoringError
from heartline.ledger import store as ledger_store
from heartline.monitoring import alarm_entries, store
from stack.commands import cli, monitor, status
from stack.commands.status import Status
from stack.errors import Exit
from stack.processes.lifecycle import Stack
from tests import monitoring_reports as example
from tests.memory_ledger import MemoryLedger


@pytest.fixture
def ledger(monkeypatch):
    """The ledger of the process, in memory."""
    found = MemoryLedger()
    for method in ("append", "entries"):
        monkeypatch.setattr(
            ledger_store, method, lambda *given, url=None, method=method, **more: getattr(found, method)(*given, **more)
        )
    return found


@pytest.fixture
def monitored(ledger, monkeypatch):
    """Return a function that stores the reports of a scenario, and enters their alarms."""

    def of(scenario):
        reports = example.reports(scenario)
        monkeypatch.setattr(store, "reports", lambda since=None, *, url=None: reports)
        monkeypatch.setattr(store.Store, "notes", lambda self, day: [])
        for one in reports:
            for alarm in one.alarms:
                alarm_entries.enter(alarm, one.digest, by="run x")
        return reports

    monkeypatch.setattr(monitor, "today", lambda: example.TODAY)
    return of


@pytest.fixture
def call(settings, monkeypatch, capsys):
    """Run the command line in an empty state folder, and return its exit code, output and messages."""
    monkeypatch.setenv("HEARTLINE_HOME", str(settings.home))
    for name in ("airflow", "mlflow", "service", "postgres"):
        monkeypatch.setenv(f"HEARTLINE_{name.upper()}_PORT", str(getattr(settings, f"{name}_port")))

    def run(*arguments):
        monkeypatch.setattr("sys.argv", ["heartline", *arguments])
        code = cli.main()
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return run


def test_a_quiet_day_is_a_sentence_and_a_table_with_exit_code_0(call, monitored):
    monitored("quiet")
    code, out, _ = call("monitor")
    assert code == Exit.OK
    assert out.startswith("On 1 March 2026 nothing needs attention: in ")
    for figure in (
        "Brier score",
        "Brier score, last 28 days",
        "0.124 at its training",
        "e-value of “changed”",
        "predictions of the day",
    ):
        assert figure in out


def test_an_open_alarm_is_shown_with_rate_and_what_to_do_and_exit_code_1(call, monitored):
    monitored("harm")
    code, out, _ = call("monitor")
    assert code == Exit.FAILED
    assert out.startswith("Since 20 February 2026 version 7 is worse than at its training.")
    assert "alarm 1: The model is worse, 2026-02-20, version 7" in out
    assert f"false alarms: {example.HARM_RATE}" in out
    assert "heart_training was started" in out
    assert './heartline monitor --acknowledge 1 --reason "…"' in out


def test_an_alarm_is_acknowledged_with_a_reason_and_the_users_name(call, monitored, ledger, monkeypatch):
    monitored("harm")
    monkeypatch.setattr(cli.promote, "current_user", lambda: "anna")
    code, out, err = call("monitor", "--acknowledge", "1", "--reason", "checked with the ward")
    assert (code, err) == (Exit.OK, "alarm 1 is acknowledged\n")
    assert "nothing new needs attention" in out
    last = ledger.kept[-1]
    assert (last.kind, last.by, last.facts["reason"]) == ("acknowledged", "anna", "checked with the ward")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--acknowledge", "1"), "a reason of 10 to"),
        (("--acknowledge", "1", "--reason", "seen"), "a reason of 10 to"),
        (("--acknowledge", "99", "--reason", "checked with the ward"), "entry 99 is no alarm"),
        (("--acknowledge", "one", "--reason", "checked with the ward"), "'one' is not a valid integer"),
        (("--reason", "checked with the ward"), "--reason is for --acknowledge N"),
        (("--version", "99"), "version 99 has no report"),
    ],
)
def test_a_wrong_command_line_is_a_usage_error_and_enters_nothing(call, monitored, ledger, arguments, said):
    monitored("harm")
    before = len(ledger.kept)
    code, _, err = call("monitor", *arguments)
    assert code == Exit.USAGE
    assert said in err
    assert len(ledger.kept) == before


def test_json_has_sentence_alarms_figures_and_the_report(call, monitored):
    reports = monitored("harm")
    code, out, _ = call("monitor", "--json")
    found = json.loads(out)
    assert code == Exit.FAILED
    assert found["sentence"] == "Since 20 February 2026 version 7 is worse than at its training"
    assert (found["day"], found["version"]) == ("2026-03-01", "7")
    (alarm,) = found["open_alarms"]
    assert (alarm["number"], alarm["kind"], alarm["false_alarms"]) == (1, "harm", example.HARM_RATE)
    assert found["report"] == json.loads(reports[-1].to_json())
    assert {"question", "name", "value", "beside"} == set(found["figures"][0])


def test_before_the_first_day_it_says_when_there_will_be_one(call, ledger, monkeypatch):
    monkeypatch.setattr(store, "reports", lambda since=None, *, url=None: [])
    code, out, _ = call("monitor")
    assert (code, out.splitlines()[0]) == (Exit.OK, "No day has been monitored yet.")
    assert json.loads(call("monitor", "--json")[1])["report"] is None


def test_the_page_is_one_html_file(call, monitored, tmp_path):
    monitored("drift")
    file = tmp_path / "page.html"
    code, _, err = call("monitor", "--page", str(file))
    assert (code, err) == (Exit.FAILED, f"the page is in {file}\n")
    page = file.read_text()
    assert page.startswith("<!DOCTYPE html>")
    assert "<form" not in page, "a file cannot acknowledge an alarm"
    assert call("monitor", "--page", str(tmp_path / "nowhere" / "page.html"))[0] == Exit.MACHINE


def test_without_a_stack_the_error_has_the_four_parts(call):
    code, _, err = call("monitor")
    assert code == Exit.UNHEALTHY
    assert [one for one in ("cannot be reached", "where:", "expected:", "./heartline status") if one not in err] == []


def test_a_database_of_the_monitoring_that_is_away_is_unhealthy(call, ledger, monkeypatch):
    def away(*_, **__):
        raise MonitoringError("it is away", where="PostgreSQL", expected="an answer", hint="wait")

    monkeypatch.setattr(store, "reports", away)
    assert call("monitor")[0] == Exit.UNHEALTHY


def test_the_help_states_the_exit_codes(call):
    _, out, _ = call("monitor", "--help")
    assert "Exit code 0 if no alarm is open, 1 if one is" in " ".join(out.split())


def test_status_has_one_line(settings, monitored, ledger):
    monitored("harm")
    found = status._monitoring(Stack.of(settings))
    assert found == (
        "1 open alarm: Since 20 February 2026 version 7 is worse than at its training (./heartline monitor)"
    )
    assert f"monitoring: {found}" in status.lines(Stack.of(settings), Status([], True, "7", None, monitoring=found))


def test_status_says_nothing_of_a_monitoring_that_does_not_answer(settings, credentials):
    assert credentials["monitoring_db_password"]
    assert status._monitoring(Stack.of(settings)) is None
    assert not [one for one in status.lines(Stack.of(settings), Status([], True, "7", None)) if "monitoring" in one]
