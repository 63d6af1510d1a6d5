"""What the DAGs and the plugins share: defaults, retries, assets, hooks, messages to a team, pages behind the login.

It imports Airflow and ``heartline``. It is not in ``dags/`` or ``plugins/``: Airflow loads each file there by itself.
"""
