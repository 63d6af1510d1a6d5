"""The launcher before there is a virtual environment."""

import fcntl
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from stack.bootstrap.launcher import COMMANDS
from stack.commands.cli import cli
from tests.running import ROOT

LAUNCHER = ROOT / "heartline"

# Runs the launcher as if by another version of Python.
DISGUISED = (
    "import sys, runpy; sys.version_info = ({version}, 0, 'final', 0); runpy.run_path({path!r}, run_name='__main__')"
)


@pytest.fixture
def clone(tmp_path):
    """A clone in which nothing was set up."""
    shutil.copy(LAUNCHER, tmp_path)
    shutil.copytree(ROOT / "include", tmp_path / "include", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def call(folder, *arguments, path="/usr/bin:/bin", python=sys.executable):
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HEARTLINE_")}
    return subprocess.run(
        [python, str(folder / "heartline"), *arguments],
        env=kept | {"PATH": path},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def disguised(version, path):
    code = DISGUISED.format(version=version, path=str(LAUNCHER))
    return subprocess.run(
        [sys.executable, "-c", code, "--help"],
        env={"PATH": path},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_help_needs_no_set_up(clone):
    for arguments in ([], ["--help"], ["-h"]):
        done = call(clone, *arguments)
        assert done.returncode == 0
        assert all(f"  {name}" in done.stdout for name in COMMANDS)
    assert not (clone / ".venv").exists()
    assert not (clone / ".heartline").exists()


def test_help_of_a_command_needs_no_set_up(clone):
    for name, line in COMMANDS.items():
        done = call(clone, name, "--help")
        assert (done.returncode, done.stdout.splitlines()[0]) == (0, line)
    assert not (clone / ".venv").exists()


def test_the_launcher_and_the_command_line_know_the_same_commands():
    assert list(COMMANDS) == list(cli.commands)


def test_every_command_describes_itself():
    for command in cli.commands.values():
        assert command.help
        assert all(option.help for option in command.params if option.param_type_name == "option")


def test_an_unknown_command_is_named_with_a_near_one(clone):
    done = call(clone, "statsu")
    assert done.returncode == 2
    assert done.stderr.startswith("heartline: there is no command 'statsu'")
    assert "did you mean 'status'?" in done.stderr


@pytest.mark.parametrize(("command", "code"), [("status", 5), ("train", 5), ("logs", 5), ("down", 0)])
def test_without_a_set_up_commands_install_nothing(clone, command, code):
    done = call(clone, command)
    assert done.returncode == code
    nothing = "nothing was running" if command == "down" else "nothing has been set up here yet: ./heartline up"
    assert done.stderr == f"{nothing}\n"
    assert not (clone / ".venv").exists()


def test_down_stops_a_stack_whose_packages_are_gone(clone):
    """As while `./heartline test` installs packages anew, or after `rm -rf .venv`."""
    home, other = clone / ".heartline", clone / "other"
    stacks = [subprocess.Popen(["sleep", "300"], env={"HEARTLINE_STACK": str(one)}) for one in (home, home, other)]
    try:
        while any(b"HEARTLINE_STACK" not in Path(f"/proc/{one.pid}/environ").read_bytes() for one in stacks):
            time.sleep(0.01)
        done = call(clone, "down")
        assert done.returncode == 0
        assert done.stderr == f"stopped: processes {', '.join(str(one.pid) for one in stacks[:2])}\n"
        assert [one.wait(10) for one in stacks[:2]] == [-15, -15]
        assert stacks[2].poll() is None, "another stack's"
    finally:
        for one in stacks:
            one.kill()
            one.wait()


def test_purge_without_packages_is_refused_and_deletes_nothing(clone):
    (clone / ".heartline").mkdir()
    done = call(clone, "down", "--purge")
    assert done.returncode == 2
    assert "packages that this needs" in done.stderr
    assert (clone / ".heartline").exists()


@pytest.mark.parametrize("command", ["status", "down", "up"])
def test_while_packages_are_installed_a_command_says_so_and_waits(clone, command):
    (clone / ".heartline").mkdir()
    (clone / ".heartline" / "HEARTLINE").touch()
    (clone / "requirements.txt").unlink(missing_ok=True)
    with (clone / ".heartline" / "setup.lock").open("w") as lock:
        lock.write("`heartline test`, process 4711, since 14:02:00\n")
        lock.flush()
        fcntl.flock(lock, fcntl.LOCK_EX)
        waiting = subprocess.Popen(
            [sys.executable, str(clone / "heartline"), command], stderr=subprocess.PIPE, text=True, env={"PATH": "/bin"}
        )
        said = waiting.stderr.readline()
        assert said.startswith("`heartline test`, process 4711, since 14:02:00, is installing packages; waiting")
        assert waiting.poll() is None
    rest = waiting.communicate(timeout=60)[1]
    expected = {"status": (5, "nothing has been set up"), "down": (0, "nothing was running"), "up": (3, "requirements")}
    assert waiting.returncode == expected[command][0]
    assert expected[command][1] in rest


def test_the_version_is_that_of_the_project(clone):
    shutil.copy(ROOT / "pyproject.toml", clone)
    done = call(clone, "--version")
    assert done.returncode == 0
    assert f'version = "{done.stdout.split()[1]}"' in (ROOT / "pyproject.toml").read_text()


def test_a_missing_lock_is_named(clone):
    done = call(clone, "up")
    assert done.returncode == 3
    assert str(clone / "requirements.txt") in done.stderr


def test_an_unsuitable_python_is_reported_in_one_line(tmp_path):
    for version in ("3, 8", "3, 10", "3, 14", "2, 7"):
        done = disguised(version, str(tmp_path))
        assert done.returncode == 3
        assert done.stdout == ""
        (line,) = done.stderr.splitlines()
        assert line.startswith("heartline: needs Python 3.11 to 3.13, this is " + version.replace(", ", "."))


def test_a_suitable_python_on_path_takes_over(tmp_path):
    name = f"python3.{sys.version_info.minor}"
    stub = tmp_path / "stubs" / name  # as of a version manager that has not got this version
    stub.parent.mkdir()
    stub.write_text("#!/bin/sh\nexit 127\n")
    stub.chmod(0o755)
    (tmp_path / name).symlink_to(sys.executable)
    done = disguised("3, 8", f"{stub.parent}:{tmp_path}")
    assert done.returncode == 0
    assert done.stderr.startswith("heartline: this is Python 3.8, continuing with ")
    assert done.stdout.startswith("Heartline: ")


def test_real_old_pythons_can_read_the_launcher(need, tmp_path):
    names = ["python2.7", "python3.6", "python3.8", "python3.9", "python3.10"]
    versions = Path.home() / ".pyenv" / "versions"
    places = [place for name in names for place in (shutil.which(name), *versions.glob(f"{name[6:]}.*/bin/{name}"))]
    works = [str(place) for place in places if place and not subprocess.run([place, "-c", ""], check=False).returncode]
    need(works, "one of " + ", ".join(names))
    for python in works:
        done = call(ROOT, "--help", path=str(tmp_path), python=python)
        assert done.returncode == 3
        assert len(done.stderr.splitlines()) == 1
