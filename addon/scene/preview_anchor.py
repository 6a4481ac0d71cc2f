# SPDX-License-Identifier: GPL-3.0-or-later
"""The head anchor, as long as no mesh or playback of the add-on is visible at it.

Until then 3D views draw a preview of the head there: its outline (``ghost``) or the nearest
generated view (``nearest_view``).
"""

from __future__ import annotations

from typing import Any

import bpy
from bpy.app.handlers import persistent

from . import tags
from .object_data import camera_data

_bodies: list[str] | None = None
"""Names of the add-on's meshes and planes in the file; None: not searched since the last change.

Cached because a scene may have thousands of objects, and every redraw of a 3D view asks."""


def find(
    scene: bpy.types.Scene, view_layer: bpy.types.ViewLayer, space: Any = None
) -> bpy.types.Object | None:
    """The scene's anchor if a 3D view is to draw a preview of the head at it, else None.

    None where overlays are off, the anchor is hidden or deleted, a mesh or playback of the add-on
    is visible at it, or the view looks through a camera with pictures of the add-on.

    Args:
        scene: whose anchor counts.
        view_layer: in which objects are hidden or shown.
        space: the 3D view.

    """
    anchor = scene.dp3d.anchor
    if anchor is None or scene not in anchor.users_scene:
        return None
    if space is not None and (not space.overlay.show_overlays or _shows_pictures(scene, space)):
        return None
    if not anchor.visible_get(view_layer=view_layer, viewport=space):
        return None
    return None if _head_stands_at(view_layer, space, anchor) else anchor


def _shows_pictures(scene: bpy.types.Scene, space: Any) -> bool:
    """Whether a 3D view looks through a camera with frames of the add-on as its background."""
    view = bpy.context.region_data or space.region_3d
    if view is None or view.view_perspective != "CAMERA":
        return False
    camera = space.camera if space.use_local_camera else scene.camera
    if camera is None or camera.type != "CAMERA":
        return False
    pictures = [b.image for b in camera_data(camera).background_images if b.image is not None]
    return any(tags.is_ours(image) for image in pictures)


def _head_stands_at(view_layer: bpy.types.ViewLayer, space: Any, anchor: bpy.types.Object) -> bool:
    """Whether a visible mesh or playback of the add-on is parented to an anchor."""
    global _bodies  # noqa: PLW0603
    if _bodies is None:
        _bodies = [o.name for o in bpy.data.objects if o.get(tags.ROLE) in ("mesh", "rig", "plane")]
    return any(
        tags.hangs_on(thing, anchor) and thing.visible_get(view_layer=view_layer, viewport=space)
        for name in _bodies
        if (thing := view_layer.objects.get(name)) is not None
    )


@persistent
def _changed(*_: Any) -> None:
    global _bodies  # noqa: PLW0603
    _bodies = None


_HANDLERS = "depsgraph_update_post", "undo_post", "redo_post", "load_post"


def attach() -> None:
    """Listen for changes."""
    for name in _HANDLERS:
        getattr(bpy.app.handlers, name).append(_changed)


def detach() -> None:
    """Stop listening."""
    for name in _HANDLERS:
        if _changed in (handlers := getattr(bpy.app.handlers, name)):
            handlers.remove(_changed)
    _changed()
