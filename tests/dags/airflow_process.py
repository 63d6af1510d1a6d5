"""Runs a script with Airflow in a process of its own: importing Airflow configures logging and takes settings."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.running import ROOT

DAGS = str(ROOT / "dags")
WITH_PLUGINS = {"AIRFLOW__CORE__PLUGINS_FOLDER": str(ROOT / "plugins")}


def result(
    script: str, *arguments: str, path: tuple[Path, ...] = (), stdin: str | None = None, **settings: str
) -> tuple[Any, str]:
    """Run a script, and return what it prints behind ``RESULT``, as JSON, and all that it has printed.

    Args:
        script: in Python.
        *arguments: its command line.
        path: folders that it imports from, beside ``include``.
        stdin: its input.
        **settings: its environment variables, beside those of this process that are not of Airflow or Heartline.

    Raises:
        AssertionError: it failed; the message is what it printed to stderr.
    """
    with tempfile.TemporaryDirectory() as home:
        done = subprocess.run(
            [sys.executable, "-c", script, *arguments],
            env={
                **{name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "HEARTLINE"))},
                "AIRFLOW_HOME": home,
                "AIRFLOW__CORE__LOAD_EXAMPLES": "false",
                "PYTHONPATH": os.pathsep.join(map(str, (ROOT / "include", *path))),
                **settings,
            },
            input=stdin,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    assert "RESULT" in done.stdout, done.stderr
    return json.loads(done.stdout.rsplit("RESULT", 1)[1]), done.stdout + done.stderr
