"""Error handlers: every error is answered with a problem document."""

import logging
import re
from collections.abc import Iterator
from http.client import INTERNAL_SERVER_ERROR, NOT_FOUND

from flask import Flask, Response, current_app, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed, RequestEntityTooLarge

from serving import problems
from serving.prediction_log.writer import PredictionLog
from serving.problems import Problem, ProblemType

PREDICT_PATH = "/predict"

_VARIABLE = re.compile("<[^>]+>")  # a variable part of a route
LOG = logging.getLogger(__name__)


def install(app: Flask) -> None:
    """Register the handlers with ``app``."""
    app.register_error_handler(Problem, _response)
    app.register_error_handler(HTTPException, _from_http)
    app.register_error_handler(Exception, _from_bug)


def _from_http(error: HTTPException) -> Response:
    return _response(_problem(error))


def _response(problem: Problem) -> Response:
    if request.path == PREDICT_PATH and request.method == "POST":
        log: PredictionLog = current_app.extensions["prediction_log"]
        log.refused(problem.slug)
    return problem.response(request.path)


def _problem(error: HTTPException) -> Problem:
    if isinstance(error, MethodNotAllowed):
        return Problem(
            "method-not-allowed", method=request.method, allowed=", ".join(sorted(error.valid_methods or ()))
        )
    if isinstance(error, RequestEntityTooLarge):
        return problems.body_too_large(current_app.extensions["settings"].max_body_bytes)
    if error.code == NOT_FOUND:
        return Problem("not-found", paths=", ".join(sorted(_requests(current_app))))
    kind = ProblemType(
        status=error.code or INTERNAL_SERVER_ERROR,
        title=error.name,
        when="Flask or Werkzeug refuses the request for another reason",
        detail="{reason}",
        expected="a valid HTTP request",
        hint="correct the request",
    )
    return Problem("http-error", kind=kind, reason=error.description or error.name)


def _from_bug(error: Exception) -> Response:
    LOG.exception("%s %s failed", request.method, request.path, exc_info=error)
    return _response(Problem("internal-error"))


def _requests(app: Flask) -> Iterator[str]:
    """Yield each method and path of ``app``, such as ``GET /model``, without the static files of the pages."""
    for rule in app.url_map.iter_rules():
        if not rule.endpoint.endswith("static"):
            methods = (rule.methods or set()) - {"HEAD", "OPTIONS"}
            yield from (f"{method} {_VARIABLE.sub('{id}', rule.rule)}" for method in methods)
