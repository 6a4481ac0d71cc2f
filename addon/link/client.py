# SPDX-License-Identifier: GPL-3.0-or-later
"""HTTP client of the dp3d server (``docs/http-api.md``), on the standard library alone.

No bpy here: the worker thread uses this module.  No proxies, no redirects: the token goes to
the configured address and nowhere else.
"""

from __future__ import annotations

import hashlib
import http.client
import ipaddress
import json
import os
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from . import sse, storage
from .errors import AddonError, from_body

PRODUCT = "dp3d"
API_VERSION = 1
DEFAULT_URL = "http://127.0.0.1:8765"

TIMEOUT_S = 20.0
STREAM_TIMEOUT_S = 12.0
"""The server sends a comment every two seconds; this much silence means a dead connection."""
_JSON_LIMIT = 32 << 20
_FILE_LIMIT = 1 << 30


def is_loopback(url: str) -> bool:
    """Whether an address stays on this computer."""
    try:
        host = urlsplit(url).hostname or ""
        if host == "localhost":
            return True
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@dataclass(frozen=True)
class Server:
    """Address of the server, and the token and permission to use it."""

    url: str = DEFAULT_URL
    token: str = ""
    token_source: str = "none"
    """Where the token comes from, in words a person can act on."""
    online_access: bool = False
    """Blender's own switch; only other computers need it."""

    @classmethod
    def configured(cls, url: str, token: str, online_access: bool) -> Server:
        """Server of the preferences; ``DP3D_TOKEN`` wins over the token given there.

        With neither, the token file of a server on this computer is read; a token found that
        way is never sent to another computer.
        """
        url = (url.strip() or DEFAULT_URL).rstrip("/")
        if from_environment := os.environ.get("DP3D_TOKEN", "").strip():
            return cls(url, from_environment, "the environment variable DP3D_TOKEN", online_access)
        if token.strip():
            return cls(url, token.strip(), "the add-on's preferences", online_access)
        if is_loopback(url) and (from_file := storage.read_token_file()):
            return cls(url, from_file, str(storage.token_file()), online_access)
        return cls(url, "", "none", online_access)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *args: Any) -> None:
        return None


class Client:
    """One server; every method raises ``AddonError`` with a sentence for its own failure."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirect())

    # -- handshake ---------------------------------------------------------------------------

    def handshake(self) -> dict[str, Any]:
        """Check address, permission, product, API version and token; the health document.

        Raises:
            AddonError: ``addon.bad_url``, ``addon.online_access_off``, ``server.unreachable``,
                ``server.not_ours``, ``server.version_mismatch`` or ``server.unauthorized``.

        """
        self._check_address()
        try:
            health = self._json("GET", "/v1/health", timeout=5.0)
        except AddonError as error:
            if error.code in ("server.unreachable", "addon.bad_url"):
                raise
            raise self._not_ours() from error
        if not isinstance(health, dict) or health.get("product") != PRODUCT:
            raise self._not_ours()
        if health.get("api") != API_VERSION:
            raise AddonError(
                "server.version_mismatch",
                f"The server speaks API version {health.get('api')}, this add-on speaks "
                f"{API_VERSION}.",
                "Install the server and the add-on from the same release of dp3d.",
            )
        return health

    def engines(self) -> list[dict[str, Any]]:
        """Engines of the server: name, title, available, problem, options of each."""
        engines = self._json("GET", "/v1/engines", timeout=40.0).get("engines", [])
        return [e for e in engines if isinstance(e, dict) and e.get("name")]

    # -- artifacts ---------------------------------------------------------------------------

    def has(self, sha256: str) -> bool:
        """Whether the server has a file."""
        try:
            with self._open("HEAD", f"/v1/artifacts/{sha256}"):
                return True
        except AddonError as error:
            if error.code != "artifact.not_found":
                raise
        return False

    def upload(self, path: Path, sha256: str) -> None:
        """Store a file under its hash, unless the server has it."""
        if self.has(sha256):
            return
        target = f"/v1/artifacts/{sha256}"
        with path.open("rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            headers = {"Content-Type": "application/octet-stream", "Content-Length": str(size)}
            with self._open("PUT", target, stream, headers, timeout=120.0):
                return

    def download(self, sha256: str) -> bytes:
        """Bytes of an artifact, checked against their hash."""
        with self._open("GET", f"/v1/artifacts/{sha256}", timeout=60.0) as response:
            data = self._read(response, _FILE_LIMIT)
        if hashlib.sha256(data).hexdigest() != sha256:
            raise AddonError(
                "artifact.hash_mismatch",
                "A file arrived damaged from the server.",
                "Try again; if it happens again, check the connection to the server.",
            )
        return data

    def tree(self, sha256: str) -> dict[str, str]:
        """Files of a tree artifact: name -> hash."""
        try:
            document = json.loads(self.download(sha256))
            if document["schema"] != "dp3d.tree/1":
                raise ValueError(document["schema"])
            return {str(name): str(f["sha256"]) for name, f in document["files"].items()}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise self._not_ours() from error

    def store_tree(self, files: dict[str, dict[str, Any]]) -> str:
        """Store a tree of files that the server has already.

        Args:
            files: ``{"sha256", "size"}`` of each name.

        Returns:
            SHA-256 of the tree.

        """
        document = json.dumps({"schema": "dp3d.tree/1", "files": files}).encode()
        sha256 = hashlib.sha256(document).hexdigest()
        headers = {"Content-Type": "application/octet-stream"}
        with self._open("PUT", f"/v1/artifacts/{sha256}", document, headers, timeout=60.0):
            return sha256

    # -- jobs --------------------------------------------------------------------------------

    def create_job(self, kind: str, params: dict[str, Any]) -> dict[str, Any]:
        """Queue a job, or get the finished one of these parameters; as the server describes it."""
        return self._json("POST", "/v1/jobs", {"kind": kind, "params": params})

    def job(self, job_id: str) -> dict[str, Any]:
        """A job as it is now."""
        return self._json("GET", f"/v1/jobs/{job_id}")

    def cancel(self, job_id: str) -> None:
        """Ask for a job to stop; nothing happens to one that has ended."""
        self._json("DELETE", f"/v1/jobs/{job_id}")

    def events(self, job_id: str, after: str = "") -> Iterator[sse.Event | None]:
        """Events of a job after a given one; None for each sign of life between them.

        Ends when the server ends the stream.  A broken connection raises
        ``server.unreachable``; call again with the id of the last event to go on.
        """
        headers = {"Accept": "text/event-stream"}
        if after:
            headers["Last-Event-ID"] = after
        with self._open(
            "GET", f"/v1/jobs/{job_id}/events", headers=headers, timeout=STREAM_TIMEOUT_S
        ) as response:
            try:
                yield from sse.parse(response)
            except (OSError, http.client.HTTPException) as error:
                raise self._unreachable(error) from error

    # -- underneath --------------------------------------------------------------------------

    def _check_address(self) -> None:
        try:
            parts = urlsplit(self.server.url)
            usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        except ValueError:
            usable = False
        if not usable:
            raise AddonError(
                "addon.bad_url",
                f"{self.server.url!r} is not an address of a server.",
                f"Give one like {DEFAULT_URL} in the add-on's preferences.",
            )
        if not is_loopback(self.server.url) and not self.server.online_access:
            raise AddonError(
                "addon.online_access_off",
                f"{self.server.url} is another computer and Blender's online access is off.",
                "Switch on Preferences > System > Network > Allow Online Access.",
            )

    def _json(
        self, method: str, path: str, body: Any = None, timeout: float = TIMEOUT_S
    ) -> dict[str, Any]:
        headers = {"Accept": "application/json"}
        data = None
        if body is not None:
            data = json.dumps(body).encode()
            headers["Content-Type"] = "application/json"
        with self._open(method, path, data, headers, timeout) as response:
            try:
                return dict(json.loads(self._read(response, _JSON_LIMIT)))
            except (ValueError, TypeError) as error:
                raise self._not_ours() from error

    def _open(
        self,
        method: str,
        path: str,
        body: Any = None,
        headers: dict[str, str] | None = None,
        timeout: float = TIMEOUT_S,
    ) -> Any:
        self._check_address()
        headers = dict(headers or {})
        if self.server.token and path != "/v1/health":
            headers["Authorization"] = f"Bearer {self.server.token}"
        request = urllib.request.Request(
            self.server.url + path, data=body, headers=headers, method=method
        )
        try:
            return self._opener.open(request, timeout=timeout)
        except urllib.error.HTTPError as error:
            with error:
                raise self._refusal(error, path) from error
        except UnicodeEncodeError as error:
            raise self._unauthorized() from error
        except (OSError, http.client.HTTPException) as error:
            raise self._unreachable(error) from error
        except ValueError as error:  # a control character in the token or the address
            raise self._unauthorized() from error

    def _read(self, response: Any, limit: int) -> bytes:
        try:
            data = response.read(limit + 1)
            # A read with a size does not complain about an early end by itself.
            if len(data) <= limit and response.length:
                raise http.client.IncompleteRead(data, response.length)
        except (OSError, http.client.HTTPException) as error:
            raise self._unreachable(error) from error
        if len(data) > limit:
            raise AddonError(
                "artifact.too_large",
                f"The server's answer is larger than {limit >> 20} MiB.",
                "Ask for fewer or smaller views.",
            )
        return bytes(data)

    def _refusal(self, error: urllib.error.HTTPError, path: str) -> AddonError:
        if error.code == 401:
            return self._unauthorized()
        try:
            described = from_body(json.loads(error.read(_JSON_LIMIT)))
        except (ValueError, OSError, http.client.HTTPException):
            described = None
        if described is not None:
            return described
        if error.code == 404 and path.startswith("/v1/artifacts/"):  # HEAD has no body
            return AddonError(
                "artifact.not_found",
                "The server no longer has a file this needs.",
                "Generate the views again.",
            )
        if error.code >= 500:
            return AddonError(
                "internal", f"The server failed (HTTP {error.code}).", "See the server's log."
            )
        return self._not_ours()

    def _unreachable(self, error: Exception) -> AddonError:
        cause = getattr(error, "reason", error)
        if isinstance(cause, http.client.IncompleteRead):
            reason = "the connection was cut"
        else:
            reason = str(getattr(cause, "strerror", None) or cause).lower()
        local = is_loopback(self.server.url)
        start = "Press Start Server" if local else "Start it there with 'dp3d serve'"
        return AddonError(
            "server.unreachable",
            f"No dp3d server answers at {self.server.url} ({reason}).",
            f"{start}, or correct the address in the add-on's preferences.",
        )

    def _not_ours(self) -> AddonError:
        return AddonError(
            "server.not_ours",
            f"Another service than dp3d answers at {self.server.url}.",
            "Give the address that 'dp3d serve' prints in the add-on's preferences.",
        )

    def _unauthorized(self) -> AddonError:
        if not self.server.token:
            return AddonError(
                "server.unauthorized",
                "The server wants a token and the add-on has none.",
                "Copy the token that 'dp3d serve' names into the add-on's preferences.",
            )
        return AddonError(
            "server.unauthorized",
            f"The server refuses the token (from {self.server.token_source}).",
            "Replace it by the token that 'dp3d serve' names.",
        )
