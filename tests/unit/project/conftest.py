"""The markers of all tests that this run collected."""

from __future__ import annotations

import pytest

COLLECTED = pytest.StashKey[dict[str, set[str]]]()


# After the hook of tests/conftest.py, which sets the marker `stack`, and before pytest deselects by marker.
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    config.stash[COLLECTED] = {item.nodeid: {marker.name for marker in item.iter_markers()} for item in items}


@pytest.fixture
def collected(pytestconfig: pytest.Config) -> dict[str, set[str]]:
    """Return the markers of each collected test by its id, including the tests that are not selected."""
    return pytestconfig.stash[COLLECTED]
