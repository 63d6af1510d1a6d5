"""Monitoring of a served version: is it right, are the patients others, is the input complete, is the candidate better.

Plain numpy on aggregates: what is stored from day to day holds no record of a patient. ``methods`` has the statistics,
``advance`` one day of a version, ``daily`` the days that are missing.

May import: ``evaluation``, ``ingestion``, ``ledger``, ``registry``, ``scoring``, ``storage``.
"""
