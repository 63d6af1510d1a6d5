"""`heartline test`: runs the lint, format and type checks, and the tests."""

import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from stack import console
from stack.bootstrap.environments import child_environment
from stack.errors import UsageError, WorkError
from stack.settings import ROOT

LINT = ("-m", "ruff", "check", ".")
FORMAT = ("-m", "ruff", "format", "--check", ".")
TYPES = ("-m", "mypy", "--strict", "include", "serving")
PYTEST = ("-m", "pytest")

# A worker for each logical CPU, at most 8: each takes up to 700 MB. The tests of a file run in one worker, because
# they share module fixtures. Files start in the order of tests/conftest.py, the longest first.
PARALLEL = (*PYTEST, "-n", "logical", "--maxprocesses", "8", "--dist", "loadfile", "--no-loadscope-reorder")
NO_ENGINE = "not browser and not compose"
FAST_TESTS = (*PARALLEL, "-m", f"{NO_ENGINE} and not stack and not slow")
ALL_BUT_STACK_TESTS = (*PARALLEL, "-m", f"{NO_ENGINE} and not stack")
STACK_TESTS = (*PYTEST, "-m", f"{NO_ENGINE} and stack")  # one after another: they share one running stack


def run(arguments: Sequence[str], *, everything: bool = False) -> None:
    """Run all checks, also after one has failed. With arguments, run only pytest, which gets them.

    The type check runs beside the tests; its output is printed after theirs.

    Args:
        arguments: pytest's command line.
        everything: also run the slow tests and those that start the stack.

    Raises:
        UsageError: ``everything`` and arguments are given.
        WorkError: a check failed; its output is printed above.
    """
    if everything and arguments:
        raise UsageError(
            "--all takes no arguments for pytest",
            where="command line: heartline test",
            expected="--all, or arguments for pytest",
            hint="remove one of them",
        )
    passed = {"tests": _run("tests", (*PYTEST, *arguments))} if arguments else _run_all(everything=everything)
    failed = [name for name, success in passed.items() if not success]
    if failed:
        raise WorkError(
            f"failed checks: {', '.join(failed)}",
            where="the output of these checks, above",
            expected="every check to pass",
            hint="fix the cause, then ./heartline test again",
        )


def _run_all(*, everything: bool) -> dict[str, bool]:
    """Run each check and return, by its name, whether it passed."""
    passed = {"lint": _run("lint", LINT), "format": _run("format", FORMAT)}
    with ThreadPoolExecutor(1) as pool:
        types = pool.submit(_capture, TYPES)
        passed["tests"] = _run("tests", ALL_BUT_STACK_TESTS if everything else FAST_TESTS)
        passed["types"] = _report("types", TYPES, *types.result())
    if everything:
        passed["stack tests"] = _run("stack tests", STACK_TESTS)
    return passed


def _run(name: str, command: Sequence[str]) -> bool:
    """Run a check in the foreground; its output is shown while it runs."""
    _announce(name, command)
    started = time.monotonic()
    code = subprocess.run([sys.executable, *command], cwd=ROOT, env=_environment(), check=False).returncode
    if code == 0:
        console.done(name, time.monotonic() - started)
    return code == 0


def _capture(command: Sequence[str]) -> tuple[int, str, float]:
    """Run a check in the background; return its exit code, its output and the seconds that it took."""
    started = time.monotonic()
    ended = subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        env=_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return ended.returncode, ended.stdout, time.monotonic() - started


def _report(name: str, command: Sequence[str], code: int, output: str, seconds: float) -> bool:
    _announce(name, command)
    print(output, end="", flush=True)
    if code == 0:
        console.done(name, seconds)
    return code == 0


def _announce(name: str, command: Sequence[str]) -> None:
    console.say(f"── {name}: {' '.join(command[1:])}")


def _environment() -> dict[str, str]:
    return child_environment(PYTHONPATH=str(ROOT / "include"), PYTHONNOUSERSITE="1")
