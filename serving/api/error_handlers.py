"""What becomes of every error that a request meets: the problem document that tells of it."""

import logging
import re
from collections.abc import Iterator

from flask import Flask, Response, current_app, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed, RequestEntityTooLarge

from serving import problems

_VARIABLE = re.compile("<[^>]+>")  # as a route writes it
LOG = logging.getLogger(__name__)


def install(app: Flask) -> None:
    """Make every error that ``app`` answers with a problem document."""
    app.register_error_handler(problems.Problem, lambda problem: problem.response(request.path))
    app.register_error_handler(HTTPException, _from_http)
    app.register_error_handler(Exception, _from_bug)


def _from_http(error: HTTPException) -> Response:
    if isinstance(error, MethodNotAllowed):
        problem = _method_not_allowed(error)
    elif isinstance(error, RequestEntityTooLarge):
        problem = problems.body_too_large(current_app.extensions["settings"].max_body_bytes)
    elif error.code == 404:
        problem = _not_found(current_app)
    else:
        problem = problems.Problem(
            error.code or 500,
            "http-error",
            error.name,
            error.description or error.name,
            expected="a request as HTTP defines it",
            hint="correct the request",
        )
    return problem.response(request.path)


def _from_bug(error: Exception) -> Response:
    LOG.exception("%s %s failed", request.method, request.path, exc_info=error)
    return problems.internal_error().response(request.path)


def _method_not_allowed(error: MethodNotAllowed) -> problems.Problem:
    allowed = ", ".join(sorted(error.valid_methods or ()))
    return problems.Problem(
        405,
        "method-not-allowed",
        "Method not allowed",
        f"{request.method} is not possible here",
        expected=allowed,
        hint="use one of these methods",
        headers={"Allow": allowed},
    )


def _not_found(app: Flask) -> problems.Problem:
    return problems.Problem(
        404,
        "not-found",
        "Not found",
        "there is nothing at this path",
        expected=", ".join(sorted(_requests(app))),
        hint="correct the path",
    )


def _requests(app: Flask) -> Iterator[str]:
    """Yield what ``app`` answers, such as ``GET /model``; without the files that a page loads by itself."""
    for rule in app.url_map.iter_rules():
        if not rule.endpoint.endswith("static"):
            methods = (rule.methods or set()) - {"HEAD", "OPTIONS"}
            yield from (f"{method} {_VARIABLE.sub('{id}', rule.rule)}" for method in methods)
