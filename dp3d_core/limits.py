"""Choices and ranges shared by the command line, the web process, the rooms and the add-on.

Limits of a single module stay in that module.  The add-on cannot import this module and has a
copy, ``addon/limits.py``; ``tests/addon/test_limits.py`` compares the two.  Standard library only.

A choice is a ``Literal`` type for annotations (tyro, pydantic, mypy) and a tuple of its values.
"""

from __future__ import annotations

from typing import Generic, Literal, NamedTuple, TypeVar, get_args

Number = TypeVar("Number", bound=float)


class Range(NamedTuple, Generic[Number]):
    """Closed interval from ``low`` to ``high``."""

    low: Number
    high: Number

    def holds(self, value: float) -> bool:
        """Whether a number is in the range; False for NaN."""
        return self.low <= value <= self.high

    def __str__(self) -> str:
        return f"{self.low} to {self.high}"


# -- cameras ---------------------------------------------------------------------------------

CameraPreset = Literal["orbit", "capture", "arc", "ellipse", "sweep"]
CAMERA_PRESETS: tuple[CameraPreset, ...] = get_args(CameraPreset)
"""Camera paths around the head (``dp3d_core.cameras.trajectories``)."""
PRESET_VIEWS = Range(1, 360)
"""Cameras of a preset."""
DEFAULT_VIEWS = 32
"""Cameras of a preset that names no number."""
PRESET_SIDE = Range(16, 2048)
"""Width and height of a preset's frames, pixels."""
DEFAULT_SIDE = 512
"""Width and height of a preset's frames where the request names none, pixels."""
PRESET_PITCH_DEG = Range(-90, 90)
"""Elevation of the presets orbit and arc, degrees."""
PATH_VIEWS = Range(1, 4096)
"""Cameras of a camera document or of a path from Blender."""
PATH_SIDE = Range(16, 4096)
"""Width and height of frames in a camera document or a path from Blender, pixels."""

# -- portrait and engines --------------------------------------------------------------------

DEFAULT_ENGINE = "preview"
"""Engine of a request that names none; all names are in ``dp3d_core.engines.registry``."""
SEED = Range(0, 2**32 - 1)
"""Seeds that numpy's, torch's and Python's generators all accept."""
SUBJECT = Range(0, 2**31 - 1)
"""Numbers of synthetic subjects."""
HEAD_YAW_DEG = Range(-180, 180)
"""Yaw of the head in a photo, set by the user, degrees."""
HEAD_PITCH_DEG = Range(-80, 80)
"""Pitch of the head in a photo, set by the user, degrees."""
HEAD_ROLL_DEG = Range(-180, 180)
"""Roll of the head in a photo, set by the user, degrees."""

PhotoSide = Literal["auto", "front", "left", "back", "right"]
PHOTO_SIDES: tuple[PhotoSide, ...] = get_args(PhotoSide)
"""Side of the head that a further photo shows; ``left`` shows the person's left ear, from
three-quarter views on."""
MAX_PHOTOS = 8
"""Greatest number of photos of one person."""

WindowMode = Literal["overlap", "blocks"]
WINDOW_MODES: tuple[WindowMode, ...] = get_args(WindowMode)
"""How views are divided into windows that are denoised together."""
Precision = Literal["float32", "float16", "bfloat16"]
"""Floating point types of the diffusion networks."""

# -- fits ------------------------------------------------------------------------------------

FitPreset = Literal["tiny", "draft", "standard", "high"]
FIT_PRESETS: tuple[FitPreset, ...] = get_args(FitPreset)
"""Presets of a fit, from small and fast to large and slow (``nerf_export.field.presets``)."""
DEFAULT_FIT_PRESET: FitPreset = "draft"
"""Preset of a fit that names none."""
FIT_VIEWS = Range(4, 10_000)
"""Number of views of a fit; frame files are numbered with four digits."""
FIT_STEPS = Range(1, 1_000_000)
"""Training steps of a fit, where the user overrides the preset."""
PosePolicy = Literal["auto", "given", "refined"]
POSE_POLICIES: tuple[PosePolicy, ...] = get_args(PosePolicy)
"""Treatment of cameras that project the face elsewhere than their frames show it.  ``auto`` refines
the poses of views drawn by a network and warns about others, ``given`` keeps all poses, ``refined``
refines all."""

# -- results of a fit -------------------------------------------------------------------

MESH_FACES = Range(200, 500_000)
"""Number of triangles of an extracted mesh."""
DEFAULT_FACES = 30_000
"""Triangles of a mesh where the user names no number."""
TEXTURE_SIDE = Range(64, 4096)
"""Width and height of a mesh's texture, texels."""
DEFAULT_TEXTURE_SIDE = 1024
"""Width and height of a mesh's texture where the user names none, texels."""
HeadTextureSide = Literal[512, 1024, 2048, 4096]
HEAD_TEXTURE_SIDES: tuple[HeadTextureSide, ...] = get_args(HeadTextureSide)
"""Width and height of the face's texture of a fitted head, texels; the hair's has half of it."""
DEFAULT_HEAD_TEXTURE_SIDE: HeadTextureSide = 2048
"""Width and height of the face's texture of a fitted head where the user names none, texels."""
HeadDetail = Literal["full", "half", "quarter"]
HEAD_DETAILS: tuple[HeadDetail, ...] = get_args(HeadDetail)
"""Levels of detail of a rigged head (``dp3d_core.rigged``)."""
DEFAULT_HEAD_DETAIL: HeadDetail = "full"
"""Level of detail of a rigged head where the user names none."""
VideoFormat = Literal["webm", "mp4"]
VIDEO_FORMATS: tuple[VideoFormat, ...] = get_args(VideoFormat)
"""File name extensions of videos."""
FPS = Range(0.1, 240)
"""Frame rate of a video, frames per second."""
DEFAULT_FPS = 24.0
"""Frame rate of a video where the user names none, frames per second."""
ExportFormat = Literal["nerfstudio", "instant-ngp", "blender", "colmap", "nerfstudio-run"]
EXPORT_FORMATS: tuple[ExportFormat, ...] = get_args(ExportFormat)
"""Folder layouts for other tools.  ``nerfstudio-run`` holds a fit as ``ns-train`` leaves it
(``nerf_export.field.ns_commands``), the others hold views (``nerf_export.folders.writing``)."""
