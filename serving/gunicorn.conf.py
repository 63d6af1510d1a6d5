# ruff: noqa: N999 - the name that gunicorn looks for
"""How gunicorn runs the service: ``gunicorn -c serving/gunicorn.conf.py``."""

import gc
import logging
import os
import resource
import signal
import sys
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # so that `serving` can be imported from any folder

from serving.metrics import multiprocess
from serving.settings import SettingError, Settings

try:
    multiprocess.make()  # before anything imports prometheus_client, which reads its folder at import
except SettingError as error:
    raise SystemExit(str(error)) from None

from serving import log_format
from serving.api import auth
from serving.model.approvals import Approvals
from serving.model.worker_states import GONE, STARTED
from serving.prediction_log import connection
from serving.worker import graceful_stop, log_limit
from serving.worker.unread_bodies import DrainUnreadBodies

try:
    _settings = Settings.from_environment(os.environ)
    _settings.make_cache_folder()
    auth.check(_settings)
    Approvals(_settings)
    connection.check_url(_settings.prediction_log_url, "PREDICTION_LOG_URL", "prediction log")
    connection.check_url(_settings.ledger_url, "LEDGER_URL", "ledger")
except SettingError as error:
    raise SystemExit(str(error)) from None

# For our own loggers. gunicorn keeps its own; a dictConfig would also turn on the access log, which costs CPU.
logging.basicConfig(level=logging.INFO)
log_format.use(logging.getLogger().handlers)

log_limit.install()

wsgi_app = "serving.app:create_app()"
_host = _settings.service_host
bind = f"[{_host}]:{_settings.service_port}" if ":" in _host else f"{_host}:{_settings.service_port}"
workers = _settings.service_workers
worker_class = {"heartline": "serving.worker.gunicorn_worker.Worker", "gthread": "gthread"}[_settings.worker]
threads = _settings.service_threads
preload_app = True  # modules are imported once, and their memory is shared by the workers
timeout = 60
# A stopping worker is killed after this time; requests in progress may take EXIT_SECONDS (graceful_stop.py) less. Who
# stops the service waits longer: stop_grace_period in docker-compose.yaml, stop_seconds in include/stack/processes.
graceful_timeout = 20
keepalive = 15
backlog = 1024
# half of the files that a process may open: the registry client, the log and the cache need some
worker_connections = min(1000, max(32, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2))
limit_request_fields = 64
limit_request_field_size = 8190
limit_request_line = 4094
control_socket_disable = True
_memory = "/dev/shm"  # noqa: S108 - gunicorn makes its own file in it
if os.access(_memory, os.W_OK):
    worker_tmp_dir = _memory  # a slow disk would delay the heartbeat of a worker


def _is_own_worker(worker_class: type) -> bool:
    """Return whether a worker class is the service's own; gunicorn's option ``-k`` overrides the setting.

    The class is not imported: the stock worker must start also where the own one does not fit gunicorn.
    """
    return "serving.worker.gunicorn_worker" in [base.__module__ for base in worker_class.__mro__]


def on_starting(server: Any) -> None:
    """Check the addresses of the command line like those of the settings; warn of limits that do not apply."""
    log_format.use(logging.getLogger("gunicorn.error").handlers)  # gunicorn quotes what a client sent
    try:
        auth.check_addresses([address[0] for address in server.cfg.address if isinstance(address, tuple)], _settings)
    except SettingError as error:
        raise SystemExit(str(error)) from None
    if _settings.ledger_url == "off":
        logging.getLogger("serving.ledger").info("no ledger is written: HEARTLINE_LEDGER_URL is not set")
    if not _is_own_worker(server.cfg.worker_class):
        logging.getLogger("serving.worker").warning(
            "the worker is %s: no protection against slow clients; HEARTLINE_MAX_WAITING and"
            " HEARTLINE_REQUEST_SECONDS have no effect (serving/worker/README.md)",
            server.cfg.worker_class_str,
        )


def when_ready(server: Any) -> None:
    """Mark the workers that are about to start, so that none of them reports ready before all are.

    gunicorn forks them one after the other, with pauses; the first may have loaded the model before the last exists.
    """
    states = server.app.wsgi().extensions["workers"]
    signal.signal(signal.SIGTERM, partial(_on_term, server))
    for age in range(server.worker_age + 1, server.worker_age + server.num_workers + 1):
        states.mark(age, STARTED)


def _on_term(server: Any, number: int, frame: Any) -> None:
    """Tell the workers that the service stops, and let gunicorn stop it.

    The listening socket may outlive the service: it is shared with a newer or older master (SIGUSR2), or with systemd.
    """
    if server.reexec_pid == server.master_pid == 0 and not server.systemd:
        server.app.wsgi().extensions["workers"].stop_service()
    server.signal(number, frame)


def pre_fork(server: Any, worker: Any) -> None:
    """Mark a new worker as not ready; ``age`` is its running number."""
    server.app.wsgi().extensions["workers"].mark(worker.age, STARTED)
    # The objects that exist now are never freed. Frozen, they are not visited by a worker's garbage collector, which
    # would cost CPU, and write to their memory pages, which would end the sharing of these pages.
    gc.freeze()


def post_fork(server: Any, worker: Any) -> None:
    """Obey a SIGTERM that comes while a worker starts: until it sets its own handlers, it has those of the master."""

    def stop(number: int, frame: Any) -> None:
        worker.alive = False

    signal.signal(signal.SIGTERM, stop)
    while not server.SIG_QUEUE.empty():
        if server.SIG_QUEUE.get_nowait() == signal.SIGTERM:
            worker.alive = False


def child_exit(server: Any, worker: Any) -> None:
    """Record that a worker has ended, for whatever reason: its readiness, its lost predictions, its metrics."""
    server.app.wsgi().extensions["workers"].mark(worker.age, GONE)
    server.app.wsgi().extensions["prediction_log"].worker_ended(worker.age)
    multiprocess.retire(worker.pid)


def post_worker_init(worker: Any) -> None:
    """Start serving in this worker: sessions and threads must be created after the fork."""
    if not _is_own_worker(type(worker)):
        worker.wsgi.wsgi_app = DrainUnreadBodies(worker.wsgi.wsgi_app)
        graceful_stop.adopt(worker)
    worker.wsgi.extensions["model_store"].start(worker.age)
    worker.wsgi.extensions["prediction_log"].start(worker.age)
    worker.wsgi.extensions["ledger"].start()


def worker_exit(server: Any, worker: Any) -> None:
    """Stop the threads of a worker that stops; a worker that failed to start has none."""
    if worker.wsgi is not None:
        worker.wsgi.extensions["model_store"].stop()
        worker.wsgi.extensions["prediction_log"].stop()
        worker.wsgi.extensions["ledger"].stop()
