# SPDX-License-Identifier: GPL-3.0-or-later
"""The ghost: an outline in the 3D view that shows place, size and direction of the future head.

It is drawn over everything at the scene's anchor, as long as no mesh is visible there and no
generated view is shown there (``nearest_view``).  Its lines are those of the canonical head:
profile, front outline, a ring at the forehead, eyes, nose, mouth, and an arrow out of the face.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import bpy
import gpu
from gpu_extras.batch import batch_for_shader

from . import nearest_view, preview_anchor

Point = tuple[float, float, float]

LIGHT = (0.93, 0.97, 1.0, 0.9)
"""Colour of the lines, with alpha."""
SHADOW = (0.0, 0.0, 0.0, 0.4)
"""Colour of the wider lines below them, so that they show on a light background."""
WIDTH, SHADOW_WIDTH = 1.6, 3.6
"""Pixels, at a user interface scale of 1."""

# Sections of the canonical head, head units: measured on dp3d_core.heads, its mouth closed.
_FACE = (
    (-0.290, 0.061), (-0.250, 0.070), (-0.215, 0.070), (-0.196, 0.107), (-0.187, 0.157),
    (-0.178, 0.180), (-0.164, 0.191), (-0.157, 0.194), (-0.145, 0.195), (-0.134, 0.195),
    (-0.121, 0.204), (-0.108, 0.213), (-0.096, 0.204), (-0.087, 0.214), (-0.078, 0.220),
    (-0.059, 0.215), (-0.048, 0.215), (-0.035, 0.238), (-0.028, 0.241), (-0.023, 0.241),
    (-0.015, 0.238), (-0.005, 0.231), (0.016, 0.217), (0.036, 0.205), (0.059, 0.198),
    (0.082, 0.201), (0.100, 0.204), (0.131, 0.201), (0.160, 0.194), (0.187, 0.183),
)  # fmt: skip
"""Y and Z of the profile from the throat to the forehead."""
_CROWN = (
    (0.214, 0.169), (0.240, 0.149), (0.256, 0.132), (0.275, 0.108), (0.283, 0.092),
    (0.291, 0.071), (0.302, 0.032), (0.307, -0.011), (0.307, -0.050), (0.300, -0.094),
    (0.283, -0.141), (0.265, -0.168), (0.247, -0.187), (0.218, -0.208), (0.189, -0.222),
    (0.159, -0.231), (0.129, -0.235), (0.101, -0.235), (0.061, -0.231), (0.029, -0.222),
    (-0.006, -0.201), (-0.035, -0.182), (-0.097, -0.161), (-0.145, -0.162), (-0.214, -0.179),
    (-0.290, -0.213),
)  # fmt: skip
"""Y and Z of the profile from the forehead over the crown to the neck."""
_SIDE = (
    (-0.204, 0.0), (-0.202, 0.030), (-0.195, 0.060), (-0.180, 0.095), (-0.160, 0.120),
    (-0.140, 0.134), (-0.120, 0.141),
    (-0.090, 0.148), (-0.060, 0.154), (-0.050, 0.176), (-0.030, 0.190), (-0.010, 0.198),
    (0.020, 0.203), (0.060, 0.202), (0.080, 0.196), (0.094, 0.180), (0.104, 0.175),
    (0.130, 0.177), (0.160, 0.176), (0.190, 0.169), (0.220, 0.156), (0.250, 0.135),
    (0.270, 0.116), (0.290, 0.094), (0.310, 0.060), (0.320, 0.029), (0.324, 0.0),
)  # fmt: skip
"""Y and X of the outline seen from the front, from the chin over the ear to the crown."""
_RING = (
    (0.0, 0.202), (0.058, 0.198), (0.106, 0.164), (0.135, 0.115), (0.149, 0.066), (0.162, 0.023),
    (0.175, -0.020), (0.175, -0.067), (0.165, -0.115), (0.143, -0.163), (0.107, -0.205),
    (0.058, -0.235), (0.0, -0.246),
)  # fmt: skip
"""X and Z of the section at the forehead, from the front to the back."""
_RING_HEIGHT = 0.11
_EYE: Point = (0.072, 0.062, 0.172)
_EYE_SIZE = (0.033, 0.015)
_NECK = ((-0.200, 0.132), (-0.240, 0.118), (-0.290, 0.118))
"""Y and X of the neck seen from the front, from the jaw down."""


def paths() -> list[list[Point]]:
    """Lines of the ghost in head space, each a list of points."""
    lines: list[list[Point]] = [[(0.0, y, z) for y, z in (*_FACE, *_CROWN)]]
    for side in (-1.0, 1.0):
        lines += [
            [(side * x, y, _depth_of_side(y)) for y, x in _SIDE],
            [(side * x, _RING_HEIGHT, z) for x, z in _RING],
            [(side * x, y, -0.04) for y, x in _NECK],
            _eye(side),
            [(side * x, y, z) for x, y, z in _NOSE_WING],
            [(side * x, y, z) for x, y, z in _MOUTH],
        ]
    return lines + _ARROW


_NOSE_WING: tuple[Point, ...] = (
    (0.0, -0.050, 0.219), (0.022, -0.050, 0.218), (0.038, -0.040, 0.205), (0.036, -0.022, 0.208),
    (0.022, -0.010, 0.225), (0.016, 0.030, 0.208),
)  # fmt: skip
_MOUTH: tuple[Point, ...] = ((0.0, -0.105, 0.206), (0.03, -0.103, 0.198), (0.055, -0.106, 0.178))
_ARROW: list[list[Point]] = [
    [(0.0, -0.02, 0.29), (0.0, -0.02, 0.47)],
    [(-0.03, -0.02, 0.42), (0.0, -0.02, 0.47), (0.03, -0.02, 0.42)],
    [(0.0, -0.05, 0.42), (0.0, -0.02, 0.47), (0.0, 0.01, 0.42)],
]


def _depth_of_side(y: float) -> float:
    """Z of the outline seen from the front: level to the ear, then along the jaw to the chin."""
    return -0.02 + 0.2 * min(1.0, max(0.0, (-0.08 - y) / 0.12))


def _eye(side: float) -> list[Point]:
    x, y, z = _EYE
    half_width, half_height = _EYE_SIZE
    turns = [2 * math.pi * step / 16 for step in range(17)]
    return [
        # the outer corner lies further back than the inner one
        (
            side * (x + half_width * math.cos(turn)),
            y + half_height * math.sin(turn),
            z - 0.35 * half_width * math.cos(turn),
        )
        for turn in turns
    ]


def segments() -> list[Point]:
    """The lines as pairs of points."""
    return [point for path in paths() for pair in pairwise(path) for point in pair]


# -- where -------------------------------------------------------------------------------------


def shown_anchor(
    scene: bpy.types.Scene, view_layer: bpy.types.ViewLayer, space: Any = None
) -> bpy.types.Object | None:
    """The anchor at which the ghost is to be drawn; None where it is not.

    It is not drawn when it is switched off, and where a head or one of its views stands.

    Args:
        scene: whose anchor counts.
        view_layer: in which objects are hidden or shown.
        space: the 3D view.

    """
    if not scene.dp3d.show_ghost:
        return None
    free = preview_anchor.find(scene, view_layer, space)
    if free is None or nearest_view.stands_at(scene, view_layer, free, space) is not None:
        return None
    return free


# -- drawing -----------------------------------------------------------------------------------


_handle: Any = None
_batch: tuple[Any, Any] | None = None
"""Shader and lines; made when first drawn, since there is no GPU before."""


def _draw() -> None:
    context = bpy.context
    region = context.region
    place = shown_anchor(context.scene, context.view_layer, context.space_data)
    if place is None or region is None:
        return
    global _batch  # noqa: PLW0603
    if _batch is None:
        shader = gpu.shader.from_builtin("POLYLINE_UNIFORM_COLOR")
        _batch = shader, batch_for_shader(shader, "LINES", {"pos": segments()})
    shader, batch = _batch
    scale = context.preferences.system.ui_scale
    blend, depth = gpu.state.blend_get(), gpu.state.depth_test_get()
    gpu.state.blend_set("ALPHA")
    gpu.state.depth_test_set("NONE")
    try:
        with gpu.matrix.push_pop():
            # the original's matrix: Blender writes each frame's evaluated one back to it
            gpu.matrix.multiply_matrix(place.matrix_world)
            shader.bind()
            shader.uniform_float("viewportSize", (region.width, region.height))
            for colour, width in ((SHADOW, SHADOW_WIDTH), (LIGHT, WIDTH)):
                shader.uniform_float("lineWidth", width * scale)
                shader.uniform_float("color", colour)
                batch.draw(shader)
    finally:
        gpu.state.depth_test_set(depth)
        gpu.state.blend_set(blend)


def attach() -> None:
    """Draw in every 3D view."""
    global _handle  # noqa: PLW0603
    if not bpy.app.background:
        _handle = bpy.types.SpaceView3D.draw_handler_add(_draw, (), "WINDOW", "POST_VIEW")


def detach() -> None:
    """Draw no longer."""
    global _handle, _batch  # noqa: PLW0603
    if _handle is not None:
        bpy.types.SpaceView3D.draw_handler_remove(_handle, "WINDOW")
    _handle = _batch = None
