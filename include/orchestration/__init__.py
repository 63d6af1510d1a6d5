"""What the DAGs and the plugins share: defaults, retries, assets, hooks, messages to a team, and pages behind the login.

It imports Airflow and ``heartline``. It is not in ``dags/`` or ``plugins/``, as Airflow loads each file there by itself.
"""
