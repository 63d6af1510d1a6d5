"""Monitoring of a served version: is it right, are the patients others, is the input complete, is the candidate better.

Numpy on aggregates: what is kept holds no record. ``methods`` has the statistics, ``advance`` one day of a version,
``daily`` the missing days.

May import: ``evaluation``, ``ingestion``, ``ledger``, ``registry``, ``scoring``, ``storage``.
"""
