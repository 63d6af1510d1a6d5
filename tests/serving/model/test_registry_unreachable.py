"""The registry is unreachable in many ways: requests are answered as fast as before, and the state is visible."""

import json
import os
import signal
import statistics
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from tests.serving.fakes import RECORD, FakeRegistry, make_bundle
from tests.serving.gunicorns import SHORT_TIMEOUTS, Gunicorn
from tests.serving.unreachable import MODES, UnreachableRegistry, hangs
from tests.waiting import until

REQUESTS = 150
# Two equal services differ by a factor of at most 1.15 on an idle machine. Other load may affect one of them for a
# while, so there are several tries: if polls delayed requests, they would do so in each try.
SLOWER = 1.5
TRIES = 4
MINUTE = timedelta(minutes=1)


@pytest.fixture(scope="module")
def served() -> Iterator[FakeRegistry]:
    """A registry with version 1."""
    registry = FakeRegistry()
    registry.register(make_bundle())
    yield registry
    registry.stop()


@pytest.fixture(scope="module")
def unreachable(served: FakeRegistry) -> Iterator[UnreachableRegistry]:
    registry = UnreachableRegistry(served)
    yield registry
    registry.close()


def start(folder: Path, url: str, before: str = SHORT_TIMEOUTS) -> Gunicorn:
    service = Gunicorn(folder, before, HEARTLINE_MLFLOW_URL=url, HEARTLINE_POLL_SECONDS=0.1)
    service.wait_until_it_answers()
    return service


@pytest.fixture(scope="module")
def unaffected(served: FakeRegistry, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gunicorn]:
    """A service whose registry is reachable, without short time-outs."""
    service = start(tmp_path_factory.mktemp("unaffected"), served.url, before="")
    yield service
    service.stop()


@pytest.fixture(scope="module")
def affected(unreachable: UnreachableRegistry, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gunicorn]:
    """A service whose registry becomes unreachable."""
    service = start(tmp_path_factory.mktemp("affected"), unreachable.url)
    yield service
    service.stop()


def last_messages(service: Gunicorn) -> list[str]:
    """Return the last message of each worker about the registry; empty if it was always reachable."""
    said = [[line for line in service.logged_by(pid) if "the registry is" in line] for pid in service.workers()]
    return [lines[-1] if lines else "" for lines in said]


def reports(service: Gunicorn, reason: str) -> bool:
    return all(reason in line for line in last_messages(service))


def reaches(service: Gunicorn) -> bool:
    return all(line == "" or "is reachable again" in line for line in last_messages(service))


def registry_in(service: Gunicorn, path: str, reason: str) -> dict[str, Any]:
    """Return the state of the registry in ``path`` once it has ``reason``; a busy machine may cause another one."""

    def asked() -> dict[str, Any] | None:
        status, page = service.ask(path)
        assert status == 200
        registry: dict[str, Any] = page["registry"]
        return registry if reason in str(registry["reason"]) else None

    return until(asked) or {}


def timed(connection: HTTPConnection, body: bytes) -> float:
    began = time.perf_counter()
    connection.request("POST", "/predict", body, {"Content-Type": "application/json"})
    response = connection.getresponse()
    answer = json.loads(response.read())
    assert (response.status, answer["model"]["version"]) == (200, "1")
    return time.perf_counter() - began


def medians(first: Gunicorn, second: Gunicorn) -> tuple[float, float]:
    """Return the median duration of a request to each service, in seconds; requests alternate."""
    body = json.dumps(RECORD).encode()
    seconds: tuple[list[float], list[float]] = ([], [])
    with closing(HTTPConnection("127.0.0.1", first.port)) as a, closing(HTTPConnection("127.0.0.1", second.port)) as b:
        for turn in range(REQUESTS):
            pair = ((a, seconds[0]), (b, seconds[1]))
            for connection, into in pair if turn % 2 else reversed(pair):
                into.append(timed(connection, body))
    return statistics.median(seconds[0]), statistics.median(seconds[1])


def assert_as_fast(usual: Gunicorn, here: Gunicorn) -> None:
    tries: list[tuple[float, float]] = []
    while not tries or tries[-1][1] > SLOWER * tries[-1][0]:
        assert len(tries) < TRIES, f"seconds for a request, usual and here: {tries}"
        tries.append(medians(usual, here))


def disturb(registry: UnreachableRegistry, mode: str) -> str:
    if mode == "refuses":
        registry.refuse()
        return "does not answer: Connection refused"
    if mode == "drops packets":
        registry.drop()
        return "does not answer: no connection within 0.3 seconds"
    exchange, reason = MODES[mode]
    registry.disturb(exchange)
    return reason


@pytest.mark.parametrize("mode", ["refuses", "drops packets", *MODES])
def test_requests_are_as_fast_as_before_and_the_state_is_visible(
    unreachable: UnreachableRegistry, unaffected: Gunicorn, affected: Gunicorn, mode: str
) -> None:
    unreachable.pass_on()
    affected.wait_until(lambda: reaches(affected))
    reason = disturb(unreachable, mode)
    affected.wait_until(lambda: reports(affected, reason))
    disturbed_at = datetime.now(UTC)

    assert_as_fast(unaffected, affected)

    for path in ("/readyz", "/model"):
        state = registry_in(affected, path, reason)
        assert state["reachable"] is False
        assert datetime.fromisoformat(state["last_contact"]) <= disturbed_at
    assert "heartline_registry_unreachable_workers 2.0" in affected.read("/metrics")
    assert unaffected.ask("/readyz")[1]["registry"]["reachable"] is True
    assert "heartline_registry_unreachable_workers 0.0" in unaffected.read("/metrics")


def test_an_outage_is_logged_once(unreachable: UnreachableRegistry, affected: Gunicorn) -> None:
    unreachable.disturb(hangs)
    affected.wait_until(lambda: reports(affected, "Read timed out"))
    before, asked = affected.log().count("is unreachable, last contact"), unreachable.asked

    affected.wait_until(lambda: unreachable.asked >= asked + 8)  # polls of both workers

    assert affected.log().count("is unreachable, last contact") == before


def test_every_worker_notices_that_the_registry_is_reachable_again(
    unreachable: UnreachableRegistry, affected: Gunicorn
) -> None:
    unreachable.disturb(hangs)
    affected.wait_until(lambda: reports(affected, "Read timed out"))

    unreachable.pass_on()

    affected.wait_until(lambda: reports(affected, "the registry is reachable again"))
    assert registry_in(affected, "/readyz", "None")["reachable"] is True


@pytest.fixture
def own(unreachable: UnreachableRegistry, tmp_path: Path) -> Iterator[list[Gunicorn]]:
    """The services of one test, in one folder. The first one is ready, and its registry is reachable."""
    unreachable.pass_on()
    started = [start(tmp_path, unreachable.url)]
    yield started
    for service in started:
        service.stop()


def last_contact(service: Gunicorn) -> datetime:
    return datetime.fromisoformat(service.ask("/readyz")[1]["registry"]["last_contact"])


@pytest.mark.parametrize("mode", ["drops packets", "headers drip"])
def test_a_killed_worker_is_replaced_and_reports_the_last_contact(
    unreachable: UnreachableRegistry, own: list[Gunicorn], mode: str
) -> None:
    service = own[0]
    contact = last_contact(service)
    reason = disturb(unreachable, mode)
    service.wait_until(lambda: reports(service, reason))
    disturbed_at, (killed, other) = datetime.now(UTC), service.workers()

    # when a worker is killed, then the other one answers
    os.kill(killed, signal.SIGKILL)
    answers = [service.ask("/predict", RECORD) for _ in range(20)]
    service.wait_until(lambda: len(service.workers()) == 3)
    heir = service.workers()[-1]
    service.wait_until(lambda: any("from the cache" in line for line in service.logged_by(heir)))

    # when that one is killed too, then only workers that never reached the registry answer
    os.kill(other, signal.SIGKILL)
    service.wait_until(lambda: len(service.workers()) == 4)
    last = service.workers()[-1]
    service.wait_until(lambda: any("is unreachable, last contact" in line for line in service.logged_by(last)))
    answers += [service.ask("/predict", RECORD) for _ in range(20)]

    assert {(status, answer["model"]["version"]) for status, answer in answers} == {(200, "1")}
    assert contact - MINUTE < last_contact(service) <= disturbed_at
    (line,) = [line for line in service.logged_by(last) if "is unreachable, last contact" in line]
    assert contact - MINUTE < datetime.fromisoformat(line.partition("last contact ")[2][:25]) <= disturbed_at


def test_a_service_that_starts_without_its_registry_serves_the_last_good_version(
    unreachable: UnreachableRegistry, served: FakeRegistry, own: list[Gunicorn], tmp_path: Path
) -> None:
    contact = last_contact(own[0])
    own[0].stop()
    unreachable.refuse()
    disturbed_at = datetime.now(UTC)

    own.append(start(tmp_path, unreachable.url))

    service = own[1]
    assert {service.ask("/predict", RECORD)[1]["model"]["version"] for _ in range(20)} == {"1"}
    service.wait_until(lambda: reports(service, "Connection refused"))
    page = service.ask("/readyz")[1]["registry"]
    assert page["reachable"] is False
    assert contact - MINUTE < datetime.fromisoformat(page["last_contact"]) <= disturbed_at


@pytest.mark.parametrize("name", ["model.onnx", "manifest.json"])
def test_a_changed_cache_is_reported_and_repaired_and_not_served_after_a_restart(
    unreachable: UnreachableRegistry, own: list[Gunicorn], tmp_path: Path, name: str
) -> None:
    own[0].stop()
    unreachable.refuse()
    (file,) = (tmp_path / "cache").glob(f"bundles/*/{name}")
    data = file.read_bytes()
    file.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    reason = f"refused: version 1: digest of {name} differs (in the cache)"

    # when it starts, then it is not ready and reports the reason
    service = Gunicorn(tmp_path, SHORT_TIMEOUTS, HEARTLINE_MLFLOW_URL=unreachable.url, HEARTLINE_POLL_SECONDS=0.1)
    own.append(service)
    service.wait_until_it_answers("/healthz")
    for path, body in (("/readyz", None), ("/model", None), ("/predict", RECORD)):
        status, page = service.ask(path, body)
        assert (status, page["detail"]) == (503, reason)
    service.wait_until(lambda: service.log().count(f"{reason}; no model is served") == 2)

    # when the registry is reachable again, then the cache is repaired and the model is served
    unreachable.pass_on()
    service.wait_until_it_answers("/readyz")
    status, answer = service.ask("/predict", RECORD)
    assert (status, answer["model"]["version"]) == (200, "1")
    assert file.read_bytes() == data
