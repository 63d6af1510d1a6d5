"""Environment variables that mark each process of a stack, and the path of a process's start file."""

import json
from collections.abc import Mapping
from pathlib import Path

# Set on every process of a stack, and on nothing else. Users never set them.
STACK_VARIABLE = "HEARTLINE_STACK"  # the state folder, absolute
PROCESS_VARIABLE = "HEARTLINE_PROCESS"  # the process's name, such as mlflow
DIGEST_VARIABLE = "HEARTLINE_PROCESS_DIGEST"  # sha256 of its definition

# A stack that an earlier release started, and that still runs, has these names. They are read, never written.
FORMER_NAMES = {PROCESS_VARIABLE: "HEARTLINE_PART", DIGEST_VARIABLE: "HEARTLINE_PART_DIGEST"}

SUPERVISOR = "supervisord"


def read_marker(environment: Mapping[str, str], variable: str) -> str | None:
    """Return the value of a marker, under its present or its former name; None where it is absent."""
    return environment.get(variable) or environment.get(FORMER_NAMES.get(variable, variable))


def started_with(home: Path, name: str) -> dict[str, str]:
    """Return the environment of process ``name`` as it was last started; empty where it never was."""
    try:
        found = json.loads(start_file(home, name).read_text())["environment"]
        return {str(variable): str(value) for variable, value in found.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def start_file(home: Path, name: str) -> Path:
    """Return the path of the file that says how process ``name`` is started."""
    return home / "run" / f"{name}.json"
