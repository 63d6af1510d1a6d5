"""Whether a clone works offline, and where its packages come from then."""

import json

import pytest

from stack.bootstrap import offline
from stack.errors import MachineError, UsageError


@pytest.fixture
def bundle(tmp_path):
    """A folder as ``heartline bundle`` writes it, for Python 3.11 and 3.13."""
    (tmp_path / "wheels").mkdir()
    (tmp_path / "wheels" / "bundle.json").write_text(json.dumps({"pythons": ["3.11", "3.13"]}))
    return tmp_path


@pytest.mark.parametrize(
    ("options", "setting", "expected"),
    [
        ([], None, False),
        ([], "", False),
        (["--offline"], None, True),
        (["--offline"], "no", True),
        ([], "yes", True),
        ([], "no", False),
    ],
)
def test_a_clone_is_offline_by_the_option_or_the_setting(tmp_path, options, setting, expected):
    assert offline.wanted(options, {} if setting is None else {"HEARTLINE_OFFLINE": setting}, tmp_path) is expected


@pytest.mark.parametrize(("setting", "expected"), [(None, True), ("", True), ("yes", True), ("no", False)])
def test_a_bundle_is_offline_by_itself(bundle, setting, expected):
    assert offline.wanted([], {} if setting is None else {"HEARTLINE_OFFLINE": setting}, bundle) is expected


def test_another_value_is_refused(tmp_path):
    with pytest.raises(UsageError, match="'maybe' is neither yes nor no"):
        offline.wanted([], {"HEARTLINE_OFFLINE": "maybe"}, tmp_path)


def test_the_packages_of_this_python_come_from_the_bundle(bundle):
    assert offline.wheels(bundle, (3, 13)) == bundle / "wheels"


def test_a_python_that_was_not_bundled_is_named_with_those_that_were(bundle):
    with pytest.raises(MachineError, match=r"no packages for Python 3\.12") as caught:
        offline.wheels(bundle, (3, 12))
    assert caught.value.expected == "Python 3.11 or 3.13"
    assert "--python 3.12" in caught.value.hint


def test_without_a_bundle_the_option_says_what_is_missing(tmp_path):
    with pytest.raises(MachineError, match="no packages to install from"):
        offline.wheels(tmp_path)
