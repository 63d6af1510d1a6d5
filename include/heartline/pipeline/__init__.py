"""The tasks of the training DAG, one module each: ingest, validate, preprocess, train, compare, register.

May import: every other package of ``heartline``.
"""
