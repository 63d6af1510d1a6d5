# ruff: noqa: N999 - the name that gunicorn looks for
"""gunicorn's configuration for the other servers: the settings of the service, as a test checks."""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

wsgi_app = os.environ["PEER"]
bind = f"127.0.0.1:{os.environ['HEARTLINE_SERVICE_PORT']}"
workers = int(os.environ["HEARTLINE_SERVICE_WORKERS"])
worker_class = "gthread"
threads = 8
backlog = 1024
limit_request_fields = 64
preload_app = True
timeout = 60
graceful_timeout = 20
keepalive = 15
control_socket_disable = True
if os.access("/dev/shm", os.W_OK):
    worker_tmp_dir = "/dev/shm"
