"""The tiers of the tests: each test belongs to one, selected by markers; and the order of the files."""

import itertools
import re
import tomllib
from types import SimpleNamespace

import pytest

from stack.commands.test import ALL_BUT_STACK_TESTS, FAST_TESTS, STACK_TESTS
from tests.conftest import LONGEST_FILES, ROOT, pytest_collection_modifyitems

MARKERS = ("slow", "stack", "browser", "compose")
# The expression that selects each tier.
TIERS = {
    "fast": FAST_TESTS[-1],
    "slow": f"{ALL_BUT_STACK_TESTS[-1]} and slow",
    "stack": STACK_TESTS[-1],
    "browser": "browser",
    "compose": "compose",
}


def tiers_of(markers):
    """The tiers that select a test with these markers. An expression of markers is a boolean expression of Python."""
    values = {name: name in markers for name in MARKERS}
    return [tier for tier, expression in TIERS.items() if eval(expression, {}, values)]


class Item(SimpleNamespace):
    def __init__(self, path, *fixtures):
        super().__init__(path=ROOT / path, fixturenames=fixtures, markers=[])

    def add_marker(self, marker):
        self.markers.append(marker.name)


def test_a_test_that_uses_the_running_stack_gets_the_marker_stack():
    items = [Item("a.py", "running", "tmp_path"), Item("b.py", "tmp_path")]
    pytest_collection_modifyitems(items)
    assert [item.markers for item in items] == [["stack"], []]


def test_the_longest_files_come_first_and_the_others_keep_their_order():
    items = [Item("b.py"), Item("a.py"), Item(LONGEST_FILES[1]), Item(LONGEST_FILES[0])]
    first = items[:]
    pytest_collection_modifyitems(items)
    assert items == [first[3], first[2], first[0], first[1]]


@pytest.mark.parametrize("name", LONGEST_FILES)
def test_each_of_the_longest_files_exists(name):
    assert (ROOT / name).is_file()


def test_each_collected_test_belongs_to_exactly_one_tier(collected):
    assert {name: tiers_of(markers) for name, markers in collected.items() if len(tiers_of(markers)) != 1} == {}


@pytest.mark.parametrize("count", range(len(MARKERS) + 1))
def test_each_combination_of_markers_but_browser_with_compose_is_one_tier(count):
    for markers in itertools.combinations(MARKERS, count):
        assert len(tiers_of(markers)) == (2 if {"browser", "compose"} <= set(markers) else 1), markers


def test_each_marker_of_the_project_is_known_here():
    options = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]
    assert {marker.partition(":")[0] for marker in options["markers"]} == set(MARKERS)


def test_continuous_integration_runs_each_tier():
    commands = re.findall(r"^\./heartline test (.+)$", (ROOT / ".ci" / "run").read_text(), re.MULTILINE)
    assert commands == ["--all", "-m browser", "-m compose"]
