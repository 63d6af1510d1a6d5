"""Starts, watches and stops the processes of the local stack: PostgreSQL, MLflow, Airflow, the service.

May import: ``clients``, ``secrets``.
"""
