"""The Flask application."""

import os

from flask import Flask

from serving.api import auth, error_handlers, hosts, logged_predictions, openapi, outcomes
from serving.api.views import views
from serving.ledger.writer import Ledger
from serving.metrics import prometheus
from serving.model.bundle_cache import BundleCache
from serving.model.model_store import ModelStore, Status
from serving.model.registry_client import RegistryClient
from serving.model.worker_states import Workers
from serving.pages import docs, form
from serving.prediction_log.writer import PredictionLog
from serving.settings import Settings


def create_app(settings: Settings | None = None) -> Flask:
    """Return the application with ``settings``, by default those of the environment.

    It serves no model until ``app.extensions["model_store"].start()`` is called, after the fork.

    Raises:
        SettingError: a setting is invalid.
    """
    settings = settings or Settings.from_environment(os.environ)
    app = Flask(__name__, static_folder=None)
    app.url_map.merge_slashes = False  # else /predictions//x gets a redirect, which is an HTML page, and not a 404
    # one more than allowed: Flask truncates a body without a declared length there, and a body that long is refused
    app.config["MAX_CONTENT_LENGTH"] = settings.max_body_bytes + 1
    cache = BundleCache(settings.make_cache_folder())
    client = RegistryClient(settings.mlflow_url)
    app.extensions["settings"] = settings
    app.extensions["workers"] = workers = Workers()
    app.extensions["ledger"] = ledger = Ledger(settings)

    def follow(before: Status, now: Status) -> None:
        prometheus.follow(before, now)
        ledger.follow(before, now)

    app.extensions["model_store"] = ModelStore(settings, client, cache, workers, follow)
    app.extensions["prediction_log"] = PredictionLog(settings)
    app.register_blueprint(views)
    logged_predictions.install(app)
    outcomes.install(app)
    form.install(app)
    error_handlers.install(app)
    hosts.install(app, settings)
    auth.install(app, settings)
    openapi.install(app)
    docs.install(app)
    prometheus.install(app)
    return app
