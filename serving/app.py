"""The Flask application."""

import os

from flask import Flask

from serving import access, docs_page, error_handlers, lineage, metrics, openapi, page
from serving.cache import BundleCache
from serving.model_store import ModelStore
from serving.prediction_log import PredictionLog
from serving.registry_client import RegistryClient
from serving.settings import Settings
from serving.views import views
from serving.workers import Workers


def create_app(settings: Settings | None = None) -> Flask:
    """Return the application, without ``settings`` with those of the environment.

    It serves nothing until ``app.extensions["model_store"].start()`` was called, after the fork.

    Raises:
        SettingError: a setting is not possible.
    """
    settings = settings or Settings.from_environment(os.environ)
    app = Flask(__name__, static_folder=None)
    app.url_map.merge_slashes = False  # else /predictions//x is answered by a redirect, which is a page, and not by 404
    # one more, because a body without a declared length is cut there in silence: one that long is too long
    app.config["MAX_CONTENT_LENGTH"] = settings.max_body_bytes + 1
    cache = BundleCache(settings.make_cache_folder())
    app.extensions["settings"] = settings
    app.extensions["workers"] = workers = Workers()
    app.extensions["model_store"] = ModelStore(settings, RegistryClient(settings.mlflow_url), cache, workers)
    app.extensions["prediction_log"] = PredictionLog(settings)
    app.register_blueprint(views)
    lineage.install(app)
    page.install(app)
    error_handlers.install(app)
    access.install(app, settings)
    openapi.install(app)
    docs_page.install(app)
    metrics.install(app)
    return app
