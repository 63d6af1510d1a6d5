"""The ledger: who did what to the registered model and when, in an append-only, hash-chained table of PostgreSQL.

May import: no other package.
"""
