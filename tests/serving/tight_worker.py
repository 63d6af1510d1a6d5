"""The service's worker with little memory for requests and much patience: gunicorn's option ``-k`` names it."""

from serving import limits

limits.SMALL_BYTES, limits.MEMORY_BODIES = 1000, 1
limits.LINGER_SECONDS = 600.0
Worker = limits.Worker
