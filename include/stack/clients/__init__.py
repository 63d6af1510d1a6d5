"""HTTP clients of the running stack: Airflow, MLflow, the service.

May import: ``secrets``.
"""
