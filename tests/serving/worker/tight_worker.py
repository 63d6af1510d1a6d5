"""The service's worker with little memory for requests and much patience: gunicorn's option ``-k`` names it."""

from serving.worker import gunicorn_worker

gunicorn_worker.SMALL_BYTES, gunicorn_worker.MEMORY_BODIES = 1000, 1
gunicorn_worker.LINGER_SECONDS = 600.0
Worker = gunicorn_worker.Worker
