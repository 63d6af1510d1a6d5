"""A test is skipped only by the fixture ``need``, and fails instead where skips are not allowed."""

import re

import pytest

from tests.conftest import ROOT

SKIPS = re.compile(r"pytest\.(?:skip|importorskip|xfail)\(|mark\.(?:skip|skipif|xfail)\b|unittest\.skip")
# conftest.py: `need` itself; the benchmark reads Linux' clocks of other processes
ALLOWED = {"tests/conftest.py": 1, "tests/benchmarks/test_serving_benchmark.py": 1}


def test_what_is_absent_skips_a_test_and_fails_it_where_skips_are_not_allowed(need, monkeypatch):
    monkeypatch.delenv("HEARTLINE_NO_SKIPS", raising=False)
    with pytest.raises(pytest.skip.Exception, match="needs a thing"):
        need(False, "a thing")
    monkeypatch.setenv("HEARTLINE_NO_SKIPS", "1")
    with pytest.raises(pytest.fail.Exception, match=r"needs a thing.*HEARTLINE_NO_SKIPS"):
        need("", "a thing")


@pytest.mark.parametrize("no_skips", ["0", "1"])
def test_what_is_there_does_neither(need, monkeypatch, no_skips):
    monkeypatch.setenv("HEARTLINE_NO_SKIPS", no_skips)
    need("/usr/bin/thing", "a thing")


def test_no_test_is_skipped_in_another_way():
    paths = [path for path in sorted((ROOT / "tests").rglob("*.py")) if path.name != "test_skips.py"]
    assert len(paths) > 150
    counts = {str(path.relative_to(ROOT)): len(SKIPS.findall(path.read_text())) for path in paths}
    assert {name: count for name, count in counts.items() if count} == ALLOWED
