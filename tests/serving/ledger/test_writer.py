"""What the service enters in the ledger's table: once, in order, also after an outage, a kill and a restart."""

import logging
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from serving.ledger import database as ledger_database
from serving.prediction_log import connection
from tests.postgres import Postgres
from tests.serving.approvals import SECRET, approve
from tests.serving.fakes import RECORD, FakeRegistry, make_bundle
from tests.serving.gunicorns import WORKERS, Gunicorn
from tests.serving.ledger.workers import DIGESTS, NO_DATABASE, Start, entries
from tests.waiting import until


def test_swaps_and_refusals_are_entered(postgres: Postgres, worker: Start) -> None:
    one = worker(postgres.service_ledger_url).serve("1").refuse("2", "no approval")

    one.ledger.tick()

    assert entries(postgres) == [("served", "1"), ("refused", "2")]
    (served, refused) = entries(postgres, "by, writer, facts")
    assert served[:2] == refused[:2] == (f"service on {served[2]['host']}", "ledger_service")
    assert served[2]["digest"] == DIGESTS["1"]
    assert refused[2]["reason"] == "no approval"
    state = one.ledger.describe()
    assert (state.enabled, state.waiting, state.dropped, state.reason) == (True, 0, 0, None)


def test_while_the_database_is_away_events_are_kept_and_then_entered_in_order_with_their_time(
    postgres: Postgres, worker: Start, caplog: pytest.LogCaptureFixture
) -> None:
    postgres.stop()
    one, other = worker(postgres.service_ledger_url), worker(postgres.service_ledger_url)
    one.serve("1")
    other.serve("1").serve("2")
    one.ledger.tick()
    state = one.ledger.describe()
    assert (state.waiting, bool(state.reason), bool(state.unavailable_since)) == (2, True, True)
    one.refuse("3")

    postgres.start()
    caplog.set_level(logging.INFO)
    one.ledger.tick()
    other.ledger.tick()

    assert entries(postgres) == [("served", "1"), ("served", "2"), ("refused", "3")]
    assert [number for (number,) in entries(postgres, "number")] == [1, 2, 3]
    assert all(before for (before,) in entries(postgres, "(facts->>'when')::timestamptz < at"))
    assert "3 events are entered in the ledger; it could not be reached since" in caplog.text
    assert (one.ledger.describe().waiting, one.ledger.describe().unavailable_since) == (0, None)


def test_what_another_worker_has_entered_is_no_outage_any_more(postgres: Postgres, worker: Start) -> None:
    away, other = worker(NO_DATABASE).serve("1"), worker(postgres.service_ledger_url)
    away.ledger.tick()
    assert away.ledger.describe().reason

    other.ledger.tick()
    away.ledger.tick()

    assert away.ledger.describe().reason is None


def test_an_event_that_was_entered_without_a_confirmation_is_entered_once(
    postgres: Postgres, worker: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = worker(postgres.service_ledger_url).serve("1").serve("2")
    enter = ledger_database.LedgerDatabase.enter

    def entered_and_lost(self: Any, event: Any) -> None:
        enter(self, event)
        raise connection.DatabaseError("the connection broke")

    with monkeypatch.context() as broken:
        broken.setattr(ledger_database.LedgerDatabase, "enter", entered_and_lost)
        one.ledger.tick()
    assert one.ledger.describe().waiting == 2
    worker(postgres.service_ledger_url).ledger.tick()

    assert entries(postgres) == [("served", "1"), ("served", "2")]
    assert [number for (number,) in entries(postgres, "number")] == [1, 2]


def test_workers_that_enter_the_same_events_at_once_enter_them_once(postgres: Postgres, worker: Start) -> None:
    events = []
    for version in ("1", "2", "3", "4"):
        worker().serve(version).ledger._outbox.enter(events.append)
    databases = [ledger_database.LedgerDatabase(postgres.service_ledger_url) for _ in range(4)]
    threads = [threading.Thread(target=lambda one=one: [one.enter(event) for event in events]) for one in databases]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for database in databases:
        database.close()

    assert sorted(entries(postgres)) == [("served", version) for version in ("1", "2", "3", "4")]
    assert [number for (number,) in entries(postgres, "number")] == [1, 2, 3, 4]


def test_a_database_that_hangs_blocks_neither_the_poller_nor_the_stop(postgres: Postgres, worker: Start) -> None:
    one = worker(postgres.service_ledger_url).serve("1")
    one.ledger._database.seconds = 600
    postgres.freeze()
    try:
        one.ledger.start()
        thread = one.ledger._thread
        assert thread
        until(lambda: one.ledger._database._connection is not None)
        one.serve("2")  # from this thread, like the poller
        start_time = time.monotonic()
        one.ledger.stop()
        thread.join(300)
        assert time.monotonic() - start_time < 300, "it waited for the database"
    finally:
        postgres.thaw()
    assert one.ledger.describe().waiting == 2
    worker(postgres.service_ledger_url).ledger.tick()
    assert entries(postgres) == [("served", "1"), ("served", "2")]


def test_the_password_is_never_logged_or_returned(
    postgres: Postgres, worker: Start, caplog: pytest.LogCaptureFixture
) -> None:
    role, _, rest = postgres.service_ledger_url.partition("://")[2].partition(":")
    one = worker(f"postgresql://{role}:s3cret@{rest.partition('@')[2]}").serve("1")
    with caplog.at_level(logging.DEBUG):
        one.ledger.tick()

    reason = one.ledger.describe().reason
    assert reason
    assert "password authentication failed" in reason
    assert "s3cret" not in caplog.text + reason


@pytest.fixture
def service(registry: FakeRegistry, postgres: Postgres, tmp_path: Path) -> Iterator[Any]:
    """Start the service under gunicorn, with two workers that require approvals, with each call."""
    started: list[Gunicorn] = []

    def start(worker: str = "heartline") -> Gunicorn:
        started.append(
            Gunicorn(
                tmp_path,
                HEARTLINE_WORKER=worker,
                HEARTLINE_MLFLOW_URL=registry.url,
                HEARTLINE_POLL_SECONDS=0.2,
                HEARTLINE_REQUIRE_APPROVAL="yes",
                HEARTLINE_APPROVAL_SECRET=SECRET,
                HEARTLINE_LEDGER_URL=postgres.service_ledger_url,
            )
        )
        return started[-1]

    yield start
    for one in started:
        one.stop()


@pytest.mark.parametrize("worker", WORKERS)
def test_under_gunicorn_each_swap_and_refusal_is_entered_once(
    service: Any, registry: FakeRegistry, postgres: Postgres, worker: str
) -> None:
    # given two workers that serve an approved version
    approve(registry, registry.register(make_bundle()))
    running = service(worker)
    running.wait_until_it_answers()
    assert running.ask("/readyz")[1]["ledger"]["enabled"] is True

    # when the alias moves to a version without approval while the database is away, then the first is still served
    postgres.stop()
    registry.register(make_bundle(1.0))
    running.wait_until(lambda: running.log().count("refused: version 2: it is not approved") == 2)
    assert running.ask("/readyz")[0] == 200
    assert running.ask("/predict", RECORD)[1]["model"]["version"] == "1"

    # when a worker is killed, the version is approved, and the database is back
    os.kill(running.workers()[0], signal.SIGKILL)
    approve(registry, "2")
    running.wait_until(lambda: running.log().count("serving heart-disease version 2") >= 2)
    assert {running.ask("/predict", RECORD)[1]["model"]["version"] for _ in range(10)} == {"2"}
    postgres.start()
    until(lambda: len(entries(postgres)) >= 3, said=running.log)
    running.stop()

    # then a restart enters nothing
    again = service(worker)
    again.wait_until_it_answers()
    registry.register(make_bundle(2.0))
    again.wait_until(lambda: again.log().count("refused: version 3") == 2)
    until(lambda: len(entries(postgres)) >= 4, said=again.log)
    again.stop()
    assert entries(postgres) == [("served", "1"), ("refused", "2"), ("served", "2"), ("refused", "3")]
    assert [facts["previous"] for (facts,) in entries(postgres, "facts") if "previous" in facts] == ["", "1"]
    known = {"model", "version", "digest", "host", "when"}
    assert [set(facts) - known for (facts,) in entries(postgres, "facts")] == [
        {"alias", "previous", "since", "approved_by"},
        {"reason", "still_served"},
    ] * 2


def test_a_service_without_a_ledger_says_so(registry: FakeRegistry, tmp_path: Path) -> None:
    registry.register(make_bundle())
    running = Gunicorn(tmp_path, HEARTLINE_MLFLOW_URL=registry.url)
    try:
        running.wait_until_it_answers()
        assert running.ask("/readyz")[1]["ledger"] == {"enabled": False}
        assert "no ledger is written: HEARTLINE_LEDGER_URL is not set" in running.log()
    finally:
        running.stop()


def test_a_url_that_cannot_be_parsed_stops_the_service(tmp_path: Path) -> None:
    running = Gunicorn(tmp_path, HEARTLINE_LEDGER_URL="postgresql://me:s3cret%zz@host/db")

    assert running.process.wait(120) == 1
    assert "where:    HEARTLINE_LEDGER_URL" in running.log()
    assert "s3cret" not in running.log()
