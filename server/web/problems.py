"""Error responses as RFC 9457 problem details."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import BaseRoute, Match

from dp3d_core.errors import Dp3dError

log = logging.getLogger(__name__)

RETRY_CODES = frozenset({"server.busy", "server.database_busy", "job.queue_full"})
"""Codes of temporary errors, whose answers carry ``Retry-After``."""
RETRY_AFTER_S = 5
"""Value of ``Retry-After``, seconds."""
_MAX_TEXT = 1000
"""Characters at which a text of a problem is cut off."""

MEDIA_TYPE = "application/problem+json"
"""Media type of RFC 9457."""


def problem_response(
    error: Dp3dError, status: int | None = None, headers: dict[str, str] | None = None
) -> JSONResponse:
    """The response for a coded error.

    Args:
        error: with code, problem and remedy.
        status: HTTP status instead of that of the code.
        headers: of the response.

    """
    body = problem_document(error, status)
    headers = dict(headers or {})
    if error.code in RETRY_CODES:
        headers.setdefault("Retry-After", str(RETRY_AFTER_S))
    return JSONResponse(body, body["status"], headers, media_type=MEDIA_TYPE)


def problem_document(error: Dp3dError, status: int | None = None) -> dict[str, Any]:
    """The members of a problem document; each text is cut off at 1000 characters."""
    body = error.to_dict()
    body["status"] = status or body["status"]
    for name in ("problem", "remedy", "detail"):
        text = body[name].encode(errors="replace").decode()
        body[name] = text if len(text) <= _MAX_TEXT else text[:_MAX_TEXT] + "..."
    return body


def bad_request(problem: str, remedy: str = "See docs/http-api.md.") -> Dp3dError:
    """The error ``server.bad_request``."""
    return Dp3dError("server.bad_request", problem, remedy)


def install(app: FastAPI, routes: Sequence[BaseRoute]) -> None:
    """Register the error handlers of an application.

    Args:
        app: the application.
        routes: of the API, for the ``Allow`` header.

    """

    @app.exception_handler(Dp3dError)
    async def ours(_request: Request, error: Dp3dError) -> JSONResponse:
        return problem_response(error)

    @app.exception_handler(RequestValidationError)
    async def invalid(_request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        where = ".".join(str(part)[:40] for part in first["loc"])
        return problem_response(bad_request(f"{where}: {first['msg']}."))

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> JSONResponse:
        problem = f"{request.method[:20]} {request.url.path[:200]} is not part of this API."
        headers = dict(error.headers or {})
        if error.status_code == 405:
            headers["Allow"] = ", ".join(_methods(routes, request))
        return problem_response(
            Dp3dError("server.no_such_address", problem, "See docs/http-api.md."),
            error.status_code,
            headers,
        )

    @app.exception_handler(ClientDisconnect)
    async def gone(_request: Request, _error: ClientDisconnect) -> JSONResponse:
        return JSONResponse({}, 499)  # the client is gone: not sent

    @app.exception_handler(Exception)
    async def unexpected(_request: Request, error: Exception) -> JSONResponse:
        # Starlette logs the traceback after this answer.
        return problem_response(
            Dp3dError(
                "internal",
                f"The server met an unexpected error ({type(error).__name__}).",
                "Please report it with what the server printed.",
            )
        )


def _methods(routes: Sequence[BaseRoute], request: Request) -> list[str]:
    """Methods of all routes at a request's address; Starlette names those of one route only."""
    methods: set[str] = set()
    for route in routes:
        if route.matches(request.scope)[0] is not Match.NONE:
            methods |= set(getattr(route, "methods", None) or ())
    return sorted(methods)
