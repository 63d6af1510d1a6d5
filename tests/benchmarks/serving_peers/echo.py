"""Flask that sends back the JSON that it got: the cost of a Flask service that does no work."""

from flask import Flask, Response, jsonify, request


def create() -> Flask:
    """Return the application."""
    app = Flask(__name__, static_folder=None)

    @app.post("/predict")
    def echo() -> Response:
        return jsonify(request.get_json())

    return app
