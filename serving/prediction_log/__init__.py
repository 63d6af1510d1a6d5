"""Logs every prediction to PostgreSQL, and keeps it on disk while the database is unreachable.

May import: ``metrics``, ``model``.
"""
