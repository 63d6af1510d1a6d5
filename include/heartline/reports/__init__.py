"""Draws figures and renders HTML: Data Docs, the comparison page, the model cards.

May import: ``ingestion``, ``storage``, ``validation``, ``training``, ``evaluation``, ``comparison``.
"""
