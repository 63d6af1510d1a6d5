from datetime import datetime
from pathlib import Path

import pytest
from supervisor.options import ServerOptions

from stack.processes.definitions import POSTGRES, define_processes
from stack.processes.supervisor import CONFIGURATION, Supervisor, configuration, socket_path
from stack.secrets.credentials import Credentials
from stack.settings import Settings
from tests.running import ROOT

LOG = """\
2026-01-01 10:00:00,000 INFO supervisord started with pid 7
2026-01-01 10:00:01,000 WARN exited: mlflow (terminated by SIGKILL; not expected)
2026-01-02 10:00:00,000 INFO supervisord started with pid 9
2026-01-02 10:00:01,000 INFO spawned: 'mlflow' with pid 10
2026-01-02 10:00:02,345 WARN exited: dag-processor (terminated by SIGKILL; not expected)
2026-01-02 10:00:03,000 WARN exited: service (exit status 1; not expected)
2026-01-02 10:00:04,000 INFO stopped: mlflow (exit status 0)
"""


def parsed(settings, monkeypatch):
    """The configuration as the supervisor reads it, in the folder in which it runs."""
    credentials = Credentials(settings.home)
    path = settings.home / CONFIGURATION
    path.write_text(configuration(settings, credentials, define_processes(settings, credentials)))
    monkeypatch.chdir(settings.home)
    options = ServerOptions()
    options.realize(["-c", CONFIGURATION])
    return options


@pytest.mark.parametrize("name", ["home", "Zoë's #1 heart; copy"])
def test_the_supervisor_understands_it_whatever_the_folder_is_called(tmp_path, monkeypatch, name):
    settings = Settings(ROOT, tmp_path / name, 1, 2, 3, 4, None)
    settings.make_home()
    options = parsed(settings, monkeypatch)
    programs = {group.name: group.process_configs[0] for group in options.process_group_configs}
    assert set(programs) == {definition.name for definition in define_processes(settings, Credentials(settings.home))}
    assert programs["mlflow"].stdout_logfile == "logs/mlflow.log"
    assert options.logfile == str(settings.home / "logs" / "supervisord.log")


def test_processes_are_restarted_always_but_first_started_by_up(settings, monkeypatch):
    for group in parsed(settings, monkeypatch).process_group_configs:
        (program,) = group.process_configs
        assert not program.autostart
        assert program.autorestart.__name__ == "RestartUnconditionally"
        assert program.killasgroup
        assert program.stopasgroup == (group.name != POSTGRES)


def test_a_path_that_is_too_long_for_a_socket_is_not_used():
    short, long = Path("/srv/a"), Path("/srv", "b" * 90)
    assert socket_path(short) == short / "run" / "supervisor.sock"
    assert len(str(socket_path(long))) < 90
    assert socket_path(long) != socket_path(Path("/srv", "c" * 90))


def test_exits_are_those_since_the_start_of_the_supervisor(settings, credentials):
    supervisor = Supervisor(settings, credentials)
    assert supervisor.exits() == []
    (settings.logs / "supervisord.log").write_text(LOG)
    first, second = supervisor.exits()
    assert (first.name, first.how, first.when) == (
        "dag-processor",
        "terminated by SIGKILL",
        datetime(2026, 1, 2, 10, 0, 2),
    )
    assert (second.name, second.how) == ("service", "exit status 1")


def test_a_supervisor_that_was_never_started_is_not_alive(settings, credentials):
    assert not Supervisor(settings, credentials).alive()
    assert not (settings.home / "secrets").exists()
