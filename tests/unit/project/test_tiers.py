"""The tiers of the tests: the markers that select them, and the order of their files."""

from types import SimpleNamespace

import pytest

from tests.conftest import LONGEST_FILES, ROOT, pytest_collection_modifyitems


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
