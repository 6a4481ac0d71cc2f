"""Parses and checks bodies of ``POST /v1/jobs``.

Sizes and counts are checked before any computation: refusing a body of the largest size takes a
few milliseconds.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from dp3d_core.cameras.trajectories import cameras_from_request
from dp3d_core.engines.registry import check_engine_name
from dp3d_core.errors import Dp3dError
from dp3d_core.limits import PATH_VIEWS, Range
from dp3d_core.viewsets.video_limits import check_frames
from server.jobs.params import (
    JOB_PARAMS,
    FitParams,
    JobParams,
    MeshParams,
    PersonParams,
    RenderParams,
    ViewsParams,
)
from server.storage.artifacts import ArtifactStore
from server.storage.bounded_json import parse_bounded
from server.web.problems import bad_request

IDS = Range(0, 2**63 - 1)
"""Range of event ids and job numbers."""
PAGE = Range(1, 1000)
"""Range of ``limit`` in ``GET /v1/jobs``."""
DEFAULT_PAGE = 50
"""Default of ``limit`` in ``GET /v1/jobs``."""
MAX_OPTIONS_BYTES = 64 * 1024
"""Largest length of an engine's options as JSON."""
MAX_BODY_BYTES = 128 * 1024
"""Largest length of a body without its cameras."""
MAX_CAMERA_BYTES = 4 * 1024
"""Further length allowed for each camera: a Blender frame has 48 numbers, one a line."""


@dataclass(frozen=True)
class JobRequest:
    """A valid request for a job."""

    kind: str
    params: dict[str, Any]
    """Complete parameters, defaults filled in."""
    fresh: bool
    """Whether to make a new job although an identical one exists."""


def parse_job_request(body: bytes, artifacts: ArtifactStore) -> JobRequest:
    """Parse the body of ``POST /v1/jobs``; artifacts that it names are marked as used now.

    Args:
        body: of the request.
        artifacts: the store with the artifacts of the request.

    Raises:
        Dp3dError: ``server.bad_request``, ``camera.*``, ``video.bad_option``, ``engine.unknown``,
            ``artifact.*``, ``viewset.not_found``, ``fit.not_found``.

    """
    try:
        data = parse_bounded(body)
    except (ValueError, RecursionError) as error:
        raise bad_request(
            f"The body cannot be taken as JSON ({error}).",
            f"Send an object as docs/http-api.md has it, with at most {PATH_VIEWS.high} cameras.",
        ) from error
    if not isinstance(data, dict) or set(data) - {"kind", "params", "fresh"}:
        raise bad_request('The body must be {"kind": ..., "params": {...}}.')
    fresh = data.get("fresh", False)
    if not isinstance(fresh, bool):
        raise bad_request("fresh: it must be true or false.")
    model = JOB_PARAMS.get(data["kind"]) if isinstance(data.get("kind"), str) else None
    if model is None:
        raise bad_request(
            f"There is no job kind {str(data.get('kind'))[:40]!r}.",
            f"Kinds are: {', '.join(JOB_PARAMS)}.",
        )
    try:
        params = model.model_validate(data.get("params", {}))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(["params", *(str(part)[:40] for part in first["loc"])])
        raise bad_request(f"{where}: {first['msg'].removeprefix('Value error, ')}.") from error
    _check_size(len(body), params)
    _check_inputs(params, artifacts)
    return JobRequest(data["kind"], params.model_dump(), fresh)


def _check_inputs(params: JobParams, artifacts: ArtifactStore) -> None:
    if isinstance(params, PersonParams):
        if len(json.dumps(params.options)) > MAX_OPTIONS_BYTES:
            raise bad_request(
                f"params.options: they are longer than {MAX_OPTIONS_BYTES // 1024} KiB.",
                "Send the options that GET /v1/engines lists for the engine.",
            )
        if isinstance(params, ViewsParams):
            cameras_from_request(params.cameras)
            check_engine_name(params.engine)
        for sha256 in (params.portrait, *(photo.portrait for photo in params.references)):
            artifacts.use(sha256)
    elif isinstance(params, FitParams):
        if not {"cameras.json", "meta.json"} <= set(artifacts.use_tree(params.views)):
            raise Dp3dError(
                "viewset.not_found",
                f"The artifact {params.views[:12]}... is not a view set.",
                "Name the views that a 'views' job returned, or send the folder of a view set.",
            )
    elif isinstance(params, RenderParams):
        cameras = cameras_from_request(params.cameras)
        if params.video is not None:
            check_frames(params.fps, [(c.width, c.height) for c in cameras])
        _check_fit(params.fit, artifacts)
    elif isinstance(params, MeshParams):
        _check_fit(params.fit, artifacts)


def _check_size(length: int, params: JobParams) -> None:
    """Bound the number of cameras, and the length of the body by that number."""
    data = getattr(params, "cameras", None) or {}
    lists = [data[name] for name in ("cameras", "frames") if isinstance(data.get(name), list)]
    count = max((len(cameras) for cameras in lists), default=0)
    if count > PATH_VIEWS.high:
        raise Dp3dError(
            "camera.invalid",
            f"The cameras cannot be used: there are more than {PATH_VIEWS.high}.",
            "Send a path in parts, each as a job of its own.",
        )
    if length > MAX_BODY_BYTES + count * MAX_CAMERA_BYTES:
        raise bad_request(
            f"The body is longer than {MAX_BODY_BYTES // 1024} KiB and "
            f"{MAX_CAMERA_BYTES // 1024} KiB for each of its {count} cameras.",
            "Send nothing but what docs/http-api.md names.",
        )


def _check_fit(sha256: str, artifacts: ArtifactStore) -> None:
    if not {"fit.json", "field.safetensors"} <= set(artifacts.use_tree(sha256)):
        raise Dp3dError(
            "fit.not_found",
            f"The artifact {sha256[:12]}... is not a finished fit.",
            "Name the fit that a 'fit' job returned, or send the folder of a fit.",
        )
