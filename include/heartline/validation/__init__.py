"""Checks records with Great Expectations: quarantines bad rows, stops a run on a bad set, measures drift.

May import: ``ingestion``, ``storage``.
"""
