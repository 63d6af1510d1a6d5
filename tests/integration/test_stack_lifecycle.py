"""The running stack with killed processes, taken ports and full disks. Each test leaves the shared stack healthy."""

import json
import os
import signal
import subprocess

import psutil
import pytest
import requests

from stack.processes.cluster_location import shared_folder
from stack.processes.orphans import of_stack
from stack.processes.postgres import remove_shared_folder
from tests.running import Running, free_ports
from tests.waiting import until

PROCESSES = ["postgres", "mlflow", "airflow", "scheduler", "dag-processor", "service"]


def row(stack, name):
    return next(one for one in stack.status()["processes"] if one["name"] == name)


def listening(ports):
    return {one.laddr.port for one in psutil.net_connections("tcp") if one.status == psutil.CONN_LISTEN} & set(ports)


def version(stack):
    answer = requests.get(stack.url("SERVICE", "/model"), timeout=10)
    return answer.json()["model"]["version"]


def test_status_shows_every_process(running):
    done = running.call("status", "--json")
    found = json.loads(done.stdout)
    assert [one["name"] for one in found["processes"]] == ["supervisord", *PROCESSES]
    assert found["healthy"]
    assert found["production"] == found["model"]["version"]
    for one in found["processes"]:
        assert one["pid"] and psutil.pid_exists(one["pid"])
        assert one["version"] or one["name"] == "service"
    assert {one["port"] for one in found["processes"] if one["port"]} == set(running.ports.values())

    printed = running.call("status").stdout
    assert all(name in printed for name in PROCESSES)
    assert f"production: version {found['production']}" in printed
    assert "airflow_admin_password" in printed


def test_everything_listens_on_loopback_only(running):
    pids = {process.pid for process in of_stack(running.home)}
    for one in psutil.net_connections("inet"):
        if one.status == psutil.CONN_LISTEN and one.pid in pids:
            assert one.laddr.ip == "127.0.0.1", one
            assert one.laddr.port in running.ports.values(), one


def test_no_secret_shows_in_a_process_list(running):
    secrets = [path.read_text().strip() for path in (running.home / "secrets").iterdir()]
    assert len(secrets) > 5
    for process in of_stack(running.home):
        words = " ".join(process.cmdline())
        assert not any(secret in words for secret in secrets)


def test_state_is_for_its_owner_only(running):
    assert running.home.stat().st_mode & 0o077 == 0
    for path in [*(running.home / "secrets").iterdir(), running.home / "supervisord.conf"]:
        assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("name", ["service", "mlflow"])
def test_a_killed_process_shows_and_is_restarted(running, name):
    before = row(running, name)
    psutil.Process(before["pid"]).send_signal(signal.SIGKILL)

    after = until(lambda: (now := row(running, name))["restarts"] > before["restarts"] and now)
    assert after["pid"] != before["pid"]
    assert "terminated by SIGKILL" in after["note"]
    running.call("up")
    running.assert_healthy()


def test_a_killed_scheduler_leaves_no_workers_behind(running):
    def workers():
        return {process.pid for process in of_stack(running.home) if "LocalExecutor" in " ".join(process.cmdline())}

    before, orphans = row(running, "scheduler"), until(workers)
    psutil.Process(before["pid"]).send_signal(signal.SIGKILL)
    running.call("up")
    assert row(running, "scheduler")["restarts"] == before["restarts"] + 1
    assert not workers() & orphans


def test_a_killed_database_is_recovered(running):
    before = version(running)
    psutil.Process(row(running, "postgres")["pid"]).send_signal(signal.SIGKILL)
    running.call("up")
    running.assert_healthy()
    assert version(running) == before


def test_a_killed_supervisor_shows_and_up_heals(running):
    orphans = {process.pid for process in of_stack(running.home)}
    unmarked = subprocess.Popen(
        ["sleep", "300"], env=running.environment
    )  # the user's own process: it has our settings, but no marker
    try:
        supervisor = row(running, "supervisord")["pid"]
        psutil.Process(supervisor).send_signal(signal.SIGKILL)
        until(lambda: not psutil.pid_exists(supervisor))

        done = running.call("status", "--json", check=False)
        assert done.returncode == 5
        rows = {one["name"]: one for one in json.loads(done.stdout)["processes"]}
        assert rows["supervisord"]["pid"] is None
        assert "no supervisor would restart it" in rows["mlflow"]["note"]

        running.call("up")
        running.assert_healthy()
        assert not orphans & {process.pid for process in of_stack(running.home)}
        assert unmarked.poll() is None
    finally:
        unmarked.kill()
        unmarked.wait()


def test_a_process_that_cannot_start_is_shown_and_the_others_go_on(running):
    before = {name: row(running, name)["pid"] for name in PROCESSES if name != "service"}
    done = subprocess.run(
        [str(running.root / "heartline"), "up"],
        env=running.environment | {"HEARTLINE_POLL_SECONDS": "nonsense"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 5
    assert "heartline: service does not start" in done.stderr
    assert "'nonsense' is not a valid value" in done.stderr, "the end of its log is shown"
    assert "Traceback" not in done.stderr
    assert {name: row(running, name)["pid"] for name in before} == before

    running.call("up")
    running.assert_healthy()


def test_a_second_command_at_the_same_time_is_refused(running):
    first = subprocess.Popen(
        [str(running.root / "heartline"), "down"],
        env=running.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        lock = running.home / "lock"
        until(lambda: str(first.pid) in lock.read_text())
        second = running.call("up", check=False)
        assert second.returncode == 4
        assert f"`heartline down`, process {first.pid}" in second.stderr
    finally:
        first.communicate(timeout=600)


def test_down_leaves_no_process_and_no_port_and_up_brings_all_back(running):
    running.call("up")
    before = version(running)
    running.call("down")
    assert of_stack(running.home) == []
    assert listening(running.ports.values()) == set()
    assert running.call("status", check=False).returncode == 5

    done = running.call("up")
    assert "training" not in done.stderr
    assert version(running) == before


def test_what_is_running_elsewhere_is_not_touched(running, tmp_path):
    """Another stack fails to start, stops what it started, and this one does not notice."""
    before = {process.pid for process in of_stack(running.home)}
    other = Running(tmp_path / "home")
    url = f"postgresql://postgres:x@127.0.0.1:{free_ports(1)[0]}/postgres"  # nobody listens there
    done = subprocess.run(
        [str(other.root / "heartline"), "up", "--source", "sample"],
        env=other.environment | {"HEARTLINE_POSTGRES_URL": url},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 5
    assert "PostgreSQL does not answer" in done.stderr
    assert of_stack(other.home) == []
    assert listening(other.ports.values()) == set()
    other.call("down", "--purge")
    assert not other.home.exists()
    assert {process.pid for process in of_stack(running.home)} >= before
    running.assert_healthy()


def test_a_taken_port_is_named_before_anything_is_started(running, tmp_path):
    other = Running(tmp_path / "home", running.ports | {"POSTGRES": free_ports(1)[0]})
    done = other.call("up", "--source", "sample", check=False)
    assert done.returncode == 4
    assert "is taken" in done.stderr
    assert "_PORT=" in done.stderr
    assert of_stack(other.home) == []
    running.assert_healthy()


def test_ctrl_c_while_starting_leaves_nothing_running(running, tmp_path):
    other = Running(tmp_path / "home")
    child = subprocess.Popen(
        [str(other.root / "heartline"), "up", "--source", "sample"],
        env=other.environment,
        stderr=subprocess.PIPE,
        start_new_session=True,
        # a shell's background job ignores it, and hands that on
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 - no threads here
        text=True,
    )
    until(lambda: of_stack(other.home))
    os.killpg(child.pid, signal.SIGINT)
    _, said = child.communicate(timeout=600)
    assert child.returncode == 130
    assert "interrupted" in said
    assert "Traceback" not in said
    assert of_stack(other.home) == []
    assert listening(other.ports.values()) == set()
    other.call("down", "--purge")
    assert not other.home.exists()
    assert not shared_folder(other.home).exists()


def test_a_state_folder_on_a_full_disk(running, need, tmp_path):
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", folder], capture_output=True, check=False
    )
    need(mounted.returncode == 0, "the right to mount a small file system")
    try:
        (folder / "home").mkdir()
        (folder / "filler").write_bytes(bytes(150_000))
        done = Running(folder / "home").call("up", "--source", "sample", check=False)
        assert done.returncode == 3
        assert "no space left on device" in done.stderr
        assert "Traceback" not in done.stderr
    finally:
        remove_shared_folder(folder / "home")  # `down` would need disk space
        subprocess.run(["umount", folder], check=True)
    running.assert_healthy()


def test_a_state_folder_that_cannot_be_written(running, need, tmp_path):
    folder = tmp_path / "fixed"
    folder.mkdir()
    bound = subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", folder], capture_output=True, check=False)
    need(bound.returncode == 0, "the right to mount a read-only file system")
    try:
        done = Running(folder / "home").call("up", "--source", "sample", check=False)
        assert done.returncode == 3
        assert "heartline: read-only file system" in done.stderr
        assert "Traceback" not in done.stderr
    finally:
        subprocess.run(["umount", folder], check=True)


def test_logs_are_shown(running):
    assert running.call("logs", "postgres").stdout.count("\n") > 3
    every = running.call("logs", "-n", "1").stdout
    assert all(f"/{name}.log" in every for name in PROCESSES)
