"""The REST API: routes, authentication, request and response formats, OpenAPI document, Postman collection.

May import: ``metrics``, ``model``, ``prediction_log``.
"""
