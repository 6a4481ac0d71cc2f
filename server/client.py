"""The Python client of a dp3d server, described in docs/http-api.md.

>>> with Client("http://127.0.0.1:8765", token) as client:
...     portrait = client.put_file(Path("me.jpg"))
...     job = client.create_job("views", portrait=portrait, cameras={"preset": "orbit"})
...     result = client.wait(job["id"])
...     client.get_tree(result["views"], Path("views"))

Every call may raise :class:`Dp3dError` with a code of the server, or with
``server.unreachable``, ``server.not_ours`` or ``artifact.hash_mismatch`` from the client.  A
cancelled job raises :class:`Cancelled`, a subclass.  One thread at a time may use a client; its
connections stay open until :meth:`Client.close`.
"""

from __future__ import annotations

import hashlib
import json
import ssl
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx

from dp3d_core.errors import Cancelled, Dp3dError
from dp3d_core.limits import PhotoSide
from dp3d_core.storage.files import hash_file, write_atomic
from server.storage.artifacts import TREE_SCHEMA, check_tree_name, parse_tree

__all__ = ["API_VERSION", "Cancelled", "Client", "Dp3dError", "StreamEvent", "parse_events"]

API_VERSION = 1
"""Version of the HTTP API that this client speaks."""


@dataclass(frozen=True)
class StreamEvent:
    """One event of a job's stream."""

    id: int
    """Grows with time; ``Client.events(job_id, after=id)`` resumes after this event."""
    event: str
    """``state``, ``progress`` or ``artifact``."""
    data: dict[str, Any]
    """Members by kind of event, listed in docs/http-api.md."""


class Client:
    """Talks to one server.

    Args:
        url: as ``dp3d serve`` prints it.
        token: the bearer token.
        timeout_s: longest silence of the server, seconds; event streams send a heartbeat every
            2 s.
        certificate: PEM file of the authority that signed the server's certificate, or of the
            certificate itself; None for the authorities that Python trusts.

    """

    def __init__(
        self, url: str, token: str, timeout_s: float = 30.0, certificate: Path | None = None
    ) -> None:
        context = ssl.create_default_context(cafile=certificate) if certificate else True
        self._http = httpx.Client(
            base_url=url,
            headers={"Authorization": f"Bearer {token}"},
            timeout=timeout_s,
            verify=context,
            trust_env=False,  # no proxy of the environment between client and server
        )

    @property
    def url(self) -> str:
        """Address of the server."""
        return str(self._http.base_url).rstrip("/")

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # -- health and engines --

    def health(self) -> dict[str, Any]:
        """The server's health, after checking that a dp3d server of this API version answers.

        Raises:
            Dp3dError: ``server.unreachable``, ``server.not_ours``, ``server.version_mismatch``.

        """
        response = self._send("GET", "/v1/health")
        try:
            health: dict[str, Any] = response.json()
            is_dp3d = response.status_code == 200 and health["product"] == "dp3d"
        except (ValueError, KeyError, TypeError):
            is_dp3d = False
        if not is_dp3d:
            raise Dp3dError(
                "server.not_ours",
                f"What answers at {self._http.base_url} is not a dp3d server.",
                "Check address and port; 'dp3d serve' prints its own.",
            )
        if health.get("api") != API_VERSION:
            raise Dp3dError(
                "server.version_mismatch",
                f"The server speaks API version {health.get('api')}, this client {API_VERSION}.",
                "Install the same dp3d version on both sides.",
            )
        return health

    def engines(self) -> list[dict[str, Any]]:
        """Descriptions of the engines."""
        engines: list[dict[str, Any]] = self._json("GET", "/v1/engines")["engines"]
        return engines

    # -- artifacts --

    def put_bytes(self, data: bytes) -> str:
        """Upload bytes, unless the server has them; returns their SHA-256."""
        sha256 = hashlib.sha256(data).hexdigest()
        if self._http_head(sha256).status_code != 200:
            self._json("PUT", f"/v1/artifacts/{sha256}", content=data)
        return sha256

    def put_file(self, path: Path) -> str:
        """Upload a file, unless the server has it; returns its SHA-256."""
        sha256 = hash_file(path)
        if self._http_head(sha256).status_code != 200:
            with path.open("rb") as file:
                self._json("PUT", f"/v1/artifacts/{sha256}", content=file)
        return sha256

    def put_reference(self, path: Path, side: PhotoSide = "auto") -> dict[str, str]:
        """Upload a further photo of the person; returns an entry for a job's ``references``.

        Args:
            path: file of the photo.
            side: side of the head that it shows; ``auto`` is estimated.

        """
        return {"portrait": self.put_file(path), "side": side}

    def put_tree(self, folder: Path) -> str:
        """Upload a folder, such as a view set; returns the SHA-256 of its tree.

        Hidden files are left out.

        Raises:
            Dp3dError: also ``artifact.bad_tree`` for a file name that a tree does not allow.

        """
        files = {}
        for path in sorted(folder.rglob("*")):
            relative = path.relative_to(folder)
            if path.is_file() and not any(part.startswith(".") for part in relative.parts):
                name = check_tree_name(relative.as_posix())
                files[name] = {"sha256": self.put_file(path), "size": path.stat().st_size}
        return self.put_bytes(json.dumps({"schema": TREE_SCHEMA, "files": files}).encode())

    def _http_head(self, sha256: str) -> httpx.Response:
        return self._send("HEAD", f"/v1/artifacts/{sha256}")

    def get_bytes(self, sha256: str) -> bytes:
        """Download an artifact and check its hash.

        Raises:
            Dp3dError: ``artifact.not_found``, ``artifact.hash_mismatch``.

        """
        response = self._send("GET", f"/v1/artifacts/{sha256}")
        self._raise_for(response)
        data = response.content
        if hashlib.sha256(data).hexdigest() != sha256:
            raise Dp3dError(
                "artifact.hash_mismatch",
                "The bytes received do not match the hash they were asked by.",
                "Fetch them again; if it happens twice, check the server's disk.",
            )
        return data

    def get_tree(self, sha256: str, folder: Path) -> Path:
        """Download a tree into a folder, made when absent; returns the folder.

        Raises:
            Dp3dError: ``artifact.*``, ``output.not_writable``, ``storage.full``.

        """
        for name, artifact in parse_tree(self.get_bytes(sha256)).items():
            write_atomic(folder / name, self.get_bytes(artifact.sha256))
        return folder

    # -- jobs --

    def create_job(self, kind: str, *, fresh: bool = False, **params: Any) -> dict[str, Any]:
        """Queue a job; an identical job that the server has is returned instead.

        Args:
            kind: ``views``, ``fit``, ``render``, ``mesh`` or ``head``.
            fresh: queue a new job although an identical one exists.
            params: parameters of this kind of job, listed in docs/http-api.md.

        Returns:
            the job.

        Raises:
            Dp3dError: ``server.bad_request`` and other codes for a wrong request,
                ``job.queue_full``, ``storage.quota``.

        """
        body = {"kind": kind, "params": params} | ({"fresh": True} if fresh else {})
        return self._json("POST", "/v1/jobs", json=body)

    def job(self, job_id: str) -> dict[str, Any]:
        """A job with the members of docs/http-api.md; raises ``job.not_found``."""
        return self._json("GET", f"/v1/jobs/{job_id}")

    def jobs(
        self,
        limit: int = 50,
        before: int | None = None,
        after: int | None = None,
        states: Collection[str] = (),
    ) -> list[dict[str, Any]]:
        """Jobs without parameters and results, newest first.

        Args:
            limit: largest number of jobs, 1 to 1000.
            before: only jobs with a smaller ``number``; the last job's number gives the next page.
            after: only jobs with a larger ``number``.
            states: only jobs in one of these states; all when empty.

        """
        query = {"limit": limit, "before": before, "after": after, "state": ",".join(states)}
        params = {name: value for name, value in query.items() if value not in (None, "")}
        jobs: list[dict[str, Any]] = self._json("GET", "/v1/jobs", params=params)["jobs"]
        return jobs

    def cancel(self, job_id: str) -> dict[str, Any]:
        """Cancel a job and return it; an ended job is returned unchanged."""
        return self._json("DELETE", f"/v1/jobs/{job_id}")

    def delete_job(self, job_id: str) -> None:
        """Delete an ended job, its events and its results; raises ``job.not_ended``."""
        self._raise_for(self._send("DELETE", f"/v1/jobs/{job_id}", params={"purge": "true"}))

    def delete_artifact(self, sha256: str) -> None:
        """Remove an artifact; raises ``artifact.in_use`` while a job refers to it."""
        self._raise_for(self._send("DELETE", f"/v1/artifacts/{sha256}"))

    def events(self, job_id: str, after: int = 0) -> Iterator[StreamEvent]:
        """Events of a job with ids above ``after``, up to the event that ends the job."""
        request = self._http.build_request(
            "GET", f"/v1/jobs/{job_id}/events", headers={"Last-Event-ID": str(after)}
        )
        try:
            response = self._http.send(request, stream=True)
            try:
                if response.status_code != 200:
                    response.read()
                    self._raise_for(response)
                yield from parse_events(response.iter_lines())
            finally:
                response.close()
        except httpx.TransportError as error:
            raise self._unreachable(error) from error

    def wait(self, job_id: str) -> dict[str, Any]:
        """Follow a job to its end and return its result.

        Raises:
            Dp3dError: the job's own error, ``job.cancelled``, or an error of the connection.

        """
        for _ in self.events(job_id):
            pass
        job = self.job(job_id)
        if job["state"] == "cancelled":
            raise Cancelled("The job")
        if job["state"] != "succeeded":
            raise Dp3dError.from_dict(job["error"] or {})
        result: dict[str, Any] = job["result"]
        return result

    # -- helpers --

    def _send(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        try:
            return self._http.request(method, path, **arguments)
        except httpx.TransportError as error:
            raise self._unreachable(error) from error

    def _json(self, method: str, path: str, **arguments: Any) -> dict[str, Any]:
        response = self._send(method, path, **arguments)
        self._raise_for(response)
        answer: dict[str, Any] = response.json()
        return answer

    def _unreachable(self, error: httpx.TransportError) -> Dp3dError:
        return Dp3dError(
            "server.unreachable",
            f"No dp3d server answers at {self._http.base_url}.",
            "Start one with 'dp3d serve', or correct address and port.",
            str(error),
        )

    @staticmethod
    def _raise_for(response: httpx.Response) -> None:
        if response.status_code < 400:
            return
        try:
            raise Dp3dError.from_dict(response.json())
        except ValueError as error:
            raise Dp3dError(
                "server.not_ours",
                f"The answer ({response.status_code}) does not come from a dp3d server.",
                "Check address and port; 'dp3d serve' prints its own.",
            ) from error


def parse_events(lines: Iterator[str]) -> Iterator[StreamEvent]:
    """Parse the lines of a server-sent event stream; comments are skipped."""
    fields: dict[str, str] = {}
    for line in lines:
        if line.startswith(":"):
            continue
        if line:
            name, _, value = line.partition(":")
            fields[name] = value.removeprefix(" ")
        elif fields:
            yield StreamEvent(int(fields["id"]), fields["event"], json.loads(fields["data"]))
            fields = {}
