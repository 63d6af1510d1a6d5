"""Which checks `./heartline test` runs, and how it reports them."""

import subprocess

import pytest

from stack import console
from stack.commands import test
from stack.errors import Exit, UsageError, WorkError


@pytest.fixture
def calls(monkeypatch):
    """Record the commands instead of running them. A command fails if one of its words is in ``calls.broken``."""

    class Calls(list):
        broken = ()

    made = Calls()

    def run(command, **_):
        made.append(tuple(command[1:]))
        code = int(any(word in made.broken for word in command))
        return subprocess.CompletedProcess(command, code, stdout="the type check's output\n")

    monkeypatch.setattr(test.subprocess, "run", run)
    monkeypatch.setattr(console.err, "quiet", True)
    return made


def test_without_arguments_the_fast_checks_run(calls, capsys):
    test.run(())
    assert sorted(calls) == sorted([test.LINT, test.FORMAT, test.TYPES, test.FAST_TESTS])
    assert capsys.readouterr().out == "the type check's output\n"


def test_all_adds_the_slow_tests_and_those_of_the_stack(calls):
    test.run((), everything=True)
    assert sorted(calls) == sorted([test.LINT, test.FORMAT, test.TYPES, test.ALL_BUT_STACK_TESTS, test.STACK_TESTS])
    assert calls[-1] == test.STACK_TESTS, "the stack's tests run alone"


def test_the_tiers_leave_out_no_test():
    selected = [command[-1] for command in (test.FAST_TESTS, test.ALL_BUT_STACK_TESTS, test.STACK_TESTS)]
    assert selected == [
        "not browser and not compose and not stack and not slow",
        "not browser and not compose and not stack",
        "not browser and not compose and stack",
    ]


def test_with_arguments_only_pytest_runs_and_gets_them(calls):
    test.run(("tests/unit", "-x", "-m", "slow"))
    assert calls == [("-m", "pytest", "tests/unit", "-x", "-m", "slow")]


def test_all_checks_run_although_one_fails(calls):
    calls.broken = ("ruff", "pytest")
    with pytest.raises(WorkError) as caught:
        test.run((), everything=True)
    assert caught.value.what == "failed checks: lint, format, tests, stack tests"
    assert caught.value.code == Exit.FAILED
    assert len(calls) == 5


def test_a_failed_type_check_is_reported_after_the_tests(calls, capsys):
    calls.broken = ("mypy",)
    with pytest.raises(WorkError, match="failed checks: types"):
        test.run(())
    assert "the type check's output" in capsys.readouterr().out


def test_all_takes_no_arguments_for_pytest(calls):
    with pytest.raises(UsageError, match="--all takes no arguments"):
        test.run(("tests/unit",), everything=True)
    assert calls == []
