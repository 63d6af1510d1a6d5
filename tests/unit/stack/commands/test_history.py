"""`heartline history`: all entries, the state at a time, and the verification."""

import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from heartline.errors import LedgerError
from heartline.registry.production import alias_history
from stack.clients.mlflow import Registry
from stack.commands import cli, history, promote
from stack.errors import Exit
from stack.processes import lifecycle
from tests.memory_ledger import MemoryLedger
from tests.unit.stack.fake_registry import FakeRegistry


@pytest.fixture
def ledger():
    return MemoryLedger()


@pytest.fixture
def registry(settings, ledger):
    return Registry(settings.mlflow_url, ledger=ledger)


@pytest.fixture
def fake(settings, answers, ledger):
    """A registry in which anna put version 1 and then version 2 into production."""
    made = FakeRegistry(answers(settings.mlflow_port), {"1": "uci", "2": "file", "3": "uci"}, "", "")
    made.ledger = ledger
    return made


@pytest.fixture
def moved(fake, registry, ledger):
    ledger.append("registered", by="run r", version="1", facts={"family": "forest", "verdict": "better"})
    promote.promote(registry, "1", by="anna")
    ledger.append("approved", by="bea", version="2", facts={"reason": "better for women"})
    promote.promote(registry, "2", by="anna")
    return fake


@pytest.fixture
def call(settings, moved, monkeypatch, capsys):
    """Run the command line in the state folder of the fake registry, and return its exit code and output."""
    monkeypatch.setenv("HEARTLINE_HOME", str(settings.home))
    for name in ("airflow", "mlflow", "service", "postgres"):
        monkeypatch.setenv(f"HEARTLINE_{name.upper()}_PORT", str(getattr(settings, f"{name}_port")))
    monkeypatch.setattr(lifecycle, "Store", lambda url: moved.ledger)
    monkeypatch.setattr(lifecycle, "alias_lock_url", lambda server, credentials: "")

    def run(*arguments):
        monkeypatch.setattr("sys.argv", ["heartline", *arguments])
        code = cli.main()
        printed = capsys.readouterr()
        return code, printed.out + printed.err

    return run


def test_all_entries_are_shown_the_last_one_first(call):
    code, said = call("history")
    lines = [" ".join(line.split()[3:]) for line in said.splitlines()[1:]]
    assert code == Exit.OK
    assert lines == [
        "anna moved production from version 1 to version 2 (promote)",
        "bea approved version 2: better for women",
        "anna moved production from no version to version 1 (promote)",
        "run r registered version 1 (forest, better)",
    ]


def test_json_has_all_entries_and_of_moves_the_fields_of_before(call, ledger):
    code, said = call("history", "--json")
    found = json.loads(said)
    assert code == Exit.OK
    assert [(one["number"], one["kind"]) for one in found] == [
        (6, "moved"),
        (5, "moving"),
        (4, "approved"),
        (3, "moved"),
        (2, "moving"),
        (1, "registered"),
    ]
    last = found[0]
    wanted = {"number": 6, "from": "1", "to": "2", "by": "anna", "how": "promote", "forced": False, "origin": "file"}
    assert last.items() >= wanted.items()
    assert datetime.fromisoformat(last["when"]) == ledger.kept[-1].at
    assert found[2]["facts"] == {"reason": "better for women"}
    assert found[2]["sentence"] == "bea approved version 2: better for women"
    assert [one["hash"] for one in found] == [one.hash for one in ledger.kept[::-1]]


def test_a_move_in_mlflow_is_entered_and_shown(call, moved):
    moved.aliases["production"] = "3"
    _, said = call("history")
    assert "an unknown user moved production from version 2 to version 3 (moved outside" in said


def test_an_announced_move_that_was_not_made_is_shown(call, ledger):
    ledger.append("moving", by="carl", version="3", facts={"alias": "production", "from": "2", "to": "3"})
    assert "carl is about to move production from version 2 to version 3" in call("history")[1]


def test_the_state_at_a_time(call, ledger):
    times = [datetime(2026, 3, day, 12, tzinfo=UTC) for day in range(1, 7)]
    ledger.kept[:] = [replace(one, at=at) for one, at in zip(ledger.kept, times, strict=True)]
    ledger.clock = lambda: datetime(2026, 3, 7, tzinfo=UTC)
    ledger.append("served", by="service on ward-1", version="2")
    code, said = call("history", "--at", "2026-03-05")
    assert code == Exit.OK
    assert said.splitlines() == [
        "2026-03-05 00:00:00 UTC: version 1 was in production",
        "since 2026-03-03 12:00:00 UTC: anna moved production from no version to version 1 (promote)",
        "which version the service served is not known",
    ]
    code, said = call("history", "--at", "2026-03-08T01:00+01:00", "--json")
    found = json.loads(said)
    assert (found["at"], found["production"]["version"]) == ("2026-03-08T00:00:00.000000Z", "2")
    assert found["production"]["by"] == "anna"
    assert found["approval"]["facts"]["reason"] == "better for women"
    assert found["served"] == [{"host": "ward-1", "version": "2", "since": "2026-03-07T00:00:00.000000Z"}]
    assert "no move of production is known until then" in call("history", "--at", "2020-01-01")[1]


@pytest.mark.parametrize("time", ["yesterday", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
def test_a_time_that_is_none_is_refused(call, time):
    code, said = call("history", "--at", time)
    assert code == Exit.USAGE
    assert f"'{time}' is not a time" in said
    assert "2026-03-01" in said


def test_an_intact_ledger_is_verified_with_mlflow(call, ledger):
    code, said = call("history", "verify")
    assert code == Exit.OK
    assert said == f"the ledger is intact: 6 entries, the last one is 6 with hash {ledger.kept[-1].hash}\n"
    found = json.loads(call("history", "verify", "--json")[1])
    assert (found["intact"], found["entries"], found["compared_with_mlflow"], found["broken"]) == (True, 6, True, None)


def test_entries_that_are_added_during_a_verification_do_not_break_it(registry, moved, ledger):
    class Busy:
        """A ledger to which another writer adds an entry behind each of the first reads."""

        left = 4

        def head(self):
            return self.then_one_more(ledger.head())

        def entries(self):
            return self.then_one_more(ledger.entries())

        def then_one_more(self, found):
            if self.left:
                self.left -= 1
                ledger.append("served", by="service on ward-1", version="2")
            return found

    found = history.verify(Busy(), registry)
    assert found.broken is None
    assert len(found.entries) == 10


def test_an_altered_entry_is_named(call, ledger):
    ledger.kept[3] = replace(ledger.kept[3], by="eve")
    code, said = call("history", "verify")
    assert code == Exit.FAILED
    assert said.startswith("the ledger is not intact: entry 4 was altered")
    code, said = call("history", "verify", "--json")
    assert code == Exit.FAILED
    assert json.loads(said)["broken"]["number"] == 4


def test_a_rewritten_ledger_is_found_by_the_hash_in_mlflow(call, ledger, moved):
    noted = alias_history.noted_head(moved.kept)
    assert noted.number == 6
    entries, ledger.kept[:] = list(ledger.kept), []
    for one in entries:
        ledger.append(one.kind, by="eve", version=one.version, facts=one.facts)
    code, said = call("history", "verify")
    assert code == Exit.FAILED
    assert "entry 6 had the hash" in said


def test_verify_says_where_it_did_not_compare_and_writes_nothing(call, moved):
    moved.kept = None
    asked = len(moved.server.asked)
    code, said = call("history", "verify")
    assert code == Exit.OK
    assert "it was not compared with MLflow" in said
    assert not [what for what, _, _ in moved.server.asked[asked:] if what.startswith("POST")]


def test_without_mlflow_the_ledger_is_shown_with_a_warning(call, moved):
    moved.server.answers.clear()
    code, said = call("history")
    assert code == Exit.OK
    assert "a move that was made in MLflow since the last entry is not shown" in said
    assert "bea approved version 2" in said


@pytest.mark.parametrize("arguments", [("history",), ("history", "verify"), ("promote", "3"), ("rollback",)])
def test_a_database_that_is_away_has_the_error_shape_and_nothing_is_moved(call, ledger, moved, monkeypatch, arguments):
    def away(*_, **__):
        raise LedgerError("the ledger cannot be reached", where="PostgreSQL", expected="an answer", hint="wait")

    for name in ("append", "entries", "head"):
        monkeypatch.setattr(ledger, name, away)
    code, said = call(*arguments)
    assert code == Exit.UNHEALTHY
    assert "heartline: the ledger cannot be reached\n  where:" in said
    assert "Traceback" not in said
    assert moved.aliases["production"] == "2"


def test_a_pruned_ledger_says_so(ledger):
    ledger.append("pruned", by="heartline up", facts={"through": 7, "hash": "0" * 64, "days": 30})
    found = history.Verification(ledger.kept, None, True)
    assert found.as_dict()["pruned_through"] == 7
    assert "entries up to 7 were removed by HEARTLINE_LEDGER_DAYS" in found.lines()
