"""The routes of API version 1; ``docs/http-api.md`` is their contract."""

from __future__ import annotations

import asyncio
import importlib.metadata
import os
import time
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Query, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from dp3d_core.engines.registry import check_photo_count
from dp3d_core.errors import Dp3dError
from server.jobs.identity import is_complete, request_digest
from server.jobs.model import Job, JobState
from server.jobs.retention import Reservation
from server.storage.artifacts import too_large
from server.web.downloads import OpenFileResponse, parse_range
from server.web.openapi import api_document
from server.web.problems import bad_request, problem_response
from server.web.requests import DEFAULT_PAGE, IDS, PAGE, JobRequest, parse_job_request
from server.web.services import Services

API_VERSION = 1
"""Version of the HTTP API."""
_WRITE_BYTES = 64 * 1024
"""Bytes of an upload that are collected for one write; 512 uploads together hold 32 MiB."""
_ENGINES_TIMEOUT_S = 20.0
"""Seconds that ``GET /v1/engines`` waits for the start of the worker."""
_GET = ["GET", "HEAD"]

_Number = Annotated[int | None, Query(ge=IDS.low, le=IDS.high)]


def _services(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


async def _check_query_names(request: Request) -> None:
    """Refuse unknown and repeated query parameters."""
    known = {field.alias for field in request.scope["route"].dependant.query_params}
    names = [name for name, _ in request.query_params.multi_items()]
    for name in names:
        if name not in known or names.count(name) > 1:
            what = "is given twice" if name in known else "is not a parameter of this address"
            raise bad_request(f"query.{name[:40]}: it {what}.")


router = APIRouter(prefix="/v1", dependencies=[Depends(_check_query_names)])


@router.api_route("/health", methods=_GET)
async def health(request: Request) -> dict[str, Any]:
    """Product, versions, and the state of the worker."""
    return {
        "product": "dp3d",
        "api": API_VERSION,
        "version": importlib.metadata.version("dp3d"),
        "worker": _services(request).executor.state,
    }


@router.api_route("/openapi.json", methods=_GET)
async def openapi() -> JSONResponse:
    """The API as an OpenAPI document."""
    return JSONResponse(api_document(importlib.metadata.version("dp3d")))


@router.api_route("/engines", methods=_GET)
async def engines(request: Request) -> dict[str, Any]:
    """Engines of the worker; waits up to 20 s while it starts."""
    executor = _services(request).executor
    deadline = time.monotonic() + _ENGINES_TIMEOUT_S
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
    """Receive a file; it is stored when its hash is correct and its size within the limit."""
    services = _services(request)
    services.artifacts.path(sha256)
    limit = services.settings.limits.upload
    length = _declared_length(request)
    if length > limit:
        raise too_large(limit)
    size = await services.in_files(_stored_size, services, sha256)
    if size is not None:
        if (
            "expect" not in request.headers
        ):  # "Expect: 100-continue" sends no body before the answer
            await _discard_body(request, limit)
        return JSONResponse({"sha256": sha256, "size": size})
    reservation = Reservation(services.retention)
    try:
        await services.in_files(reservation.grow, length)
        return await _receive(sha256, request, services, reservation)
    finally:
        reservation.release()


def _stored_size(services: Services, sha256: str) -> int | None:
    """Size of a stored artifact in bytes, marked as used now; None when it is not stored."""
    try:
        return services.artifacts.use(sha256).stat().st_size
    except FileNotFoundError:
        return None
    except Dp3dError as error:
        if error.code != "artifact.not_found":
            raise
        return None


async def _discard_body(request: Request, limit: int) -> None:
    """Read and discard a body, so that the client can use its connection again."""
    received = 0
    async for chunk in request.stream():
        received += len(chunk)
        if received > limit:
            raise too_large(limit)


async def _receive(
    sha256: str, request: Request, services: Services, reservation: Reservation
) -> JSONResponse:
    upload = await services.in_files(
        services.artifacts.receive, sha256, services.settings.limits.upload
    )

    def write(chunk: bytes, total: int) -> None:
        reservation.grow(total)
        upload.write(chunk)

    try:
        buffer, received = bytearray(), 0
        async for chunk in request.stream():
            buffer += chunk
            if len(buffer) >= _WRITE_BYTES:
                received += len(buffer)
                await services.in_files(write, bytes(buffer), received)
                buffer = bytearray()
        await services.in_files(write, bytes(buffer), received + len(buffer))
        artifact = await services.in_files(upload.commit)
    finally:
        upload.abort()
    services.retention.note_stored(artifact.size)
    return JSONResponse(artifact.to_dict(), 201)


@router.api_route("/artifacts/{sha256}", methods=_GET)
async def get_artifact(
    sha256: str,
    request: Request,
    if_none_match: Annotated[str | None, Header()] = None,
    byte_range: Annotated[str | None, Header(alias="Range")] = None,
    if_range: Annotated[str | None, Header()] = None,
) -> Response:
    """The bytes of a file, with headers that keep browsers from showing them as a page."""
    services = _services(request)
    headers = {
        "ETag": f'"{sha256}"',
        "Cache-Control": "private, max-age=31536000, immutable",
        "X-Content-Type-Options": "nosniff",
    }
    if if_none_match is not None and _matches_tag(if_none_match, headers["ETag"]):
        await services.in_files(services.artifacts.use, sha256)
        return Response(status_code=304, headers=headers)
    # Send the whole file for several ranges, and when If-Range names another artifact.
    is_part = byte_range is not None and "," not in byte_range
    is_part = is_part and (if_range is None or if_range == headers["ETag"])
    file = await services.in_files(services.artifacts.open, sha256)
    if not is_part or byte_range is None:
        return OpenFileResponse(file, None, headers, services.files)
    size = os.fstat(file.fileno()).st_size
    part = parse_range(byte_range, size)
    if part is not None:
        return OpenFileResponse(file, part, headers, services.files)
    file.close()
    error = Dp3dError(
        "artifact.bad_range",
        f"{byte_range[:80]!r} is not a range of the {size} bytes of the artifact.",
        "Ask for 'bytes=FIRST-LAST', counted from 0, or for the whole artifact.",
    )
    return problem_response(error, headers={"Content-Range": f"bytes */{size}"})


def _matches_tag(header: str, tag: str) -> bool:
    tags = [part.strip().removeprefix("W/") for part in header.split(",")]
    return tag in tags or tags == ["*"]


@router.delete("/artifacts/{sha256}", status_code=204)
def delete_artifact(sha256: str, request: Request) -> Response:
    """Remove an artifact that no job refers to."""
    try:
        _services(request).retention.delete_artifact(sha256)
    except PermissionError as error:  # Windows: an open file cannot be removed
        raise Dp3dError(
            "artifact.in_use",
            "The artifact cannot be removed just now: a client is reading it, or its folder is "
            "read-only.",
            "Delete it again in some seconds.",
        ) from error
    return Response(status_code=204)


# -- jobs --


@router.post("/jobs")
async def create_job(request: Request) -> JSONResponse:
    """Queue a job, or answer with an identical job."""
    services = _services(request)
    length = max(_declared_length(request), 0)
    body, taken = await _limited_body(request, services, length)
    try:
        loop = asyncio.get_running_loop()
        job_request = await loop.run_in_executor(
            services.reader, parse_job_request, body, services.artifacts
        )
    finally:
        services.bodies.release(taken)
    _check_engine(services, job_request)
    job, is_new = await asyncio.to_thread(_create_or_find_job, services, job_request)
    if is_new:
        services.executor.wake()
    headers = {"Location": f"/v1/jobs/{job.id}"}
    return JSONResponse(job.to_dict(), 201 if is_new else 200, headers)


def _check_engine(services: Services, job_request: JobRequest) -> None:
    """Refuse an engine that the worker cannot run, or that takes fewer photos.

    All pass while the worker starts.
    """
    if job_request.kind != "views":
        return
    params = job_request.params
    for engine in services.executor.engines or []:
        if engine["name"] == params["engine"]:
            if engine["error"] is not None:
                raise Dp3dError.from_dict(engine["error"])
            check_photo_count(engine["name"], engine["references"], 1 + len(params["references"]))


def _create_or_find_job(services: Services, job_request: JobRequest) -> tuple[Job, bool]:
    """The job of a request, new or identical, and whether it is new."""
    kind, params = job_request.kind, job_request.params
    digest = request_digest(kind, params)
    no_space: Dp3dError | None = None
    try:  # before taking a lock: this may remove artifacts
        services.retention.check_space()
    except Dp3dError as error:
        no_space = error

    def check() -> None:
        if no_space is not None:
            raise no_space
        services.retention.check_queue()

    return services.store.create_once(
        kind,
        params,
        digest,
        lambda result: is_complete(result, services.artifacts),
        check,
        fresh=job_request.fresh,
    )


@router.api_route("/jobs", methods=_GET)
def list_jobs(
    request: Request,
    limit: Annotated[int, Query(ge=PAGE.low, le=PAGE.high)] = DEFAULT_PAGE,
    before: _Number = None,
    after: _Number = None,
    state: Annotated[str | None, Query(max_length=100)] = None,
) -> dict[str, Any]:
    """Summaries of jobs, without parameters and results, newest first."""
    states = state.split(",") if state is not None else []
    for name in states:
        if name not in {*JobState}:
            raise bad_request(
                f"query.state: {name[:40]!r} is no state of a job.",
                f"States are: {', '.join(JobState)}; several are joined by commas.",
            )
    jobs = _services(request).store.summaries(limit + 1, before, after, states)
    has_next = len(jobs) > limit
    return {"jobs": jobs[:limit], "next_before": jobs[limit - 1]["number"] if has_next else None}


@router.api_route("/jobs/{job_id}", methods=_GET)
def get_job(job_id: str, request: Request) -> dict[str, Any]:
    """One job."""
    return _services(request).store.get(job_id).to_dict()


@router.delete("/jobs/{job_id}")
def cancel_job(job_id: str, request: Request, purge: Annotated[bool, Query()] = False) -> Response:
    """Cancel a job, at once if queued, within a step if running; with ``purge`` delete it."""
    services = _services(request)
    if purge:
        services.retention.purge_job(job_id)
        return Response(status_code=204)
    job, changed = services.store.request_cancel(job_id)
    if changed:
        services.executor.cancel(job.id)
    return JSONResponse(job.to_dict(), 202 if changed else 200)


@router.api_route("/jobs/{job_id}/events", methods=_GET)
async def job_events(
    job_id: str,
    request: Request,
    after: _Number = None,
    last_event_id: Annotated[str | None, Header()] = None,
) -> Response:
    """The event stream of a job; ``Last-Event-ID`` takes precedence over ``after``."""
    services = _services(request)
    await asyncio.to_thread(services.store.state, job_id)
    start = after or 0
    if last_event_id:
        is_number = last_event_id.isascii() and last_event_id.isdigit() and len(last_event_id) < 20
        is_single = len(request.headers.getlist("last-event-id")) == 1
        if not (is_number and is_single) or int(last_event_id) > IDS.high:
            raise bad_request("Last-Event-ID is not one id of this stream.")
        start = int(last_event_id)
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    if request.method == "HEAD":
        return Response(media_type="text/event-stream", headers=headers)
    services.events.check_stream_limit()
    return StreamingResponse(
        services.events.stream(job_id, start), media_type="text/event-stream", headers=headers
    )


def _declared_length(request: Request) -> int:
    text = request.headers.get("content-length", "0")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else 0


async def _limited_body(request: Request, services: Services, length: int) -> tuple[bytes, int]:
    """Read a body within the limit; returns it and the bytes taken from the budget."""
    limit = services.settings.limits.body
    too_big = bad_request(
        f"The body is larger than {limit / 2**20:.0f} MiB.", "Send fewer cameras at once."
    )
    if length > limit:
        raise too_big
    body, taken = bytearray(), 0
    try:
        async for chunk in request.stream():
            if len(body) + len(chunk) > limit:
                raise too_big
            services.bodies.take(len(chunk))
            taken += len(chunk)
            body += chunk
    except BaseException:
        services.bodies.release(taken)
        raise
    return bytes(body), taken
