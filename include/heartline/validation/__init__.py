"""Validates records with Great Expectations: quarantines invalid rows, finds reasons to stop a run, measures drift.

May import: ``ingestion``, ``storage``.
"""
