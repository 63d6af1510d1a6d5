"""The errors of the command line: four parts, an exit code each, no traceback."""

import errno
import json
import os
import sys

import click
import pytest

from heartline.parameters import training as parameters
from stack.commands import cli
from stack.errors import Exit, UsageError, from_os_error
from stack.processes import lifecycle
from tests.running import free_ports


@pytest.fixture
def call(tmp_path, monkeypatch, capsys):
    """Run the command line in an empty state folder, and return its exit code and output."""
    monkeypatch.setenv("HEARTLINE_HOME", str(tmp_path / "home"))
    for name, port in zip(("AIRFLOW", "MLFLOW", "SERVICE", "POSTGRES"), free_ports(4), strict=True):
        monkeypatch.setenv(f"HEARTLINE_{name}_PORT", str(port))

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["heartline", *arguments])
        code = cli.main()
        printed = capsys.readouterr()
        return code, printed.out + printed.err

    return run


def shape(said):
    """Return the parts of the error shape that are missing in the output."""
    return [word for word in ("heartline: ", "\n  where:", "\n  expected:", "\n  hint:") if word not in said]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["up", "--nothing"], Exit.USAGE),
        (["up", "--set", "profile"], Exit.USAGE),
        (["up", "--source", "sample", "--set", "source=uci"], Exit.USAGE),
        (["up", "--source", "/nowhere/records.csv"], Exit.USAGE),
        (["train", "--set", "source=/nowhere/records.csv"], Exit.USAGE),
        (["train"], Exit.UNHEALTHY),
        (["promote"], Exit.UNHEALTHY),
        (["rollback"], Exit.UNHEALTHY),
        (["rollback", "3"], Exit.USAGE),
        (["history"], Exit.UNHEALTHY),
        (["history", "verify"], Exit.UNHEALTHY),
        (["history", "--at", "yesterday"], Exit.USAGE),
        (["predict"], Exit.UNHEALTHY),
        (["predict", "/nowhere/record.json"], Exit.USAGE),
        (["logs", "nothing"], Exit.USAGE),
        (["status", "much"], Exit.USAGE),
    ],
)
def test_an_error_has_the_four_parts_and_its_exit_code(call, tmp_path, arguments, code):
    found, said = call(*arguments)
    assert found == code
    assert shape(said) == []
    assert "Traceback" not in said


def test_a_wrong_command_line_creates_nothing(call, tmp_path):
    call("up", "--source", "/nowhere/records.csv")
    assert list(tmp_path.iterdir()) == []


def test_status_without_a_stack(call):
    code, said = call("status")
    assert code == Exit.UNHEALTHY
    assert "does not run: ./heartline up" in said


@pytest.mark.parametrize("given", [(), ("--force",)])
@pytest.mark.parametrize(("command", "arguments"), [("promote", ("4",)), ("rollback", ())])
def test_promote_and_rollback_wait_until_the_service_has_switched(call, monkeypatch, command, arguments, given):
    done = []
    cli.Settings.load().make_home()
    monkeypatch.setattr(cli.promote, "current_user", lambda: "anna")
    monkeypatch.setattr(
        cli.promote, command, lambda registry, *version, by, force: done.append((*version, by, force)) or "4"
    )
    monkeypatch.setattr(cli.service, "wait_until_served", lambda settings, version: done.append(version))
    shown = []
    monkeypatch.setattr(cli.promote, "warning", lambda registry, version: f"warning: {version}")
    monkeypatch.setattr(cli.console, "warn", shown.append)
    code, said = call(command, *arguments, *given)
    assert code == Exit.OK
    assert said.startswith("production is at version 4\n")
    assert shown == (["warning: 4"] if command == "promote" else [])
    assert done == [(*arguments, "anna", bool(given)), "4"]


def test_down_without_a_stack_creates_nothing(call, tmp_path):
    assert call("down", "--purge") == (Exit.OK, "nothing runs, and there is no state folder\n")
    assert list(tmp_path.iterdir()) == []


def test_down_purge_deletes_a_state_folder(call, tmp_path, monkeypatch):
    home = tmp_path / "home"
    cli.Settings.load().make_home()
    (home / "store").mkdir()
    assert call("down", "--purge")[0] == Exit.OK
    assert not home.exists()


def test_down_purge_says_what_goes_and_how_large_it_is(call, tmp_path):
    cli.Settings.load().make_home()
    (tmp_path / "home" / "store").mkdir()
    (tmp_path / "home" / "store" / "object").write_bytes(bytes(2_500_000))
    code, said = call("down", "--purge")
    assert code == Exit.OK
    assert f"2.5 MB  {tmp_path / 'home' / 'store'}\n" in said
    assert said.index("deleting:") < said.index("deleted:")


def test_status_after_a_purge_names_no_deleted_file(call, tmp_path):
    code, said = call("status")
    assert code == Exit.UNHEALTHY
    assert "password" not in said
    assert all(f"{name}:" in said for name in ("Airflow", "MLflow", "Service"))


def test_train_help_lists_the_parameters_with_their_values(call):
    code, said = call("train", "--help")
    assert code == Exit.OK
    assert all(f"\n  {one.name} " in said for one in parameters.PARAMETERS)
    assert "quick or full; default full" in said


def test_predict_shows_the_example_that_it_sent(call, monkeypatch):
    sent = []
    monkeypatch.setattr(cli.service, "predict", lambda settings, body: sent.append(body) or {"probability": 0.5})
    code, said = call("predict")
    assert code == Exit.OK
    assert json.dumps(sent[0]) in said


def test_down_purge_does_not_delete_another_folder(call, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    (home / "thesis.tex").touch()
    code, said = call("down", "--purge")
    assert code == Exit.USAGE
    assert "holds other files" in said
    assert (home / "thesis.tex").exists()


def test_a_second_command_is_refused_while_one_is_running(call, tmp_path):
    with lifecycle.Stack.of(cli.Settings.load()).locked("up"):
        code, said = call("down")
    assert code == Exit.IN_USE
    assert "`heartline up`, process" in said
    assert shape(said) == []


@pytest.mark.parametrize("error", [KeyboardInterrupt, click.Abort])
def test_an_interruption(call, monkeypatch, error):
    def interrupted(_):
        raise error

    monkeypatch.setattr(cli.status, "check_all", interrupted)
    assert call("status")[0] == Exit.INTERRUPTED


def test_an_unexpected_error_is_logged_and_shows_no_traceback(call, monkeypatch, tmp_path):
    monkeypatch.setattr(cli.status, "check_all", lambda _: {}["key"])
    code, said = call("status")
    assert code == Exit.MACHINE
    assert "KeyError: 'key'" in said
    assert "Traceback" not in said
    assert "Traceback" in (tmp_path / "home" / "logs" / "launcher.log").read_text()


@pytest.mark.parametrize(
    ("number", "what"),
    [
        (errno.ENOSPC, "no space left on device"),
        (errno.EROFS, "read-only file system"),
        (errno.EACCES, "permission denied"),
        (errno.EIO, "input/output error"),
    ],
)
def test_an_error_of_the_operating_system_names_the_file(call, monkeypatch, number, what):
    def refused(*_):
        raise OSError(number, os.strerror(number), "/some/file")

    monkeypatch.setattr(cli.status, "check_all", refused)
    code, said = call("status")
    assert code == Exit.MACHINE
    assert f"heartline: {what}\n  where:    /some/file\n" in said
    assert shape(said) == []


def test_an_os_error_without_a_file_names_the_state_folder():
    assert "HEARTLINE_HOME" in from_os_error(OSError(errno.ENOSPC, "No space left on device")).where


@pytest.mark.parametrize(
    ("content", "what"),
    [(b"", "nothing in it"), (b" \n", "nothing in it"), (b"age,sex\n63,1\n", "not JSON"), (None, "cannot be read")],
)
def test_a_file_that_is_not_a_record_is_named(tmp_path, content, what):
    path = tmp_path / "record.json"
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)
    with pytest.raises(UsageError) as caught:
        cli._read_json(str(path))
    assert what in caught.value.what
    assert caught.value.where == str(path)
    assert "as JSON" in caught.value.expected


def test_a_record_is_sent_as_it_stands_in_its_file(tmp_path):
    (tmp_path / "record.json").write_bytes(b' {"age": 63.0}\n')
    assert cli._read_json(str(tmp_path / "record.json")) == b' {"age": 63.0}\n'


def test_keys_without_a_command_shows_the_help(call):
    code, printed = call("keys")
    assert code == 0
    assert {"add", "list", "revoke"} <= set(printed.split())
