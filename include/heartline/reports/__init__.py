"""Draws figures and renders HTML: Data Docs, the comparison page, the model cards, the page of all versions.

May import: ``comparison``, ``evaluation``, ``ingestion``, ``ledger``, ``registry``, ``storage``, ``validation``.
"""
