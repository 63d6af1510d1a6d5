"""The tasks of the training DAG, one module each: ingest, validate, preprocess, train, compare, register.

May import: ``comparison``, ``evaluation``, ``ingestion``, ``ledger``, ``packaging``, ``registry``, ``reports``,
``storage``, ``training``, ``validation``.
"""
