"""`heartline forget` and `heartline export-person`: calls the service's program, which knows its log."""

import subprocess
import sys
from pathlib import Path

from stack.errors import UnhealthyError
from stack.processes.definitions import SERVICE
from stack.processes.lifecycle import Stack

MODULE = "serving.personal_data"


def call(stack: Stack, command: str, ids: tuple[str, ...], record: str | None, *options: str) -> int:
    """Run the program with the settings of the service, and return its exit code.

    Args:
        stack: the stack.
        command: ``forget`` or ``export``.
        ids: of predictions.
        record: a file with one record, or None.
        options: further options of the program.

    Raises:
        UnhealthyError: the stack was never started.
    """
    definition = next(one for one in stack.definitions() if one.name == SERVICE)
    python = definition.command[0]
    if not Path(python).exists():
        raise UnhealthyError(
            "the service is not installed",
            where=python,
            expected="the environment that ./heartline up makes",
            hint="./heartline up",
        )
    sys.stdout.flush()
    asked = [*options, *(["--record", _absolute(record)] if record else []), "--", *ids]
    # the service's environment has PYTHONSAFEPATH, with which Python does not look into the present folder
    environment = {**definition.environment(), "PYTHONPATH": str(definition.folder)}
    done = subprocess.run([python, "-m", MODULE, command, *asked], env=environment, cwd=definition.folder, check=False)
    return done.returncode


def _absolute(file: str) -> str:
    return file if file == "-" else str(Path(file).absolute())
