"""Failures as RFC 9457 problem details, whatever raised them."""

from __future__ import annotations

import logging

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from dp3d_core.errors import Dp3dError

log = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"


def problem_response(
    error: Dp3dError, status: int | None = None, headers: dict[str, str] | None = None
) -> JSONResponse:
    """The response for an error of ours; ``status`` when HTTP has a more exact one."""
    body = error.to_dict()
    body["status"] = status or body["status"]
    return JSONResponse(body, body["status"], headers, media_type=MEDIA_TYPE)


def bad_request(problem: str, remedy: str = "See docs/http-api.md.") -> Dp3dError:
    """A request that cannot be understood."""
    return Dp3dError("server.bad_request", problem, remedy)


def install(app: FastAPI) -> None:
    """Register the handlers."""

    @app.exception_handler(Dp3dError)
    async def ours(_request: Request, error: Dp3dError) -> JSONResponse:
        return problem_response(error)

    @app.exception_handler(RequestValidationError)
    async def invalid(_request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        return problem_response(bad_request(f"{where}: {first['msg']}."))

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> JSONResponse:
        problem = f"{request.method} {request.url.path} is not part of this API."
        return problem_response(
            Dp3dError("server.no_such_address", problem, "See docs/http-api.md."),
            error.status_code,
            dict(error.headers or {}),
        )

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
