import time
from datetime import UTC, datetime

import pytest

from stack.errors import UnhealthyError
from stack.processes import health
from stack.processes.databases import Server
from stack.processes.health import Health
from stack.processes.supervisor import ProcessState, UnexpectedExit


class FakeSupervisor:
    """A supervisor with prepared states and exits."""

    def __init__(self, settings, *processes, exits=()):
        self.settings = settings
        self._processes = {one.name: one for one in processes}
        self._exits = [UnexpectedExit(name, datetime(2026, 1, 1), "exit status 1") for name in exits]

    def processes(self):
        return self._processes

    def exits(self):
        return self._exits


def process(name="mlflow", state="RUNNING", pid=5, started=0.0):
    return ProcessState(name, state, pid, started)


def wait(supervisor, probes, **more):
    healthy = []
    health.wait(supervisor, probes, list(probes), lambda name, seconds: healthy.append(name), **more)
    return healthy


def test_waiting_ends_when_all_are_healthy(settings):
    answers = iter([Health(False), Health(False), Health(True)])
    supervisor = FakeSupervisor(settings, process(), process("service"))
    assert wait(supervisor, {"mlflow": lambda _: next(answers), "service": lambda _: Health(True)}) == [
        "service",
        "mlflow",
    ]


def test_a_process_that_does_not_start_is_shown_with_the_end_of_its_log(settings):
    (settings.logs / "mlflow.log").write_text("\n".join(f"line {n}" for n in range(100)))
    with pytest.raises(UnhealthyError, match="exits repeatedly") as caught:
        wait(FakeSupervisor(settings, process(state="FATAL", pid=None)), {"mlflow": lambda _: Health(False)})
    assert "line 99" in caught.value.where
    assert "line 1\n" not in caught.value.where


def test_a_process_that_exits_too_often_is_not_waited_for(settings):
    supervisor = FakeSupervisor(settings, process(), exits=["mlflow"] * 3)
    with pytest.raises(UnhealthyError):
        wait(supervisor, {"mlflow": lambda _: Health(False)})
    assert wait(supervisor, {"mlflow": lambda _: Health(True)}, earlier_exits=3) == ["mlflow"]


def test_a_process_that_is_not_healthy_in_time_is_an_error(settings, monkeypatch):
    monkeypatch.setitem(health.START_TIMEOUTS, "mlflow", 0.3)
    with pytest.raises(UnhealthyError, match=r"not healthy after .* s: it sleeps"):
        wait(FakeSupervisor(settings, process()), {"mlflow": lambda _: Health(False, "it sleeps")})


def probes(settings):
    return health.probes(settings, Server("127.0.0.1", settings.postgres_port, "postgres", "x", "postgres", ""))


def test_every_health_check_works_while_nothing_runs(settings):
    for probe in probes(settings).values():
        found = probe(0.0)
        assert not found.ok
        assert found.note


def test_a_heartbeat_from_before_its_start_is_not_its_own(settings, answers):
    beat = time.time()
    report = {"status": "healthy", "latest_scheduler_heartbeat": datetime.fromtimestamp(beat, UTC).isoformat()}
    answers(settings.airflow_port).answers["GET /api/v2/monitor/health"] = (
        200,
        {"scheduler": report, "dag_processor": None},
    )
    assert probes(settings)["scheduler"](beat - 1).ok
    assert not probes(settings)["scheduler"](beat + 1).ok
    assert not probes(settings)["dag-processor"](beat - 1).ok


@pytest.mark.parametrize(("process_start", "database_start"), [(100.0, 900.0), (900.0, 100.0)])
def test_a_heartbeat_counts_from_the_later_start_of_the_process_and_the_database(
    settings, process_start, database_start
):
    processes = {
        "scheduler": ProcessState("scheduler", "RUNNING", 1, process_start),
        "postgres": ProcessState("postgres", "RUNNING", 2, database_start),
        "service": ProcessState("service", "RUNNING", 3, 5000.0),
    }
    asked = []

    def look(since: float) -> Health:
        asked.append(since)
        return Health(True)

    assert health.healthy(processes, "scheduler", look).ok
    assert asked == [901.0]
    supervisor = FakeSupervisor(settings, processes["scheduler"], processes["postgres"])
    assert wait(supervisor, {"scheduler": look}) == ["scheduler"]
    assert asked == [901.0, 901.0]


def test_versions_are_reported(settings, answers):
    airflow = answers(settings.airflow_port)
    airflow.answers |= {"GET /api/v2/version": (200, {"version": "3.3"}), "GET /execution/health/ping": (200, {})}
    mlflow = answers(settings.mlflow_port)
    mlflow.answers |= {"GET /health": (200, "OK"), "GET /version": (200, "3.17")}
    assert probes(settings)["airflow"](0) == Health(True, version="3.3")
    assert probes(settings)["mlflow"](0) == Health(True, version="3.17")


def test_an_api_server_is_healthy_once_it_has_built_the_api_of_the_tasks(settings, answers):
    answers(settings.airflow_port).answers["GET /api/v2/version"] = (200, {"version": "3.3"})
    found = probes(settings)["airflow"](0)
    assert not found.ok
    assert "/execution/health/ping answers 404" in found.note


def test_the_last_lines_of_a_log(tmp_path):
    assert health.last_lines(tmp_path / "none.log", 3) == []
    (tmp_path / "a.log").write_bytes(b"x" * 5000 + b"\nlast but one\nlast \xff\n")
    assert health.last_lines(tmp_path / "a.log", 2) == ["last but one", "last \ufffd"]
