"""Scores the records of a source with one registered version, with the answers and refusals of ``POST /predict``.

May import: ``ingestion``, ``storage``, ``packaging``, ``parameters``, ``registry``, ``ledger``.
"""
