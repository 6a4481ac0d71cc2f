"""Parameters of each kind of job: read from a request, stored as JSON, read again by the worker.

Defaults and bounds are those of :mod:`dp3d_core.limits`.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from dp3d_core.limits import (
    DEFAULT_ENGINE,
    DEFAULT_FACES,
    DEFAULT_FIT_PRESET,
    DEFAULT_FPS,
    DEFAULT_HEAD_DETAIL,
    DEFAULT_HEAD_TEXTURE_SIDE,
    DEFAULT_TEXTURE_SIDE,
    FIT_STEPS,
    FPS,
    HEAD_PITCH_DEG,
    HEAD_ROLL_DEG,
    HEAD_YAW_DEG,
    MAX_PHOTOS,
    MESH_FACES,
    SEED,
    TEXTURE_SIDE,
    FitPreset,
    HeadDetail,
    HeadTextureSide,
    PhotoSide,
    PosePolicy,
    Range,
    VideoFormat,
)

_SHA256 = Field(json_schema_extra={"pattern": "^[0-9a-f]{64}$"})
"""Pattern for the OpenAPI document; the artifact store itself refuses an invalid hash."""


def _within(limits: Range[Any], default: Any = None) -> Any:
    """A field with the bounds of a range."""
    return Field(default=default, ge=limits.low, le=limits.high)


class JobParams(BaseModel):
    """Parameters of a job: no unknown names, no conversion of types."""

    model_config = ConfigDict(extra="forbid", strict=True)


class ReferenceParams(JobParams):
    """A further photo of the person."""

    portrait: str = _SHA256
    side: PhotoSide = "auto"


class PersonParams(JobParams):
    """Photos of a person, the place of the head in the first, and an engine's options."""

    portrait: str = _SHA256
    references: list[ReferenceParams] = Field(default=[], max_length=MAX_PHOTOS - 1)
    options: dict[str, Any] = {}
    seed: int = _within(SEED, 0)
    crop: list[float] | None = None
    yaw_deg: float | None = _within(HEAD_YAW_DEG)
    pitch_deg: float | None = _within(HEAD_PITCH_DEG)
    roll_deg: float | None = _within(HEAD_ROLL_DEG)

    @property
    def crop_window(self) -> tuple[float, float, float] | None:
        """Left, top and side of the crop, pixels; None if the crop is found in the photo."""
        if self.crop is None:
            return None
        x, y, side = self.crop
        return x, y, side

    @field_validator("crop")
    @classmethod
    def _three_numbers(cls, crop: list[float] | None) -> list[float] | None:
        if crop is not None and len(crop) != 3:
            raise ValueError("crop has three numbers: x, y, side")
        return crop


class ViewsParams(PersonParams):
    """Parameters of a ``views`` job."""

    cameras: dict[str, Any]
    engine: str = DEFAULT_ENGINE


class HeadParams(PersonParams):
    """Parameters of a ``head`` job; the options are the preview engine's."""

    detail: HeadDetail = DEFAULT_HEAD_DETAIL
    texture_size: HeadTextureSide = DEFAULT_HEAD_TEXTURE_SIDE
    format: Literal["glb", "obj"] = "glb"
    """``obj``: an OBJ with its side files beside the GLB."""


class FitParams(JobParams):
    """Parameters of a ``fit`` job."""

    views: str = _SHA256
    preset: FitPreset = DEFAULT_FIT_PRESET
    steps: int | None = _within(FIT_STEPS)
    seed: int = _within(SEED, 0)
    poses: PosePolicy = "auto"


class RenderParams(JobParams):
    """Parameters of a ``render`` job."""

    fit: str = _SHA256
    cameras: dict[str, Any]
    video: VideoFormat | None = None
    fps: float = _within(FPS, DEFAULT_FPS)


class MeshParams(JobParams):
    """Parameters of a ``mesh`` job."""

    fit: str = _SHA256
    faces: int = _within(MESH_FACES, DEFAULT_FACES)
    texture_size: int = _within(TEXTURE_SIDE, DEFAULT_TEXTURE_SIDE)


JOB_PARAMS: dict[str, type[JobParams]] = {
    "views": ViewsParams,
    "fit": FitParams,
    "render": RenderParams,
    "mesh": MeshParams,
    "head": HeadParams,
}
"""Model of the parameters of each kind of job."""
