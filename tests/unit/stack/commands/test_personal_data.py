"""`forget` and `export-person`: the service's program is called with the service's settings."""

import json
import sys
from types import SimpleNamespace

import pytest

from stack.commands import cli, db, personal_data
from stack.errors import Exit, UsageError
from stack.processes.definitions import SERVICE, define_processes
from stack.processes.lifecycle import Stack
from stack.processes.reading_roles import READER
from tests.conftest import ROOT

ID = "dfc6f228-4fe2-4d31-aa95-6aa5c466bb05"


@pytest.fixture
def called(settings, monkeypatch, tmp_path):
    """Return the command lines and environments with which the program is called."""
    calls = []

    def run(command, **how):
        calls.append((command, how))
        return SimpleNamespace(returncode=5)

    monkeypatch.setattr(personal_data.subprocess, "run", run)
    monkeypatch.setattr(cli.Settings, "load", lambda: settings)
    monkeypatch.chdir(tmp_path)
    return calls


def main(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["heartline", *arguments])
    return cli.main()


def test_forget_names_the_calling_user_and_erases_only_with_yes(called, monkeypatch):
    monkeypatch.setattr(cli.promote, "current_user", lambda: "anna")
    assert main(monkeypatch, "forget", ID) == Exit.UNHEALTHY, "the program's exit code"
    assert main(monkeypatch, "forget", ID, "--yes") == Exit.UNHEALTHY
    options = [command[command.index("serving.personal_data") + 1 :] for command, _ in called]
    assert options == [["forget", "--by", "anna", "--", ID], ["forget", "--by", "anna", "--yes", "--", ID]]


def test_it_runs_with_the_settings_of_the_service_and_no_secret_on_its_command_line(
    called, settings, credentials, monkeypatch, tmp_path
):
    main(monkeypatch, "export-person", "--record", "record.json", "--out", "person.json")
    ((command, how),) = called
    asked = ["export", "--out", str(tmp_path / "person.json"), "--record", str(tmp_path / "record.json"), "--"]
    assert command[-len(asked) :] == asked
    service = next(one for one in define_processes(settings, credentials) if one.name == SERVICE)
    assert how["env"].items() >= service.environment().items()
    assert how["env"]["HEARTLINE_CACHE"] == str(settings.home / "cache" / "models")
    assert credentials["predictions_db_password"] not in json.dumps(command)


def test_the_program_starts(settings, credentials, monkeypatch, capfd, need):
    """It is called as it is, with the service's own environment: a fake would not find out whether Python finds it."""
    need((ROOT / ".venv-serving").exists(), "the service's environment")
    monkeypatch.setattr(cli.Settings, "load", lambda: settings)
    assert main(monkeypatch, "forget", "x") == Exit.USAGE
    said = capfd.readouterr().err
    assert "'x'" in said
    assert "expected:" in said
    assert "Traceback" not in said


def test_export_person_needs_a_file(called, monkeypatch):
    assert main(monkeypatch, "export-person", ID) == Exit.USAGE
    assert called == []


def test_the_log_is_opened_as_a_user_who_only_reads(settings, credentials):
    login = db.login("predictions", read_only=True)
    assert login == db.Login("predictions", READER)
    password = credentials[f"{READER}_db_password"]
    assert db.url(Stack.of(settings), login) == (
        f"postgresql://{READER}:{password}@127.0.0.1:{settings.postgres_port}/predictions"
    )
    with pytest.raises(UsageError, match="no role only reads the database mlflow"):
        db.login("mlflow", read_only=True)


@pytest.mark.parametrize(
    ("arguments", "role"),
    [
        (["--url"], "heartline"),
        (["--read-only", "--url"], READER),
        (["--database", "predictions", "--read-only", "--url"], READER),
        (["--database", "predictions", "--url"], "predictions"),
    ],
)
def test_read_only_is_of_the_prediction_log(settings, monkeypatch, capsys, arguments, role):
    monkeypatch.setattr(cli.Settings, "load", lambda: settings)
    assert main(monkeypatch, "db", *arguments) == Exit.OK
    assert capsys.readouterr().out.startswith(f"postgresql://{role}:")


def test_read_only_with_another_database_is_refused(settings, monkeypatch):
    monkeypatch.setattr(cli.Settings, "load", lambda: settings)
    assert main(monkeypatch, "db", "--database", "heartline", "--read-only", "--url") == Exit.USAGE
