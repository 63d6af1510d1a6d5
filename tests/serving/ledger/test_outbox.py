"""Which events a host keeps for the ledger, and that none is lost, repeated or moved."""

import logging
import multiprocessing
import os
import signal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from serving.ledger import outbox as ledger_outbox
from serving.ledger import writer
from serving.ledger.events import Event
from serving.ledger.outbox import Outbox
from serving.ledger.writer import Ledger
from serving.settings import Settings
from tests.serving.ledger.workers import DIGESTS, Start, Worker
from tests.waiting import until


def kept(worker: Worker) -> list[Event]:
    """Return the events on disk without entering them."""
    lines = worker.ledger._outbox._lines()
    return [msgspec.json.decode(line or b"", type=Event) for line in lines]


def short(worker: Worker) -> list[tuple[str, str]]:
    return [(event.kind, event.version) for event in kept(worker)]


def entered(worker: Worker) -> list[Event]:
    """Enter the events in a list instead of a database."""
    found: list[Event] = []
    worker.ledger._outbox.enter(found.append)
    return found


def test_a_swap_is_an_event(worker: Start) -> None:
    (event, second) = kept(worker().serve("1").serve("2", approved=True))

    assert (event.kind, event.version) == ("served", "1")
    assert event.by.startswith("service on ")
    facts = event.facts
    assert facts["host"] == event.by.removeprefix("service on ")
    assert (facts["version"], facts["digest"], facts["previous"]) == ("1", DIGESTS["1"], "")
    assert (facts["model"], facts["alias"], facts["approved_by"]) == ("heart-disease", "production", None)
    assert facts["when"] == facts["since"]
    assert facts["when"].endswith("+00:00")
    assert (second.facts["previous"], second.facts["approved_by"]) == ("1", "approver")
    assert event.key != second.key


def test_a_refusal_is_an_event_until_something_else_happens(worker: Start) -> None:
    one = worker().serve("1")
    for reason in ("no approval", "no approval", "wrong signature"):
        one.refuse("2", reason)
    assert [event.facts.get("reason") for event in kept(one)] == [None, "no approval", "wrong signature"]
    (_, event, _) = kept(one)
    assert (event.kind, event.version, event.facts["digest"]) == ("refused", "2", DIGESTS["2"])
    assert set(event.facts) == {"model", "version", "digest", "reason", "still_served", "when", "host"}
    assert event.facts["still_served"] == "1"

    one.follow(refusal=None).refuse("2", "wrong signature")  # the alias moved away and back

    assert short(one) == [("served", "1"), *[("refused", "2")] * 3]


def test_a_version_that_is_served_again_after_none_was_is_an_event(worker: Start) -> None:
    worker().serve("1")
    after = worker().refuse("1", "no approval (in the cache)").refuse("1", "no approval")

    after.serve("1")

    assert short(after) == [("served", "1"), *[("refused", "1")] * 2, ("served", "1")]
    assert kept(after)[1].facts["still_served"] == ""
    assert kept(after)[3].facts["previous"] == ""
    assert len({event.key for event in kept(after)}) == 4


def test_a_version_that_could_not_be_fetched_yet_is_not_refused(worker: Start) -> None:
    assert short(worker().refuse("1", "not fetched yet: no answer", passing=True)) == []


def test_a_reason_is_one_short_line(worker: Start) -> None:
    (event,) = kept(worker().refuse("1", "a\nb\x00" + "c" * 1000))

    assert event.facts["reason"] == "a b " + "c" * 496


def test_the_workers_of_a_host_enter_a_swap_once(worker: Start) -> None:
    workers = [worker() for _ in range(3)]
    for version in ("1", "2", "1"):
        for one in workers:
            one.serve(version)
    for one in workers:
        one.refuse("3", "no approval")

    assert short(workers[0]) == [("served", "1"), ("served", "2"), ("served", "1"), ("refused", "3")]
    assert len({event.key for event in kept(workers[0])}) == 4


def test_a_restart_is_no_swap_and_no_refusal(worker: Start) -> None:
    worker().serve("1").serve("2").refuse("3", "no approval")

    after = worker().serve("2").refuse("3", "no approval")

    assert short(after) == [("served", "1"), ("served", "2"), ("refused", "3")]


def test_a_served_version_whose_run_becomes_known_is_no_swap(worker: Start) -> None:
    assert short(worker().serve("1").serve("1")) == [("served", "1")]


def test_hosts_that_share_a_cache_enter_a_swap_each(worker: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    worker().serve("1")
    monkeypatch.setattr(writer.socket, "gethostname", lambda: "other")
    other = worker().serve("1")

    assert [event.by for event in kept(other)][1:] == ["service on other"]
    assert len({event.key for event in kept(other)}) == 2


def test_after_a_crash_between_event_and_history_the_event_has_the_same_key(
    worker: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = worker().serve("1")

    with monkeypatch.context() as broken:
        broken.setattr(Outbox, "_save", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            first.serve("2")
    after = worker().serve("2")

    assert short(after) == [("served", "1"), ("served", "2"), ("served", "2")]
    assert len({event.key for event in kept(after)}) == 2


def test_after_a_crash_another_swap_has_another_key(worker: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    first = worker().serve("1")
    with monkeypatch.context() as broken:
        broken.setattr(Outbox, "_save", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            first.serve("2")

    after = worker().serve("3")

    assert short(after) == [("served", "1"), ("served", "2"), ("served", "3")]
    assert len({event.key for event in kept(after)}) == 3


def test_a_deleted_cache_does_not_make_new_events_look_like_old_ones(worker: Start, settings: Settings) -> None:
    first = worker().serve("1")
    keys = {event.key for event in kept(first)}
    for path in (Path(settings.cache) / writer.FOLDER).iterdir():
        path.unlink()

    assert keys.isdisjoint({event.key for event in kept(worker().serve("1"))})


def test_events_stay_in_order_until_all_are_entered(worker: Start) -> None:
    one, other = worker().serve("1"), worker()
    other.serve("2")
    one.serve("3")
    seen: list[str] = []

    def fail_at_the_second(event: Event) -> None:
        if len(seen) == 1:
            raise ValueError
        seen.append(event.version)

    with pytest.raises(ValueError):
        one.ledger._outbox.enter(fail_at_the_second)
    assert [event.version for event in entered(other)] == ["1", "2", "3"]
    assert entered(one) == []
    assert one.ledger._outbox.waiting() == 0


def test_an_event_that_is_added_meanwhile_is_entered_too(worker: Start) -> None:
    one, other = worker().serve("1"), worker()
    seen: list[str] = []

    def add(event: Event) -> None:
        seen.append(event.version)
        if event.version == "1":
            other.serve("2")

    assert one.ledger._outbox.enter(add) == 2
    assert seen == ["1", "2"]


def test_one_worker_enters_at_a_time_and_the_others_do_not_wait(worker: Start) -> None:
    one, other = worker().serve("1"), worker()
    found: list[Any] = []

    one.ledger._outbox.enter(lambda event: found.append(other.ledger._outbox.enter(found.append)))

    assert found == [None]


def test_an_incomplete_event_of_a_killed_worker_does_not_damage_the_next(worker: Start, settings: Settings) -> None:
    one = worker().serve("1")
    path = Path(settings.cache) / writer.FOLDER / "events.spill"
    with path.open("ab") as file:
        file.write(b"0123abcd 1 {")

    assert short(one.serve("2")) == [("served", "1"), ("served", "2")]


def test_a_damaged_event_is_reported_and_the_others_are_entered(
    worker: Start, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    one = worker().serve("1").serve("2").serve("3")
    path = Path(settings.cache) / writer.FOLDER / "events.spill"
    path.write_bytes(path.read_bytes().replace(b'"version":"2"', b'"version":"7"'))

    assert [event.version for event in entered(one)] == ["1", "3"]
    assert "an event is not entered in the ledger, because it is damaged" in caplog.text


def test_damaged_histories_are_reported_and_the_version_is_entered_again(
    worker: Start, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    worker().serve("1")
    (Path(settings.cache) / writer.FOLDER / "history.json").write_text("[")

    assert short(worker().serve("1")) == [("served", "1"), ("served", "1")]
    assert "history.json cannot be read; the served version is entered again" in caplog.text


def test_the_events_on_disk_are_limited_and_a_lost_one_is_reported(
    worker: Start, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    one = worker().serve("1")
    monkeypatch.setattr(ledger_outbox, "LIMIT_BYTES", 500)

    one.serve("2")

    assert short(one) == [("served", "1")]
    assert one.ledger.describe().dropped == 1
    assert "an event is not entered in the ledger (version 2 is served): " in caplog.text
    monkeypatch.undo()
    assert short(worker().serve("2")) == [("served", "1"), ("served", "2")]


def test_a_folder_that_cannot_be_written_to_does_not_stop_the_poller(
    worker: Start, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    folder = Path(settings.cache) / writer.FOLDER
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.write_text("a file where a folder belongs")

    one = worker().serve("1")

    assert one.ledger.describe().dropped == 1
    assert "an event is not entered in the ledger" in caplog.text


def _swap_for_ever(settings: Settings, started: Any) -> None:
    worker = Worker(Ledger(settings))
    started.set()
    while True:
        for version in ("1", "2"):
            worker.serve(version)


def test_workers_that_are_killed_at_any_time_leave_a_complete_order(worker: Start, settings: Settings) -> None:
    changed = msgspec.structs.replace(settings, ledger_url="postgresql://x@127.0.0.1:1/x")
    context = multiprocessing.get_context("spawn")
    started = [context.Event() for _ in range(2)]
    processes = [context.Process(target=_swap_for_ever, args=(changed, one), daemon=True) for one in started]
    for process in processes:
        process.start()
    one = worker()
    for event in started:
        assert event.wait(120)
    until(lambda: one.ledger._outbox.waiting() > 50)
    for process in processes:
        assert process.pid
        os.kill(process.pid, signal.SIGKILL)
        process.join()

    events = {event.key: event for event in entered(one)}
    versions = [event.version for event in events.values()]
    assert versions == [str(1 + number % 2) for number in range(len(versions))]
    previous = [event.facts["previous"] for event in events.values()]
    assert previous == ["", *versions[:-1]]
    assert kept(one.serve("3"))[-1].facts["previous"] in versions[-2:]


def test_a_ledger_that_is_not_configured_writes_nothing(settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        ledger = Ledger(settings)
        ledger.start()
        Worker(ledger).serve("1").refuse("2")
        ledger.stop()

    assert msgspec.to_builtins(ledger.describe()) == {"enabled": False}
    assert not (Path(settings.cache) / writer.FOLDER).exists()


def test_a_bundle_of_the_settings_is_no_event(settings: Settings) -> None:
    assert not Ledger(msgspec.structs.replace(settings, bundle="folder", ledger_url="postgresql://x@y/z")).enabled
