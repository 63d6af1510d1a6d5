"""Monitoring of a served version: is it right, are its patients others, is the input complete, the candidate better?

Plain numpy on aggregates: what is stored holds no record of a patient. ``methods`` has the statistics,
``advance`` one day of a version, ``daily`` the days that are missing.

May import: ``evaluation``, ``ingestion``, ``ledger``, ``registry``, ``scoring``, ``storage``.
"""
