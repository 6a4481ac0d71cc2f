# SPDX-License-Identifier: GPL-3.0-or-later
"""Cameras as the server takes them: a preset's name, or Blender's own matrices.

Nothing is derived here.  Pose, anchor and projection of every frame go out exactly as Blender
evaluates them (``dp3d.blender-path/1``); the server's ``dp3d_core/cameras.py`` is the one place
where conventions are converted.
"""

from __future__ import annotations

import math
from typing import Any

import bpy
from mathutils import Matrix

from ..link.errors import AddonError

MAX_VIEWS = 360


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
        AddonError: ``addon.bad_range`` for an empty range or more than 360 frames.

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
        AddonError: ``addon.bad_range`` for an empty range or more than 360 frames.

    """
    frames = list(range(start, end + 1, step))
    if not 1 <= len(frames) <= MAX_VIEWS:
        raise AddonError(
            "addon.bad_range",
            f"The frame range holds {len(frames)} views; 1 to {MAX_VIEWS} are possible.",
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
        "pitch_deg": round(math.degrees(settings.pitch), 6),
    }


def rows(matrix: Matrix) -> list[list[float]]:
    """A matrix as lists, row by row."""
    return [[float(value) for value in row] for row in matrix]
