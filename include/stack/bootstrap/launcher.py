"""The launcher: sets up the virtual environments, then hands over. Needs only the standard library."""

import contextlib
import difflib
import os
import sys
import tomllib
from pathlib import Path
from typing import NoReturn

from heartline.errors import HeartlineError
from stack.bootstrap import offline, set_up
from stack.bootstrap.environments import Environment, child_environment, ensure
from stack.errors import Exit, StackError, UsageError, from_os_error
from stack.locks import exclusive
from stack.secrets import env_file
from stack.settings import (
    REQUIREMENTS,
    ROOT,
    SERVING_REQUIREMENTS,
    SERVING_VENV,
    STATE,
    TEST_REQUIREMENTS,
    VENV,
    check_name,
    own_folder,
    state_folder,
)

COMMANDS = {
    "up": "Start the stack, train a model if there is none, and print a prediction.",
    "train": "Start a training run and follow it.",
    "mapping": "Write a first draft of a mapping for a file with other columns or words.",
    "predict": "Ask the service for a prediction.",
    "score": "Score the records of a file with a registered version.",
    "promote": "Put a registered version into production.",
    "rollback": "Put the previous version back into production.",
    "history": "Show who registered, approved and moved which version, when and why.",
    "monitor": "Show whether the model is still right, and the open alarms.",
    "export": "Write a version's training and test rows as CSV: X_train, X_test, y_train, y_test.",
    "status": "Show each process of the stack, and the version in production.",
    "db": "Open psql on the stack's database, or run one SQL command.",
    "forget": "Erase the predictions of one person from the prediction log.",
    "export-person": "Write all that the prediction log holds of one person to a JSON file.",
    "logs": "Show the logs of the processes.",
    "keys": "Create, list and revoke API keys of the service.",
    "bundle": "Write all that a machine without a network needs: packages, their list, this source.",
    "init": "Generate the secrets for docker compose.",
    "down": "Stop the stack.",
    "test": "Run lint, type checks and tests; --all includes the tests that start the stack.",
}

HELP = f"""Heartline: patient records in, a served heart-disease model out.

Usage: ./heartline COMMAND [OPTIONS]

{chr(10).join(f"  {name:<15}{line}" for name, line in COMMANDS.items())}

`./heartline COMMAND --help` shows its options, `./heartline --version` the version.
Exit codes: 0 success, 1 failed, 2 usage, 3 machine or set-up, 4 in use, 5 not healthy, 130 interrupted.
"""

_HELP_FLAGS = {"-h", "--help"}
_VERSION_FLAGS = {"-V", "--version"}

MAIN = Environment(ROOT / VENV, (ROOT / REQUIREMENTS,))
SERVING = Environment(ROOT / SERVING_VENV, (ROOT / SERVING_REQUIREMENTS,))
TESTING = Environment(ROOT / VENV, (ROOT / REQUIREMENTS, ROOT / TEST_REQUIREMENTS))
NEEDS = {"up": (MAIN, SERVING), "test": (TESTING, SERVING)}
TAKE_OFFLINE = ("up", "test")  # the option; the setting holds for every command


def main(arguments: list[str]) -> int:
    """Run a command that needs no packages, or set up and hand over to ``stack.commands.cli``.

    Returns:
        The exit code; does not return if it hands over.
    """
    try:
        return _launch(arguments)
    except OSError as error:
        return _fail(from_os_error(error))
    except HeartlineError as error:
        return _fail(error)
    except KeyboardInterrupt:
        print("\nheartline: interrupted; the next call continues from here", file=sys.stderr)
        return Exit.INTERRUPTED


def _launch(arguments: list[str]) -> int:
    command = arguments[0] if arguments else "--help"
    if command in _HELP_FLAGS:
        print(HELP, end="")
        return Exit.OK
    if command in _VERSION_FLAGS:
        print(f"heartline {version(ROOT)}")
        return Exit.OK
    if command not in COMMANDS:
        near = difflib.get_close_matches(command, COMMANDS, n=1)
        raise UsageError(
            f"there is no command {command!r}",
            where="command line",
            expected="one of " + ", ".join(COMMANDS),
            hint=f"did you mean {near[0]!r}?" if near else "see ./heartline --help",
        )
    without_network = _offline(command, arguments[1:])
    asked_for_help = bool(_HELP_FLAGS & set(arguments[1:2]))
    if asked_for_help and not MAIN.exists():
        print(f"{COMMANDS[command]}\n\nIts options are shown once `./heartline up` has set this clone up.")
        return Exit.OK
    if command == "init" and len(arguments) == 1:
        print(env_file.summary(env_file.init(ROOT)))
        return Exit.OK
    if command in NEEDS and not asked_for_help:
        _set_up(command, from_wheels=without_network)
    elif not MAIN.exists():
        set_up.wait(ROOT / STATE)
        if not MAIN.exists():
            return _without_packages(command, arguments[1:])
    return _hand_over(arguments)


def _offline(command: str, options: list[str]) -> bool:
    without_network = offline.wanted(options if command in TAKE_OFFLINE else (), os.environ, ROOT)
    if without_network:
        os.environ[offline.SETTING] = "yes"  # for the command and the processes that it starts
    return without_network


def version(root: Path) -> str:
    """Return the version of this clone, from ``pyproject.toml``."""
    return str(tomllib.loads((root / "pyproject.toml").read_text())["project"]["version"])


def _without_packages(command: str, options: list[str]) -> int:
    """Stop what runs, if `down` is called; the other commands need packages."""
    if command != "down":
        print("nothing has been set up here yet: ./heartline up", file=sys.stderr)
        return Exit.UNHEALTHY
    if options:
        raise UsageError(
            "the packages that this needs are not installed",
            where=f"command line: heartline down {' '.join(options)}",
            expected="down without options, which also works without packages",
            hint="./heartline down; to delete the data too, ./heartline up and then ./heartline down --purge",
        )
    ended = set_up.stop_stack(state_folder(os.environ, ROOT))
    print(f"stopped: processes {', '.join(map(str, ended))}" if ended else "nothing was running", file=sys.stderr)
    return Exit.OK


def _hand_over(arguments: list[str]) -> NoReturn:
    python = str(MAIN.python)
    environment = child_environment(PYTHONPATH=str(ROOT / "include"), PYTHONSAFEPATH="1", PYTHONNOUSERSITE="1")
    os.execve(python, [python, "-m", "stack", *arguments], environment)  # noqa: S606 - no shell is wanted


def _set_up(command: str, *, from_wheels: bool) -> None:
    if all(environment.ready() for environment in NEEDS[command]):
        return
    check_name(ROOT, "the clone")
    own_folder(ROOT / STATE)
    set_up.wait(ROOT / STATE)
    with exclusive(ROOT / STATE / set_up.LOCK, command, with_children=True):
        ensure(ROOT, NEEDS[command], _say, from_wheels=from_wheels)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _fail(error: HeartlineError) -> int:
    with contextlib.suppress(BrokenPipeError):
        print(f"heartline: {error}", file=sys.stderr)
    return error.code if isinstance(error, StackError) else Exit.FAILED
