"""Requests for approval and their answers: who may answer, what an answer needs, which request is open.

May import: ``ledger``, ``registry``.
"""
