"""Runs every command of the README as it is written there."""

import re
import subprocess

import pytest
import requests

from tests.conftest import ROOT
from tests.running import Running

BLOCK = re.compile(r"```sh(?P<tier> compose)?\n(?P<commands>.*?)```", re.DOTALL)
README = (ROOT / "README.md").read_text()
# it runs this test
OURSELVES = "./heartline test"


def _commands() -> list[str]:
    blocks = [found["commands"] for found in BLOCK.finditer(README) if not found["tier"]]
    joined = re.sub(r"'[^']*'", lambda quoted: quoted[0].replace("\n", "\\n"), "".join(blocks))
    lines = [line.split("   #")[0].strip().replace("\\n", "\n") for line in joined.splitlines()]
    return [line for line in lines if line and not line.startswith(OURSELVES)]


@pytest.fixture(scope="module")
def fresh(tmp_path_factory):
    stack = Running(tmp_path_factory.mktemp("readme") / "home")
    yield stack
    stack.call("down", "--purge")
    assert not stack.home.exists()


def test_commands_are_found():
    commands = _commands()
    assert commands[0] == "./heartline up"
    assert any(command.startswith("curl") and '"thal": 7' in command for command in commands)


@pytest.mark.stack
def test_every_command_of_the_readme_works(fresh):
    printed = {}
    for command in _commands():
        here = command.replace("127.0.0.1:8080", f"127.0.0.1:{fresh.ports['SERVICE']}")
        done = subprocess.run(
            ["bash", "-euc", here],
            cwd=ROOT,
            env=fresh.environment,
            capture_output=True,
            text=True,
            timeout=1500,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        printed[command] = done.stdout + done.stderr

    assert '"has_heart_disease"' in printed["./heartline up"]
    assert requests.get(fresh.url("SERVICE", "/readyz"), timeout=10).status_code == 200


def test_every_command_and_setting_of_the_launcher_is_in_the_readme():
    from stack.bootstrap.launcher import COMMANDS
    from stack.settings import PORTS

    for command in COMMANDS:
        assert f"`./heartline {command}" in README
    for setting in PORTS:
        assert setting in README


def test_pictures_and_links_of_the_pages_exist():
    listed = subprocess.run(["git", "ls-files", "*.md"], cwd=ROOT, capture_output=True, text=True, check=True)
    pages = listed.stdout.split()
    assert len(pages) >= 14
    for page in pages:
        text = (ROOT / page).read_text()
        for target in re.findall(r"\]\((?!http)([^)#]+)", text):
            assert ((ROOT / page).parent / target).exists(), f"{page}: {target}"
