"""Choices and limits that several packages share: command line, web, rooms, Blender's add-on.

Standard library only.  What one module alone decides stays in that module.  The add-on cannot
import this module and has a copy, ``addon/limits.py``; ``tests/addon/test_limits.py`` compares
them.

A choice is a ``Literal`` type for annotations (tyro, pydantic, mypy) and a tuple of its values.
"""

from __future__ import annotations

from typing import Generic, Literal, NamedTuple, TypeVar, get_args

Number = TypeVar("Number", bound=float)


class Range(NamedTuple, Generic[Number]):
    """Numbers from ``low`` to ``high``, both ends included."""

    low: Number
    high: Number

    def holds(self, value: float) -> bool:
        """Whether a number is in the range; False for a NaN."""
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
PRESET_SIDE = Range(16, 2048)
"""Width and height of a preset's frames, pixels."""
DEFAULT_SIDE = 512
PRESET_PITCH_DEG = Range(-90, 90)
"""Height of the presets orbit and arc above the horizon, degrees."""
PATH_VIEWS = Range(1, 4096)
"""Cameras of a document or of a path from Blender."""
PATH_SIDE = Range(16, 4096)
"""Width and height of their frames, pixels."""

# -- portrait and engines --------------------------------------------------------------------

DEFAULT_ENGINE = "preview"
"""``dp3d_core.engines.registry`` names them all."""
SEED = Range(0, 2**32 - 1)
"""Seeds that every random generator takes."""
HEAD_YAW_DEG = Range(-180, 180)
HEAD_PITCH_DEG = Range(-80, 80)
HEAD_ROLL_DEG = Range(-180, 180)
"""Angles of the head in a photo that may be given by hand, degrees."""

WindowMode = Literal["overlap", "blocks"]
WINDOW_MODES: tuple[WindowMode, ...] = get_args(WindowMode)
"""How views are divided into windows that are denoised together."""
Precision = Literal["float32", "float16", "bfloat16"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
"""Number types of the diffusion networks."""

# -- fits ------------------------------------------------------------------------------------

FitPreset = Literal["tiny", "draft", "standard", "high"]
FIT_PRESETS: tuple[FitPreset, ...] = get_args(FitPreset)
"""Sizes and lengths of a fit, small to large (``nerf_export.field.presets``)."""
DEFAULT_FIT_PRESET: FitPreset = "draft"
FIT_VIEWS = Range(4, 10_000)
"""Views that a fit takes; files of views are numbered with four digits."""
FIT_STEPS = Range(1, 1_000_000)
"""Training steps, where they replace the preset's."""
PosePolicy = Literal["auto", "given", "refined"]
POSE_POLICIES: tuple[PosePolicy, ...] = get_args(PosePolicy)
"""What a fit does with cameras that see faces elsewhere than the frames show them: ``auto`` moves
those of views that a network drew and warns about others, ``given`` takes all as they are,
``refined`` moves all."""

# -- what is made of a fit -------------------------------------------------------------------

MESH_FACES = Range(200, 500_000)
"""Triangles of a mesh."""
DEFAULT_FACES = 30_000
TEXTURE_SIDE = Range(64, 4096)
"""Width and height of a mesh's texture, texels."""
DEFAULT_TEXTURE_SIDE = 1024
VideoFormat = Literal["webm", "mp4"]
VIDEO_FORMATS: tuple[VideoFormat, ...] = get_args(VideoFormat)
"""Endings of video files."""
FPS = Range(0.1, 240)
"""Frames a second of a video."""
DEFAULT_FPS = 24.0
ExportFormat = Literal["nerfstudio", "instant-ngp", "blender", "colmap", "nerfstudio-run"]
EXPORT_FORMATS: tuple[ExportFormat, ...] = get_args(ExportFormat)
"""Folders for other tools: all but the last hold views (``nerf_export.folders.writing``),
``nerfstudio-run`` a fit as ``ns-train`` leaves it (``nerf_export.field.ns_commands``)."""
