"""The tasks of the DAGs heart_training and heart_approval, one module each, and what they share.

May import: ``approval``, ``comparison``, ``evaluation``, ``ingestion``, ``ledger``, ``monitoring``, ``packaging``,
``parameters``, ``registry``, ``reports``, ``storage``, ``training``, ``validation``.
"""
