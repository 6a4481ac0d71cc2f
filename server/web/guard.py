"""Who may call: the right ``Host`` and the bearer token, checked before anything is read.

The ``Host`` check keeps a web page that points its own name at 127.0.0.1 (DNS rebinding) from
talking to the server at all; no CORS header is ever sent.
"""

from __future__ import annotations

import hmac
import re

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from dp3d_core.errors import Dp3dError
from server.settings import Settings
from server.web.problems import problem_response

_OPEN_PATHS = frozenset({"/v1/health"})


_HOST = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]+))(?::[0-9]{1,5})?")


class Guard:
    """ASGI middleware in front of every route."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._hosts = settings.allowed_hosts
        self._token = settings.token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it here."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        if self._hosts is not None and _host_name(headers.get("host", "")) not in self._hosts:
            error = Dp3dError(
                "server.wrong_host",
                "The request names a host that this server does not answer for.",
                "Call the server by the address it printed, such as http://127.0.0.1:8765.",
            )
            await problem_response(error)(scope, receive, send)
        elif scope["path"] not in _OPEN_PATHS and not self._may_pass(headers):
            error = Dp3dError(
                "server.unauthorized",
                "The request carries no token, or a wrong one.",
                "Use the token of the file that 'dp3d serve' names when it starts.",
            )
            response = problem_response(error, headers={"WWW-Authenticate": "Bearer"})
            await response(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _may_pass(self, headers: Headers) -> bool:
        scheme, _, token = headers.get("authorization", "").partition(" ")
        return scheme.lower() == "bearer" and hmac.compare_digest(
            token.strip().encode(), self._token
        )


def _host_name(host: str) -> str:
    """Host header without its port: ``localhost``, ``127.0.0.1``, ``::1``; empty when odd."""
    found = _HOST.fullmatch(host)
    return (found[1] or found[2]).lower() if found else ""
