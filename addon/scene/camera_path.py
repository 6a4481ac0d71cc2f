# SPDX-License-Identifier: GPL-3.0-or-later
"""Cameras as the server takes them: a preset's name, or Blender's own matrices.

Nothing is derived here.  Pose, anchor and projection of every frame go out exactly as Blender
evaluates them (``dp3d.blender-path/1``); the server's ``dp3d_core/cameras.py`` is the one place
where conventions are converted.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import bpy
from mathutils import Matrix

from ..link.errors import AddonError
from . import anchor as head_anchor

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


def scene_path(
    scene: bpy.types.Scene, view_layer: bpy.types.ViewLayer, frame_numbers: Sequence[int]
) -> dict[str, Any]:
    """The scene's camera and anchor at each of some frames.

    The camera may change by markers, and both may be animated, parented or constrained: each
    frame is evaluated.  The current frame is put back afterwards.

    Raises:
        AddonError: ``addon.camera_missing``, ``camera.not_perspective``, ``addon.bad_range`` or
            ``camera.anchor_not_uniform``.

    """
    anchor = head_anchor.required(scene)
    width, height = render_size(scene)
    current, subframe = scene.frame_current, scene.frame_subframe
    frames = []
    try:
        for number in frame_numbers:
            scene.frame_set(number)
            depsgraph = view_layer.depsgraph
            depsgraph.update()
            frames.append(_frame(scene, depsgraph, anchor, width, height))
    finally:
        scene.frame_set(current, subframe=subframe)
    return {
        "schema": "dp3d.blender-path/1",
        "width": width,
        "height": height,
        "frames": frames,
    }


def _frame(
    scene: bpy.types.Scene,
    depsgraph: bpy.types.Depsgraph,
    anchor: bpy.types.Object,
    width: int,
    height: int,
) -> dict[str, Any]:
    if scene.camera is None or scene.camera.type != "CAMERA":
        raise AddonError(
            "addon.camera_missing",
            f"The scene has no camera at frame {scene.frame_current}.",
            "Set the scene's camera (Scene properties), or use an orbit preset.",
        )
    camera = scene.camera.evaluated_get(depsgraph)
    if camera.data.type != "PERSP":
        raise AddonError(
            "camera.not_perspective",
            f"The camera {scene.camera.name!r} is not a perspective camera.",
            "Set its lens type to Perspective.",
        )
    anchor_world = anchor.evaluated_get(depsgraph).matrix_world
    head_anchor.check(anchor_world)
    projection = camera.calc_matrix_camera(
        depsgraph,
        x=width,
        y=height,
        scale_x=scene.render.pixel_aspect_x,
        scale_y=scene.render.pixel_aspect_y,
    )
    return {
        "camera_world": rows(camera.matrix_world),
        "anchor_world": rows(anchor_world),
        "projection": rows(projection),
    }


def rows(matrix: Matrix) -> list[list[float]]:
    """A matrix as lists, row by row."""
    return [[float(value) for value in row] for row in matrix]
