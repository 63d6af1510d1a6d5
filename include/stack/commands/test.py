"""`heartline test`: lint, types and tests, as continuous integration runs them."""

import subprocess
import sys
import time
from collections.abc import Sequence

from stack import console
from stack.bootstrap.environments import child_environment
from stack.errors import WorkError
from stack.settings import ROOT

PYTEST = ("-m", "pytest")
ALL = (
    ("lint", ("-m", "ruff", "check", ".")),
    ("format", ("-m", "ruff", "format", "--check", ".")),
    ("types", ("-m", "mypy", "--strict", "include", "serving")),
    ("tests", PYTEST),
)


def run(arguments: Sequence[str]) -> None:
    """Run all checks, also after one has failed; with arguments only pytest, which gets them.

    Raises:
        WorkError: a check failed; what it said stands above.
    """
    wanted = [("tests", (*PYTEST, *arguments))] if arguments else ALL
    failed = [name for name, command in wanted if not _passes(name, command)]
    if failed:
        raise WorkError(
            f"red: {', '.join(failed)}",
            where="what they said stands above",
            expected="every check to pass",
            hint="correct it, then ./heartline test again",
        )


def _passes(name: str, command: Sequence[str]) -> bool:
    console.say(f"── {name}: {' '.join(command[1:])}")
    begun = time.monotonic()
    environment = child_environment(PYTHONPATH=str(ROOT / "include"), PYTHONNOUSERSITE="1")
    code = subprocess.run([sys.executable, *command], cwd=ROOT, env=environment, check=False).returncode
    if code == 0:
        console.done(name, time.monotonic() - begun)
    return code == 0
