"""Checks the ``Host`` header and the bearer token before a request's body is read.

The ``Host`` check stops DNS rebinding: a web page that points its own name at 127.0.0.1 cannot
reach the server.  CORS headers are never sent.  Headers of a proxy about its clients
(``Forwarded``, ``X-Forwarded-*``) are ignored.
"""

from __future__ import annotations

import hmac
import ipaddress
import re

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from dp3d_core.errors import Dp3dError
from server.settings import Settings
from server.web.problems import problem_response

HAS_TOKEN = "has_token"
"""Key in a request's state: whether the request has the token."""
_OPEN_PATHS = frozenset({"/v1/health"})
"""Paths that need no token."""

_HOST = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]+))(?::[0-9]{1,5})?")
"""Value of a ``Host`` header: an IPv6 address in brackets, or a name or IPv4 address; a port."""


class Guard:
    """ASGI middleware in front of every route."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._hosts = settings.allowed_hosts
        proxy = settings.exposure.behind_proxy
        self._proxy = None if proxy is None else _address(proxy)
        self._token = settings.token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        if self._proxy is not None and not self._is_proxy(scope):
            error = Dp3dError(
                "server.not_protected",
                "The request does not come from the proxy of this server.",
                "Call the server by the address of its proxy, with https.",
            )
            await problem_response(error)(scope, receive, send)
        elif _strip_port(headers.get("host", "")) not in self._hosts:
            error = Dp3dError(
                "server.wrong_host",
                "The request names a host that this server does not answer for.",
                "Call the server by the address it printed, such as http://127.0.0.1:8765, or "
                "start it with --allowed-host.",
            )
            await problem_response(error)(scope, receive, send)
        elif not self._is_allowed(scope, headers):
            error = Dp3dError(
                "server.unauthorized",
                "The request carries no token, or a wrong one.",
                "Use the token of the file that 'dp3d serve' names when it starts.",
            )
            response = problem_response(error, headers={"WWW-Authenticate": "Bearer"})
            await response(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _is_proxy(self, scope: Scope) -> bool:
        client = scope.get("client")
        return client is not None and _address(client[0]) == self._proxy

    def _is_allowed(self, scope: Scope, headers: Headers) -> bool:
        scheme, _, token = headers.get("authorization", "").partition(" ")
        has_token = scheme.lower() == "bearer" and hmac.compare_digest(
            token.strip().encode(), self._token
        )
        scope.setdefault("state", {})[HAS_TOKEN] = has_token
        return has_token or scope["path"] in _OPEN_PATHS


def _address(text: str) -> str:
    """Canonical text of an IP address; IPv4 addresses mapped to IPv6 become IPv4."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return text
    mapped = getattr(address, "ipv4_mapped", None)
    return str(mapped or address)


def _strip_port(host: str) -> str:
    """Host header without its port: ``localhost``, ``127.0.0.1``, ``::1``; empty when invalid."""
    match = _HOST.fullmatch(host)
    return (match[1] or match[2]).lower() if match else ""
