"""The service's worker with a small buffer and a long drain time-out; tests select it with gunicorn's option ``-k``."""

from serving.worker import gunicorn_worker

gunicorn_worker.SMALL_REQUEST_BYTES, gunicorn_worker.MAX_BUFFERED_BODIES = 1000, 1
gunicorn_worker.DRAIN_TIMEOUT_SECONDS = 600.0
Worker = gunicorn_worker.Worker
