"""The parameters of the runs: one description each, from which forms, checks, help and documentation are derived.

DAG files, plugins and the launcher import it, so it imports nothing heavy.

May import: ``ingestion``, ``training``.
"""
