"""The HTML pages: the prediction form and the API documentation.

May import: ``api``, ``model``.
"""
