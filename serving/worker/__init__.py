"""The service's gunicorn worker: it reads complete requests before a thread gets them; see README.md in this folder.

May import: ``api``, ``metrics``, ``model``, ``prediction_log``.
"""
