"""What a client may ask for: bodies of ``POST /v1/jobs``, checked before a job exists."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from dp3d_core.engines import DEFAULT_ENGINE, MAX_SEED, engine_names
from dp3d_core.errors import Dp3dError
from dp3d_core.trajectories import cameras_from_request
from dp3d_core.videos import FPS_RANGE, check_frames
from server.artifacts import ArtifactStore
from server.web.problems import bad_request

_SEED = Field(default=0, ge=0, le=MAX_SEED)


class _Params(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class ViewsParams(_Params):
    """Parameters of a ``views`` job."""

    portrait: str
    cameras: dict[str, Any]
    engine: str = DEFAULT_ENGINE
    options: dict[str, Any] = {}
    seed: int = _SEED
    crop: list[float] | None = None
    yaw_deg: float | None = Field(default=None, ge=-180, le=180)
    pitch_deg: float | None = Field(default=None, ge=-80, le=80)
    roll_deg: float | None = Field(default=None, ge=-180, le=180)

    @field_validator("crop")
    @classmethod
    def _three_numbers(cls, crop: list[float] | None) -> list[float] | None:
        if crop is not None and len(crop) != 3:
            raise ValueError("crop has three numbers: x, y, side")
        return crop


class FitParams(_Params):
    """Parameters of a ``fit`` job."""

    views: str
    preset: str = Field(default="draft", pattern=r"^[a-z][a-z0-9-]{0,31}$")
    steps: int | None = Field(default=None, ge=1, le=1_000_000)
    seed: int = _SEED
    poses: Literal["auto", "given", "refined"] = "auto"
    """As ``nerf_export.poses.POSES``, which this process does not load."""


class RenderParams(_Params):
    """Parameters of a ``render`` job."""

    fit: str
    cameras: dict[str, Any]
    video: Literal["webm", "mp4"] | None = None
    fps: float = Field(default=24.0, ge=FPS_RANGE[0], le=FPS_RANGE[1])


class MeshParams(_Params):
    """Parameters of a ``mesh`` job."""

    fit: str
    faces: int = Field(default=30_000, ge=200, le=500_000)
    texture_size: int = Field(default=1024, ge=64, le=4096)


_PARAMS: dict[str, type[_Params]] = {
    "views": ViewsParams,
    "fit": FitParams,
    "render": RenderParams,
    "mesh": MeshParams,
}


@dataclass(frozen=True)
class JobRequest:
    """A request that can be served."""

    kind: str
    params: dict[str, Any]
    """Complete, after defaults."""
    fresh: bool
    """Whether a new job is wanted although an identical one is there."""


def parse_job_request(body: bytes, artifacts: ArtifactStore) -> JobRequest:
    """The job that a body asks for.

    Raises:
        Dp3dError: ``server.bad_request``, or what is wrong with the cameras, the engine or the
            artifacts it names.

    """
    try:
        data = json.loads(body)
        # What cannot be written again (infinite numbers, half a surrogate pair) is refused here
        # rather than when the job is shown.
        json.dumps(data, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError) as error:
        raise bad_request(f"The body is not JSON ({error}).") from error
    if not isinstance(data, dict) or set(data) - {"kind", "params", "fresh"}:
        raise bad_request('The body must be {"kind": ..., "params": {...}}.')
    fresh = data.get("fresh", False)
    if not isinstance(fresh, bool):
        raise bad_request("fresh: it must be true or false.")
    model = _PARAMS.get(data["kind"]) if isinstance(data.get("kind"), str) else None
    if model is None:
        raise bad_request(
            f"There is no job kind {data.get('kind')!r}.", f"Kinds are: {', '.join(_PARAMS)}."
        )
    try:
        params = model.model_validate(data.get("params", {}))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(["params", *(str(part) for part in first["loc"])])
        raise bad_request(f"{where}: {first['msg'].removeprefix('Value error, ')}.") from error
    _check_inputs(params, artifacts)
    return JobRequest(data["kind"], params.model_dump(), fresh)


def _check_inputs(params: _Params, artifacts: ArtifactStore) -> None:
    if isinstance(params, ViewsParams):
        cameras_from_request(params.cameras)
        if params.engine not in engine_names():
            raise Dp3dError(
                "engine.unknown",
                f"There is no engine called {params.engine[:40]!r}.",
                f"Choose one of: {', '.join(engine_names())}.",
            )
        artifacts.find(params.portrait)
    elif isinstance(params, FitParams):
        if not {"cameras.json", "meta.json"} <= set(artifacts.read_tree(params.views)):
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


def _check_fit(sha256: str, artifacts: ArtifactStore) -> None:
    if not {"fit.json", "field.safetensors"} <= set(artifacts.read_tree(sha256)):
        raise Dp3dError(
            "fit.not_found",
            f"The artifact {sha256[:12]}... is not a finished fit.",
            "Name the fit that a 'fit' job returned, or send the folder of a fit.",
        )
