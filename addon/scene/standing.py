# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether something of ours stands at the head anchor, or a 3D view may show what will."""

from __future__ import annotations

from typing import Any

import bpy
from bpy.app.handlers import persistent

from . import tags
from .object_data import camera_data

_bodies: list[str] | None = None
"""Names of our meshes and planes, whichever collection they are in; None: to be looked for.  A
scene may have many thousand objects, and a 3D view asks each time it is drawn."""


def free(
    scene: bpy.types.Scene, view_layer: bpy.types.ViewLayer, space: Any = None
) -> bpy.types.Object | None:
    """The scene's anchor where a 3D view may show what will stand there; None where not.

    Overlays are off, the anchor is hidden or gone, a mesh or playback of ours can be seen at it,
    or the view looks through a camera with our pictures.

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
    """Whether a 3D view looks through a camera that has frames of ours behind it."""
    view = bpy.context.region_data or space.region_3d
    if view is None or view.view_perspective != "CAMERA":
        return False
    camera = space.camera if space.use_local_camera else scene.camera
    if camera is None or camera.type != "CAMERA":
        return False
    pictures = [b.image for b in camera_data(camera).background_images if b.image is not None]
    return any(tags.is_ours(image) for image in pictures)


def _head_stands_at(view_layer: bpy.types.ViewLayer, space: Any, anchor: bpy.types.Object) -> bool:
    """Whether a visible mesh or playback of ours hangs on an anchor."""
    global _bodies  # noqa: PLW0603
    if _bodies is None:
        _bodies = [o.name for o in bpy.data.objects if o.get(tags.ROLE) in ("mesh", "plane")]
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
