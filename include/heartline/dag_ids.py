"""The ids of the DAGs, for the DAG files, the plugins and the local stack. It imports nothing."""

TRAINING = "heart_training"

ALL = (TRAINING,)  # the health checks report each of them that Airflow cannot run
