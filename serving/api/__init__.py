"""The REST API: routes, authentication, request and response formats, OpenAPI document, Postman collection.

May import: ``ledger``, ``metrics``, ``model``, ``prediction_log``.
"""
