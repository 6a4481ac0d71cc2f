# SPDX-License-Identifier: GPL-3.0-or-later
"""Cameras in the server's request format: a preset's name, or Blender's matrices.

Nothing is converted here.  Pose, anchor and projection of every frame are sent exactly as Blender
evaluates them (``dp3d.blender-path/1``).  The server converts conventions, in
``dp3d_core/cameras/camera.py``.
"""

from __future__ import annotations

import math
from typing import Any

import bpy
from mathutils import Matrix

from ..limits import PATH_VIEWS, PRESET_PITCH_DEG, Range
from ..link.errors import AddonError


def render_size(scene: bpy.types.Scene) -> tuple[int, int]:
    """Pixels Blender really renders: resolution times percentage, as it rounds."""
    r = scene.render
    return (
        max(1, r.resolution_x * r.resolution_percentage // 100),
        max(1, r.resolution_y * r.resolution_percentage // 100),
    )


def frame_numbers(scene: bpy.types.Scene) -> list[int]:
    """Scene frames of the camera path, in order.

    Raises:
        AddonError: ``addon.bad_range`` for an empty range, or more frames than ``PATH_VIEWS``.

    """
    settings = scene.dp3d
    if settings.use_scene_range:
        start, end = scene.frame_start, scene.frame_end
    else:
        start, end = settings.frame_start, settings.frame_end
    return numbers(start, end, settings.frame_step)


def numbers(start: int, end: int, step: int) -> list[int]:
    """Every ``step``-th frame from start to end.

    Raises:
        AddonError: ``addon.bad_range`` for an empty range, or more frames than ``PATH_VIEWS``.

    """
    frames = list(range(start, end + 1, step))
    if not PATH_VIEWS.holds(len(frames)):
        raise AddonError(
            "addon.bad_range",
            f"The frame range holds {len(frames)} views; {PATH_VIEWS} are possible.",
            "Change start, end or step of the camera path.",
        )
    return frames


def preset(scene: bpy.types.Scene) -> dict[str, Any]:
    """The request of a preset around the anchor."""
    settings = scene.dp3d
    return {
        "preset": settings.preset.lower(),
        "views": settings.views,
        "size": settings.size,
        "pitch_deg": preset_pitch_deg(settings),
    }


def preset_pitch_deg(settings: Any) -> float:
    """Height of a preset's cameras (``scene.dp3d.pitch``), degrees."""
    return round(degrees(settings.pitch, PRESET_PITCH_DEG), 6)


def degrees(angle: float, limits: Range) -> float:
    """An angle of Blender's in degrees; single precision oversteps a range's ends by 1e-6."""
    return limits.nearest(math.degrees(angle))


def rows(matrix: Matrix) -> list[list[float]]:
    """A matrix as lists, row by row."""
    return [[float(value) for value in row] for row in matrix]
