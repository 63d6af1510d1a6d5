"""The assets that the DAGs produce and start from. Airflow's asset graph shows them.

No DAG depends on an asset event alone: an event that Airflow loses delays the work until the next scheduled run.
"""

from airflow.sdk import Asset

GROUP = "heartline"

SNAPSHOT = Asset(name="snapshot", uri="heartline://snapshot", group=GROUP)
CANDIDATE = Asset(name="candidate", uri="heartline://candidate", group=GROUP)
PRODUCTION = Asset(name="production", uri="heartline://production", group=GROUP)
SCORES = Asset(name="scores", uri="heartline://scores", group=GROUP)
HARM = Asset(name="harm", uri="heartline://harm", group=GROUP)
