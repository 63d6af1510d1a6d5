"""The local stack that the launcher runs: PostgreSQL, MLflow, Airflow and the service, on this machine."""
