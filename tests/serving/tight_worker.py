"""The service's worker with little memory for requests: gunicorn's option ``-k`` names it."""

from serving import limits

limits.SMALL_BYTES, limits.MEMORY_BODIES = 1000, 1
Worker = limits.Worker
