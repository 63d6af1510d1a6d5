"""The line that a run's result adds to its note."""

import json
import subprocess
import sys

import pytest

from tests.conftest import ROOT

LABEL = "Result: "


def with_result(note: str, text: str) -> str:
    script = (
        "import json, sys; sys.path.insert(0, 'plugins'); import heartline_run_notes as plugin;"
        "print('RESULT' + json.dumps(plugin.with_result(*json.loads(sys.argv[1]))))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, json.dumps([note, text])],
        cwd=ROOT,
        env={"PATH": "", "PYTHONPATH": str(ROOT / "include"), "AIRFLOW_HOME": "/nonexistent"},
        capture_output=True,
        text=True,
        check=True,
    )
    return str(json.loads(done.stdout.split("RESULT")[1]))


@pytest.mark.parametrize(
    ("note", "expected"),
    [
        ("", "Result: better"),
        ("for the board\nsecond line", "for the board\nsecond line\nResult: better"),
        ("for the board\nResult: nothing new", "for the board\nResult: better"),
    ],
)
def test_the_result_is_the_last_line_and_replaces_an_earlier_one(note, expected):
    assert with_result(note, "better") == expected


def test_a_long_note_of_a_user_is_cut_and_the_result_is_whole():
    note = with_result("x" * 2000, "better")
    assert len(note) == 1000
    assert note.endswith("x\nResult: better")
