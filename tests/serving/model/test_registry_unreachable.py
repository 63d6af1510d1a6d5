"""The registry goes dark in every way: requests are answered as fast, and the silence is visible."""

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
from tests.serving.unreachable import MODES, DarkRegistry, hangs
from tests.waiting import until

REQUESTS = 150
# The same service side by side with itself stays within 1.15 while nothing else runs. What else does may meet one of
# both for a while, so there are some tries: what a poll costs a request, it costs in each of them.
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
def dark(served: FakeRegistry) -> Iterator[DarkRegistry]:
    dark = DarkRegistry(served)
    yield dark
    dark.close()


def start(folder: Path, url: str, before: str = SHORT_TIMEOUTS) -> Gunicorn:
    service = Gunicorn(folder, before, HEARTLINE_MLFLOW_URL=url, HEARTLINE_POLL_SECONDS=0.1)
    service.wait_until_it_answers()
    return service


@pytest.fixture(scope="module")
def healthy(served: FakeRegistry, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gunicorn]:
    """A service whose registry answers, however long that takes on a busy machine."""
    service = start(tmp_path_factory.mktemp("healthy"), served.url, before="")
    yield service
    service.stop()


@pytest.fixture(scope="module")
def lonely(dark: DarkRegistry, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gunicorn]:
    """A service whose registry goes dark."""
    service = start(tmp_path_factory.mktemp("lonely"), dark.url)
    yield service
    service.stop()


def last_words(service: Gunicorn) -> list[str]:
    """Return what each worker logged last about the registry; nothing where it was always heard."""
    said = [[line for line in service.said_by(pid) if "the registry is" in line] for pid in service.workers()]
    return [lines[-1] if lines else "" for lines in said]


def says(service: Gunicorn, reason: str) -> bool:
    return all(reason in line for line in last_words(service))


def hears(service: Gunicorn) -> bool:
    return all(line == "" or "is heard again" in line for line in last_words(service))


def registry_in(service: Gunicorn, path: str, reason: str) -> dict[str, Any]:
    """Return what ``path`` says of the registry once it gives ``reason``: a busy machine may cause another one."""

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
    """Return both services' median seconds for a request; they take turns, so that others' load meets both."""
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


def go_dark(dark: DarkRegistry, mode: str) -> str:
    if mode == "refuses":
        dark.refuse()
        return "does not answer: Connection refused"
    if mode == "drops packets":
        dark.drop()
        return "does not answer: no connection within 0.3 seconds"
    exchange, reason = MODES[mode]
    dark.dark(exchange)
    return reason


@pytest.mark.parametrize("mode", ["refuses", "drops packets", *MODES])
def test_requests_are_answered_as_fast_and_the_silence_is_visible(
    dark: DarkRegistry, healthy: Gunicorn, lonely: Gunicorn, mode: str
) -> None:
    dark.light()
    lonely.wait_until(lambda: hears(lonely))
    reason = go_dark(dark, mode)
    lonely.wait_until(lambda: says(lonely, reason))
    silent = datetime.now(UTC)

    assert_as_fast(healthy, lonely)

    for path in ("/readyz", "/model"):
        told = registry_in(lonely, path, reason)
        assert told["heard"] is False
        assert datetime.fromisoformat(told["last_heard"]) <= silent
    assert "heartline_registry_silent_workers 2.0" in lonely.read("/metrics")
    assert healthy.ask("/readyz")[1]["registry"]["heard"] is True
    assert "heartline_registry_silent_workers 0.0" in healthy.read("/metrics")


def test_a_silence_is_logged_once_however_long_it_lasts(dark: DarkRegistry, lonely: Gunicorn) -> None:
    dark.dark(hangs)
    lonely.wait_until(lambda: says(lonely, "Read timed out"))
    before, asked = lonely.log().count("is not heard since"), dark.asked

    lonely.wait_until(lambda: dark.asked >= asked + 8)  # polls of both workers

    assert lonely.log().count("is not heard since") == before


def test_when_it_comes_back_it_is_heard_again_by_every_worker(dark: DarkRegistry, lonely: Gunicorn) -> None:
    dark.dark(hangs)
    lonely.wait_until(lambda: says(lonely, "Read timed out"))

    dark.light()

    lonely.wait_until(lambda: says(lonely, "the registry is heard again"))
    assert registry_in(lonely, "/readyz", "None")["heard"] is True


@pytest.fixture
def own(dark: DarkRegistry, tmp_path: Path) -> Iterator[list[Gunicorn]]:
    """Services of one test, in one folder; the first one is ready, and its registry answers."""
    dark.light()
    started = [start(tmp_path, dark.url)]
    yield started
    for service in started:
        service.stop()


def heard_at(service: Gunicorn) -> datetime:
    return datetime.fromisoformat(service.ask("/readyz")[1]["registry"]["last_heard"])


@pytest.mark.parametrize("mode", ["drops packets", "headers drip"])
def test_a_killed_worker_comes_back_and_says_since_when_it_has_heard_nothing(
    dark: DarkRegistry, own: list[Gunicorn], mode: str
) -> None:
    service = own[0]
    heard = heard_at(service)
    reason = go_dark(dark, mode)
    service.wait_until(lambda: says(service, reason))
    silent, (killed, other) = datetime.now(UTC), service.workers()

    # when a worker is killed, then the other one answers meanwhile
    os.kill(killed, signal.SIGKILL)
    answers = [service.ask("/predict", RECORD) for _ in range(20)]
    service.wait_until(lambda: len(service.workers()) == 3)
    heir = service.workers()[-1]
    service.wait_until(lambda: any("from the cache" in line for line in service.said_by(heir)))

    # when that one is killed too, then all answers come from those that had no registry
    os.kill(other, signal.SIGKILL)
    service.wait_until(lambda: len(service.workers()) == 4)
    last = service.workers()[-1]
    service.wait_until(lambda: any("is not heard since" in line for line in service.said_by(last)))
    answers += [service.ask("/predict", RECORD) for _ in range(20)]

    assert {(status, answer["model"]["version"]) for status, answer in answers} == {(200, "1")}
    assert heard - MINUTE < heard_at(service) <= silent
    (line,) = [line for line in service.said_by(last) if "is not heard since" in line]
    assert heard - MINUTE < datetime.fromisoformat(line.partition("since ")[2][:25]) <= silent


def test_a_service_that_starts_without_its_registry_serves_the_last_good_version(
    dark: DarkRegistry, served: FakeRegistry, own: list[Gunicorn], tmp_path: Path
) -> None:
    heard = heard_at(own[0])
    own[0].stop()
    dark.refuse()
    silent = datetime.now(UTC)

    own.append(start(tmp_path, dark.url))

    service = own[1]
    assert {service.ask("/predict", RECORD)[1]["model"]["version"] for _ in range(20)} == {"1"}
    service.wait_until(lambda: says(service, "Connection refused"))
    page = service.ask("/readyz")[1]["registry"]
    assert page["heard"] is False
    assert heard - MINUTE < datetime.fromisoformat(page["last_heard"]) <= silent


@pytest.mark.parametrize("name", ["model.onnx", "manifest.json"])
def test_a_cache_that_was_changed_is_not_served_after_a_restart_and_is_said_and_repaired(
    dark: DarkRegistry, own: list[Gunicorn], tmp_path: Path, name: str
) -> None:
    own[0].stop()
    dark.refuse()
    (file,) = (tmp_path / "cache").glob(f"bundles/*/{name}")
    data = file.read_bytes()
    file.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    reason = f"refused: version 1: digest of {name} differs (in the cache)"

    # when it starts, then it answers nothing, and says why
    service = Gunicorn(tmp_path, SHORT_TIMEOUTS, HEARTLINE_MLFLOW_URL=dark.url, HEARTLINE_POLL_SECONDS=0.1)
    own.append(service)
    service.wait_until_it_answers("/healthz")
    for path, body in (("/readyz", None), ("/model", None), ("/predict", RECORD)):
        status, page = service.ask(path, body)
        assert (status, page["detail"]) == (503, reason)
    service.wait_until(lambda: service.log().count(f"{reason}; nothing is served") == 2)

    # when the registry is back, then the cache is repaired and it serves
    dark.light()
    service.wait_until_it_answers("/readyz")
    status, answer = service.ask("/predict", RECORD)
    assert (status, answer["model"]["version"]) == (200, "1")
    assert file.read_bytes() == data
