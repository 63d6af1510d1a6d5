# ruff: noqa: N999 - the name that gunicorn looks for
"""How gunicorn runs the service: ``gunicorn -c serving/gunicorn.conf.py``."""

import gc
import logging
import os
import resource
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # so that `serving` is found from any folder

from serving.metrics import multiprocess
from serving.settings import SettingError, Settings

try:
    multiprocess.make()  # before anything imports prometheus_client, which asks once where it is to count
except SettingError as error:
    raise SystemExit(str(error)) from None

from serving.api import auth
from serving.model.worker_states import GONE, STARTED
from serving.prediction_log import database

try:
    _settings = Settings.from_environment(os.environ)
    _settings.make_cache_folder()
    auth.check(_settings)
    database.check_url(_settings.prediction_log_url)
except SettingError as error:
    raise SystemExit(str(error)) from None

# For our own loggers. gunicorn keeps its own; a dictConfig would also turn on a costly line for each request.
logging.basicConfig(
    level=logging.INFO, format="%(asctime)s [%(process)d] [%(levelname)s] %(message)s", datefmt="[%Y-%m-%d %H:%M:%S %z]"
)

wsgi_app = "serving.app:create_app()"
_host = _settings.service_host
bind = f"[{_host}]:{_settings.service_port}" if ":" in _host else f"{_host}:{_settings.service_port}"
workers = _settings.service_workers
worker_class = "serving.worker.gunicorn_worker.Worker"
threads = _settings.service_threads
preload_app = True  # imports are paid and kept in memory once
timeout = 60
graceful_timeout = 5  # a worker that is to end waits so long for requests that have begun
keepalive = 15
backlog = 1024
# half of the files that a process may open: the registry, the log and the cache need some
worker_connections = min(1000, max(32, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2))
limit_request_fields = 64
limit_request_field_size = 8190
limit_request_line = 4094
control_socket_disable = True
_memory = "/dev/shm"  # noqa: S108 - gunicorn makes its own file in it
if os.access(_memory, os.W_OK):
    worker_tmp_dir = _memory  # a heartbeat on a slow disk can stall a worker


def on_starting(server: Any) -> None:
    """Refuse an address of the command line as one of the settings would be refused."""
    try:
        auth.check_addresses([address[0] for address in server.cfg.address if isinstance(address, tuple)], _settings)
    except SettingError as error:
        raise SystemExit(str(error)) from None


def when_ready(server: Any) -> None:
    """Count the workers that are about to start, before the first of them can say that nobody is waited for.

    gunicorn forks them one after the other, with pauses, and the first may be done long before the last one is there.
    """
    states = server.app.wsgi().extensions["workers"]
    for age in range(server.worker_age + 1, server.worker_age + server.num_workers + 1):
        states.mark(age, STARTED)


def pre_fork(server: Any, worker: Any) -> None:
    """Count a new worker among those that are not ready; ``age`` is its running number."""
    server.app.wsgi().extensions["workers"].mark(worker.age, STARTED)
    # What is there now stays for good: a worker's collector neither walks it with each thousand records nor writes into
    # its pages, which would end their being shared.
    gc.freeze()


def child_exit(server: Any, worker: Any) -> None:
    """Count a worker no more that has ended, in whatever way."""
    server.app.wsgi().extensions["workers"].mark(worker.age, GONE)
    server.app.wsgi().extensions["prediction_log"].worker_ended(worker.age)
    multiprocess.retire(worker.pid)


def post_worker_init(worker: Any) -> None:
    """Begin to serve in this worker: sessions and threads must be made after the fork."""
    worker.wsgi.extensions["model_store"].start(worker.age)
    worker.wsgi.extensions["prediction_log"].start(worker.age)


def worker_exit(server: Any, worker: Any) -> None:
    """End the threads of a worker that stops; one that failed while it started has none."""
    if worker.wsgi is not None:
        worker.wsgi.extensions["model_store"].stop()
        worker.wsgi.extensions["prediction_log"].stop()
