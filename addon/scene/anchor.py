# SPDX-License-Identifier: GPL-3.0-or-later
"""The head anchor: the empty whose frame is head space.

Its local X is the image's right of a camera in front of the face, Y is up, Z points out of the
face; its scale is metres (scene units) per head unit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

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
            "Press Add Head Anchor, or choose an object that stands where the head shall be.",
        )
    if scene not in anchor.users_scene:
        raise AddonError(
            "addon.anchor_missing",
            f"The head anchor {anchor.name!r} is no longer in this scene.",
            "Press Add Head Anchor, or choose another object.",
        )
    return anchor


def check(matrix: Matrix) -> None:
    """Refuse early what the server would refuse: a mirrored, sheared or uneven anchor.

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


def free(
    scene: bpy.types.Scene, view_layer: bpy.types.ViewLayer, space: Any = None
) -> bpy.types.Object | None:
    """The scene's anchor where a 3D view may show what will stand there; None where not.

    Overlays are off, the anchor is hidden or gone, a mesh of ours can be seen at it, or the view
    looks through a camera with our pictures.

    Args:
        scene: whose anchor counts.
        view_layer: in which objects are hidden or shown.
        space: the 3D view.

    """
    anchor = scene.dp3d.anchor
    if anchor is None:
        return None
    if space is not None and (not space.overlay.show_overlays or _shows_pictures(scene, space)):
        return None
    if anchor.name not in scene.objects or scene.objects[anchor.name] != anchor:
        return None
    if not anchor.visible_get(view_layer=view_layer, viewport=space):
        return None
    return None if _head_stands_at(scene, view_layer, space, anchor) else anchor


def _shows_pictures(scene: bpy.types.Scene, space: Any) -> bool:
    """Whether a 3D view looks through a camera that has frames of ours behind it."""
    if space.region_3d is None or space.region_3d.view_perspective != "CAMERA":
        return False
    camera = space.camera if space.use_local_camera else scene.camera
    if camera is None or camera.type != "CAMERA":
        return False
    pictures = [b.image for b in camera.data.background_images if b.image is not None]
    return any(tags.is_ours(image) for image in pictures)


def _head_stands_at(
    scene: bpy.types.Scene,
    view_layer: bpy.types.ViewLayer,
    space: Any,
    anchor: bpy.types.Object,
) -> bool:
    """Whether a visible mesh or playback of ours hangs on an anchor.

    Looks into the runs' collections only: a scene may have many thousand objects.
    """
    for collection in scene.collection.children_recursive:
        if collection.get(tags.ROLE) != "run":
            continue
        for thing in collection.objects:
            if (
                thing.get(tags.ROLE) in ("mesh", "plane")
                and _hangs_on(thing, anchor)
                and thing.visible_get(view_layer=view_layer, viewport=space)
            ):
                return True
    return False


def _hangs_on(thing: bpy.types.Object, anchor: bpy.types.Object) -> bool:
    parent = thing.parent
    while parent is not None and parent != anchor:
        parent = parent.parent
    return parent is not None
