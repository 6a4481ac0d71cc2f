# SPDX-License-Identifier: GPL-3.0-or-later
"""The head anchor: the empty whose frame is head space.

Its local X is the image's right of a camera in front of the face, Y is up, Z points out of the
face; its scale is metres (scene units) per head unit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import bpy
from mathutils import Matrix, Vector

from ..link.errors import AddonError
from . import tags

LIFE_SIZE = 0.5
"""Metres per head unit that give a person's head its size: the canonical head is 0.51 units from
chin to crown, a head of a grown person 25 to 26 cm."""

EYE_HEIGHT = 1.62
"""Metres from the floor to the eyes of a standing figure 1.75 m tall: the canonical head at life
size has its crown 13 cm above its eyes."""

EYES_ABOVE_CENTRE = 0.062
"""Head units from the origin of head space (the head's centre) up to the eyes."""


def metre(scene: bpy.types.Scene) -> float:
    """Scene units of one metre: 1 unless the scene's unit scale says otherwise."""
    units = scene.unit_settings
    return 1.0 if units.system == "NONE" else 1.0 / max(1e-9, units.scale_length)


def place(scene: bpy.types.Scene, placement: str) -> Vector:
    """Where a new anchor stands, world space.

    Args:
        scene: whose 3D cursor and units count.
        placement: ``FLOOR``, the head of a life-size figure that stands on the floor (world
            z = 0) below the 3D cursor; ``CURSOR``, the 3D cursor itself.

    """
    cursor = scene.cursor.location
    if placement == "CURSOR":
        return cursor.copy()
    height = EYE_HEIGHT - EYES_ABOVE_CENTRE * LIFE_SIZE  # 1.59 m: the centre, not the eyes
    return Vector((cursor.x, cursor.y, height * metre(scene)))


def add(
    scene: bpy.types.Scene, location: Sequence[float] | None = None, placement: str = "FLOOR"
) -> bpy.types.Object:
    """A new upright, life-size anchor whose face looks to world -Y (Blender's front view).

    Args:
        scene: where to.
        location: world space; without it ``placement`` says where (see :func:`place`).
        placement: ``FLOOR`` or ``CURSOR``.

    """
    anchor = bpy.data.objects.new("Head Anchor", None)
    anchor.empty_display_type = "ARROWS"
    anchor.empty_display_size = 0.5
    anchor.location = place(scene, placement) if location is None else location
    anchor.rotation_euler = (math.pi / 2, 0.0, 0.0)
    anchor.scale = (LIFE_SIZE * metre(scene),) * 3
    tags.mark(anchor, "", "anchor")
    scene.collection.objects.link(anchor)
    return anchor


def required(scene: bpy.types.Scene) -> bpy.types.Object:
    """The scene's chosen anchor.

    Raises:
        AddonError: ``addon.anchor_missing`` when none is chosen or it was deleted (the panel's
            pointer alone keeps a deleted object in memory).

    """
    anchor = scene.dp3d.anchor
    if anchor is None:
        raise AddonError(
            "addon.anchor_missing",
            "There is no head anchor.",
            "Press Add Anchor, or choose an object that stands where the head shall be.",
        )
    if scene not in anchor.users_scene:
        raise AddonError(
            "addon.anchor_missing",
            f"The head anchor {anchor.name!r} is no longer in this scene.",
            "Press Add Anchor, or choose another object.",
        )
    return anchor


def check(matrix: Matrix) -> None:
    """Refuse a mirrored, sheared or unevenly scaled anchor, as the server would.

    Raises:
        AddonError: ``camera.anchor_not_uniform``.

    """
    linear = matrix.to_3x3()
    volume = linear.determinant()
    scale = abs(volume) ** (1 / 3)
    columns = [linear.col[i] for i in range(3)]
    # Looser than the server's 1e-4 of the product: only clear cases are ours to refuse.
    uneven = scale == 0 or any(abs(c.length / scale - 1) > 1e-3 for c in columns)
    if (
        uneven
        or volume <= 0
        or any(
            abs(columns[i].dot(columns[j])) > 1e-3 * scale**2 for i, j in ((0, 1), (0, 2), (1, 2))
        )
    ):
        raise AddonError(
            "camera.anchor_not_uniform",
            "The head anchor is mirrored, sheared or scaled unevenly.",
            "Give it the same positive scale on all axes, and its parents too (Ctrl-A, Scale).",
        )
