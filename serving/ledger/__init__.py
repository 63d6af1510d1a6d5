"""Enters in the stack's ledger which versions the service serves and refuses.

May import: ``model``, ``prediction_log``.
"""
