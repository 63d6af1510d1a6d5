"""Draws figures and renders HTML: Data Docs, comparison, model cards, the page of all versions, that on monitoring.

May import: ``comparison``, ``evaluation``, ``ingestion``, ``ledger``, ``monitoring``, ``registry``, ``storage``,
``validation``.
"""
