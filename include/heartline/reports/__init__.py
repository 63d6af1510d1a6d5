"""Draws figures and renders HTML: Data Docs, the comparison page, the model cards.

May import: ``comparison``, ``evaluation``, ``ingestion``, ``storage``, ``validation``.
"""
