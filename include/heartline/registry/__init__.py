"""Talks to MLflow: runs, the registered model's versions, its aliases, and the history of ``production``.

May import: ``ledger``, ``packaging``.
"""
