import socket
import subprocess
import sys

import pytest

from stack.errors import Exit, InUseError
from stack.processes import ports
from stack.processes.definitions import define_processes
from stack.processes.env_markers import PROCESS_VARIABLE, STACK_VARIABLE

LISTEN = "import socket, time; s = socket.create_server(('127.0.0.1', {})); print('ready', flush=True); time.sleep(60)"


@pytest.fixture
def listener():
    started = []

    def start(port, **environment):
        child = subprocess.Popen([sys.executable, "-c", LISTEN.format(port)], env=environment, stdout=subprocess.PIPE)
        child.stdout.readline()
        started.append(child)
        return child.pid

    yield start
    for child in started:
        child.kill()
        child.wait()
        child.stdout.close()


def test_free_ports_pass(settings, credentials):
    ports.check(settings.home, define_processes(settings, credentials))


def test_a_taken_port_is_named_with_its_setting_and_its_holder(settings, credentials, listener):
    pid = listener(settings.mlflow_port)
    with pytest.raises(InUseError) as caught:
        ports.check(settings.home, define_processes(settings, credentials))
    assert caught.value.what == f"port {settings.mlflow_port}, which mlflow needs, is taken"
    assert f"process {pid}" in caught.value.where
    assert "HEARTLINE_MLFLOW_PORT=" in caught.value.hint
    assert caught.value.code == Exit.IN_USE


def test_the_suggested_port_is_free_and_not_used_by_the_stack(settings, credentials, listener):
    listener(settings.mlflow_port)
    with pytest.raises(InUseError) as caught:
        ports.check(settings.home, define_processes(settings, credentials))
    suggested = int(caught.value.hint.partition("HEARTLINE_MLFLOW_PORT=")[2].split()[0])
    assert ports.free(suggested)
    assert suggested not in {settings.airflow_port, settings.service_port, settings.postgres_port}


def test_a_running_process_of_this_stack_is_no_conflict(settings, credentials, listener):
    listener(settings.service_port, **{STACK_VARIABLE: str(settings.home), PROCESS_VARIABLE: "service"})
    ports.check(settings.home, define_processes(settings, credentials))


def test_a_process_of_another_stack_is_a_conflict(settings, credentials, listener):
    listener(settings.service_port, **{STACK_VARIABLE: str(settings.home) + "2", PROCESS_VARIABLE: "service"})
    with pytest.raises(InUseError):
        ports.check(settings.home, define_processes(settings, credentials))


def test_a_port_that_was_just_closed_is_free(settings):
    with socket.create_server(("127.0.0.1", settings.mlflow_port)) as server, socket.socket() as client:
        client.connect(server.getsockname())
        server.accept()[0].close()
    assert ports.free(settings.mlflow_port)
