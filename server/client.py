"""A client of the HTTP API, with the same errors as everything else."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx

from dp3d_core.errors import Cancelled, Dp3dError
from server.artifacts import TREE_SCHEMA, check_tree_name, hash_file, parse_tree
from server.jobs.model import JobState

API_VERSION = 1


@dataclass(frozen=True)
class StreamEvent:
    """One event of a job's stream."""

    id: int
    event: str
    data: dict[str, Any]


class Client:
    """Talks to one server.

    Args:
        url: as ``dp3d serve`` prints it.
        token: the bearer token.
        timeout_s: for one answer; event streams tell every two seconds that they live.

    """

    def __init__(self, url: str, token: str, timeout_s: float = 30.0) -> None:
        self._http = httpx.Client(
            base_url=url,
            headers={"Authorization": f"Bearer {token}"},
            timeout=timeout_s,
            trust_env=False,  # a proxy has no business between us and this machine
        )

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
        """The server's health, after a look at who answers there.

        Raises:
            Dp3dError: ``server.unreachable``, ``server.not_ours``, ``server.version_mismatch``.

        """
        response = self._send("GET", "/v1/health")
        try:
            health: dict[str, Any] = response.json()
            ours = response.status_code == 200 and health["product"] == "dp3d"
        except (ValueError, KeyError, TypeError):
            ours = False
        if not ours:
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
        """Send bytes; returns their hash."""
        sha256 = hashlib.sha256(data).hexdigest()
        if self._http_head(sha256).status_code != 200:
            self._json("PUT", f"/v1/artifacts/{sha256}", content=data)
        return sha256

    def put_file(self, path: Path) -> str:
        """Send a file; returns its hash."""
        sha256 = hash_file(path).sha256
        if self._http_head(sha256).status_code != 200:
            with path.open("rb") as file:
                self._json("PUT", f"/v1/artifacts/{sha256}", content=file)
        return sha256

    def put_tree(self, folder: Path) -> str:
        """Send a folder; returns the hash of its tree."""
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
        """Fetch an artifact, checked against its hash."""
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
        """Fetch a tree into a folder."""
        from dp3d_core.files import write_atomic

        for name, artifact in parse_tree(self.get_bytes(sha256)).items():
            write_atomic(folder / name, self.get_bytes(artifact.sha256))
        return folder

    # -- jobs --

    def create_job(self, kind: str, *, fresh: bool = False, **params: Any) -> dict[str, Any]:
        """Queue a job, or get the identical one that is there.

        Args:
            kind: of the job.
            fresh: queue a new one in any case.
            params: of the job.

        """
        body = {"kind": kind, "params": params} | ({"fresh": True} if fresh else {})
        return self._json("POST", "/v1/jobs", json=body)

    def job(self, job_id: str) -> dict[str, Any]:
        """A job."""
        return self._json("GET", f"/v1/jobs/{job_id}")

    def jobs(self) -> list[dict[str, Any]]:
        """Jobs, newest first."""
        jobs: list[dict[str, Any]] = self._json("GET", "/v1/jobs")["jobs"]
        return jobs

    def cancel(self, job_id: str) -> dict[str, Any]:
        """Cancel a job."""
        return self._json("DELETE", f"/v1/jobs/{job_id}")

    def events(self, job_id: str, after: int = 0) -> Iterator[StreamEvent]:
        """Events of a job after an id, until the one that ends it."""
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
            Dp3dError: what the job failed with, ``job.cancelled``, or what went wrong between
                us and the server.

        """
        for _ in self.events(job_id):
            pass
        job = self.job(job_id)
        if job["state"] == JobState.CANCELLED:
            raise Cancelled("The job")
        if job["state"] != JobState.SUCCEEDED:
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
    """Events of a server-sent event stream; comments are skipped."""
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
