"""The routes of API version 1 (``docs/http-api.md`` is the contract)."""

from __future__ import annotations

import asyncio
import importlib.metadata
import time
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.requests import ClientDisconnect

from dp3d_core.errors import Dp3dError
from server.artifacts import too_large
from server.jobs.identity import is_whole, request_digest
from server.jobs.model import Job
from server.web.problems import bad_request
from server.web.requests import JobRequest, parse_job_request
from server.web.services import Services
from server.web.sse import event_stream

API_VERSION = 1
_WRITE_AT_ONCE = 1024 * 1024
_ENGINES_WAIT_S = 20.0

router = APIRouter(prefix="/v1")


def _services(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


@router.get("/health")
async def health(request: Request) -> dict[str, Any]:
    """Who answers here, and whether it can work."""
    return {
        "product": "dp3d",
        "api": API_VERSION,
        "version": importlib.metadata.version("dp3d"),
        "worker": _services(request).executor.state,
    }


@router.get("/engines")
async def engines(request: Request) -> dict[str, Any]:
    """Engines as the worker sees them; waits a little while it starts."""
    executor = _services(request).executor
    deadline = time.monotonic() + _ENGINES_WAIT_S
    while executor.engines is None:
        if executor.state == "down" or time.monotonic() > deadline:
            raise Dp3dError(
                "server.worker_down",
                "The worker process does not start.",
                "Run 'dp3d doctor' on the server; logs/worker.log in its data folder has more.",
            )
        await asyncio.sleep(0.1)
    return {"engines": executor.engines}


# -- artifacts --


@router.put("/artifacts/{sha256}")
async def put_artifact(sha256: str, request: Request) -> JSONResponse:
    """Receive a file; its hash is checked, its size limited, and it appears whole."""
    services = _services(request)
    path = services.artifacts.path(sha256)
    if path.is_file():
        return JSONResponse({"sha256": sha256, "size": path.stat().st_size})
    limit = services.settings.upload_limit
    if _declared_length(request) > limit:
        raise too_large(limit)
    upload = await asyncio.to_thread(services.artifacts.receive, sha256, limit)
    try:
        waiting = bytearray()
        async for chunk in request.stream():
            waiting += chunk
            if len(waiting) >= _WRITE_AT_ONCE:
                await asyncio.to_thread(upload.write, bytes(waiting))
                waiting.clear()
        await asyncio.to_thread(upload.write, bytes(waiting))
        artifact = await asyncio.to_thread(upload.commit)
    except ClientDisconnect:
        return JSONResponse({}, 499)  # nobody is there to read it
    finally:
        upload.abort()
    return JSONResponse(artifact.to_dict(), 201)


@router.api_route("/artifacts/{sha256}", methods=["GET", "HEAD"])
def get_artifact(sha256: str, request: Request) -> FileResponse:
    """The bytes of a file.  Never sniffed, never shown: a client's bytes are not a page."""
    return FileResponse(
        _services(request).artifacts.find(sha256),
        media_type="application/octet-stream",
        headers={
            "ETag": f'"{sha256}"',
            "Cache-Control": "private, max-age=31536000, immutable",
            "X-Content-Type-Options": "nosniff",
        },
    )


# -- jobs --


@router.post("/jobs")
async def create_job(request: Request) -> JSONResponse:
    """Queue a job, or answer with an identical one."""
    services = _services(request)
    body = await _limited_body(request, services.settings.body_limit)
    wanted = await asyncio.to_thread(parse_job_request, body, services.artifacts)
    _check_engine(services, wanted)
    job, is_new = await asyncio.to_thread(_queue, services, wanted)
    if is_new:
        services.executor.wake()
    headers = {"Location": f"/v1/jobs/{job.id}"}
    return JSONResponse(job.to_dict(), 201 if is_new else 200, headers)


def _check_engine(services: Services, wanted: JobRequest) -> None:
    """Refuse an engine that the worker cannot run; while the worker starts, nothing is known."""
    if wanted.kind != "views":
        return
    for engine in services.executor.engines or []:
        if engine["name"] == wanted.params["engine"] and engine["error"] is not None:
            raise Dp3dError.from_dict(engine["error"])


def _queue(services: Services, wanted: JobRequest) -> tuple[Job, bool]:
    """A job of a request, and whether it is new."""
    kind, params = wanted.kind, wanted.params
    digest = request_digest(kind, params)
    if wanted.fresh:
        return services.store.create(kind, params, digest), True
    return services.store.create_once(
        kind, params, digest, lambda result: is_whole(result, services.artifacts)
    )


@router.get("/jobs")
def list_jobs(request: Request, limit: Annotated[int, Query(ge=1, le=1000)] = 50) -> dict[str, Any]:
    """Jobs, newest first."""
    return {"jobs": [job.to_dict() for job in _services(request).store.recent(limit)]}


@router.get("/jobs/{job_id}")
def get_job(job_id: str, request: Request) -> dict[str, Any]:
    """One job."""
    return _services(request).store.get(job_id).to_dict()


@router.delete("/jobs/{job_id}")
def cancel_job(job_id: str, request: Request) -> Response:
    """Cancel a job: a queued one at once, a running one within a step."""
    services = _services(request)
    job, changed = services.store.request_cancel(job_id)
    if changed:
        services.executor.cancel(job.id)
    return JSONResponse(job.to_dict(), 202 if changed else 200)


@router.get("/jobs/{job_id}/events")
async def job_events(
    job_id: str,
    request: Request,
    after: Annotated[int | None, Query(ge=0)] = None,
    last_event_id: Annotated[str | None, Header()] = None,
) -> StreamingResponse:
    """The event stream of a job; ``Last-Event-ID`` wins over ``after``."""
    services = _services(request)
    await asyncio.to_thread(services.store.get, job_id)
    start = after or 0
    if last_event_id:
        if not last_event_id.isascii() or not last_event_id.isdigit() or len(last_event_id) > 18:
            raise bad_request("Last-Event-ID is not an id of this stream.")
        start = int(last_event_id)
    return StreamingResponse(
        event_stream(services.store, job_id, start, services.stopping),
        media_type="text/event-stream",
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )


def _declared_length(request: Request) -> int:
    text = request.headers.get("content-length", "0")
    return int(text) if text.isascii() and text.isdigit() else 0


async def _limited_body(request: Request, limit: int) -> bytes:
    too_big = bad_request(
        f"The body is larger than {limit / 2**20:.0f} MiB.", "Send fewer cameras at once."
    )
    if _declared_length(request) > limit:
        raise too_big
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise too_big
    return bytes(body)
