"""A minimal service to compare with: Flask, a data frame made from the request, and the fitted pipeline."""

import os

import joblib
import pandas as pd
from flask import Flask, Response, jsonify, request


def create() -> Flask:
    """Return the application; ``PLAIN_MODEL`` is a folder with the pipeline, the names of its columns beside it."""
    app = Flask(__name__, static_folder=None)
    model, features = joblib.load(os.environ["PLAIN_MODEL"])

    @app.post("/predict")
    def predict() -> Response:
        body = request.get_json()
        frame = pd.DataFrame(body if isinstance(body, list) else [body]).reindex(columns=features)
        answers = [
            {"has_heart_disease": bool(probability >= 0.5), "probability": float(probability)}
            for probability in model.predict_proba(frame.to_numpy("float64"))[:, 1]
        ]
        return jsonify(answers if isinstance(body, list) else answers[0])

    return app
