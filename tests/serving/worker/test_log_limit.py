"""Malformed requests cannot wash out the log."""

import logging

import pytest

from serving.worker import log_limit
from serving.worker.log_limit import LINES, WarningLimit


def test_warnings_of_one_place_are_limited_and_counted(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, now = logging.getLogger("tests.log_limit"), [0.0]
    monkeypatch.setattr(log_limit.time, "monotonic", lambda: now[0])
    log.addFilter(WarningLimit())

    def refused(number: int) -> None:
        log.warning("request %d is refused", number)

    for number in range(1000):
        refused(number)
        log.error("an error")
    log.warning("another place")
    now[0] = log_limit.SECONDS
    refused(1000)
    refused(1001)

    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert warnings == [
        *(f"request {number} is refused" for number in range(LINES)),
        "another place",
        f"request 1000 is refused ({1000 - LINES} more such lines were not written)",
        "request 1001 is refused",
    ]
    assert len(caplog.records) - len(warnings) == 1000


def test_it_is_installed_once_for_gunicorn_and_for_our_worker() -> None:
    for _ in range(2):
        log_limit.install()

    for name in log_limit.LOGGERS:
        assert sum(isinstance(one, WarningLimit) for one in logging.getLogger(name).filters) == 1
