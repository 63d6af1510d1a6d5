# ruff: noqa: N999 - the name that gunicorn looks for
"""How gunicorn runs the service: ``gunicorn -c serving/gunicorn.conf.py``."""

import logging
import os
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # so that `serving` is found from any folder

from serving.settings import SettingError, Settings
from serving.workers import GONE, STARTED

try:
    _settings = Settings.from_environment(os.environ)
    _settings.make_cache_folder()
except SettingError as error:
    raise SystemExit(str(error)) from None

# For our own loggers. gunicorn keeps its own; a dictConfig would also turn on a costly line for each request.
logging.basicConfig(
    level=logging.INFO, format="%(asctime)s [%(process)d] [%(levelname)s] %(message)s", datefmt="[%Y-%m-%d %H:%M:%S %z]"
)

wsgi_app = "serving.app:create_app()"
bind = f"{_settings.service_host}:{_settings.service_port}"
workers = _settings.service_workers
worker_class = "gthread"
threads = _settings.service_threads
preload_app = True  # imports are paid and kept in memory once
timeout = 60
graceful_timeout = 5  # a worker that is to end waits so long for a client that keeps an idle connection
keepalive = 15
control_socket_disable = True
_memory = "/dev/shm"  # noqa: S108 - gunicorn makes its own file in it
if os.access(_memory, os.W_OK):
    worker_tmp_dir = _memory  # a heartbeat on a slow disk can stall a worker


def pre_fork(server: Any, worker: Any) -> None:
    """Count a new worker among those that are not ready; ``age`` is its running number."""
    server.app.wsgi().extensions["workers"].mark(worker.age, STARTED)


def child_exit(server: Any, worker: Any) -> None:
    """Count a worker no more that has ended, in whatever way."""
    server.app.wsgi().extensions["workers"].mark(worker.age, GONE)


def post_worker_init(worker: Any) -> None:
    """Begin to serve in this worker: sessions and threads must be made after the fork."""
    worker.wsgi.extensions["model_store"].start(worker.age)


def worker_exit(server: Any, worker: Any) -> None:
    """End the poller of a worker that stops; one that failed while it started has none."""
    if worker.wsgi is not None:
        worker.wsgi.extensions["model_store"].stop()
