"""The REST API: routes, authentication, request and response formats, OpenAPI document, Postman collection.

May import: ``prediction_log``, ``metrics``, ``model``.
"""
