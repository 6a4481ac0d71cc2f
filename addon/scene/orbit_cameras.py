# SPDX-License-Identifier: GPL-3.0-or-later
"""Creates the cameras of a preset as objects, to edit, animate and export from.

They are parented to the head anchor with an identity parent inverse, like the cameras of views, in
a collection of their own.  Creating them again replaces the unchanged ones of the anchor.  Copies,
and cameras that were renamed, moved, animated or used elsewhere, are kept.
"""

from __future__ import annotations

import hashlib
from itertools import count
from typing import Any

import bpy
from mathutils import Matrix

from . import anchor as head_anchor
from . import tags
from .camera_path import preset_pitch_deg
from .lens import SENSOR_WIDTH, lens_from_intrinsics
from .object_data import camera_data
from .trajectories import HeadCamera, preset

ROLE = "orbit"
"""Role (see ``tags``) of the cameras and their collection."""
SIZE = "dp3d_size"
"""Custom property of a camera: width and height of its frames in an export, pixels."""
_MADE = "dp3d_made"
"""Custom property of a camera: hash of its pose and lens as made; differs after an edit."""
COLLECTION = "Orbit Cameras"
_TITLES = {
    "orbit": "Orbit",
    "capture": "Capture",
    "arc": "Arc",
    "ellipse": "Ellipse",
    "sweep": "Sweep",
}
_AXES_FLIP = Matrix.Diagonal((1.0, -1.0, -1.0, 1.0))


def create(
    scene: bpy.types.Scene, view_layer: bpy.types.ViewLayer, settings: Any
) -> list[bpy.types.Object]:
    """Make the cameras of a preset around the scene's anchor and select them.

    Args:
        scene: whose anchor it is.
        view_layer: where the cameras are selected.
        settings: ``scene.dp3d``: preset, views, size (kept on each camera for the export), pitch.

    Raises:
        AddonError: ``addon.anchor_missing``, ``camera.anchor_not_uniform``.

    """
    anchor = head_anchor.required(scene)
    view_layer.update()
    world = anchor.evaluated_get(view_layer.depsgraph).matrix_world
    head_anchor.check(world)
    name, size = settings.preset.lower(), settings.size
    pitch_deg = preset_pitch_deg(settings)
    was_active = _remove_earlier(scene, anchor)
    collection = _collection(scene)
    prefix = _free_prefix(_TITLES[name], settings.views)
    cameras = []
    for index, camera in enumerate(preset(name, settings.views, size, pitch_deg)):
        thing = _camera(f"{prefix} {index:03d}", anchor, camera)
        thing[tags.VIEW] = index
        thing[SIZE] = [size, size]
        set_clipping(camera_data(thing), world.median_scale)
        thing[tags.NAME], thing[_MADE] = thing.name, _fingerprint(thing)
        collection.objects.link(thing)
        cameras.append(thing)
    if was_active is not None:
        scene.camera = cameras[min(was_active, len(cameras) - 1)]
    _select(view_layer, cameras)
    return cameras


def set_clipping(data: bpy.types.Camera, scale: float) -> None:
    """Clip distances that hold the head and what stands around it, for an anchor of any scale."""
    data.clip_start = min(0.1, 0.1 * scale)
    data.clip_end = max(1000.0, 1000.0 * scale)


def set_lens(data: bpy.types.Camera, camera: HeadCamera) -> None:
    """Give a camera the K of another (square pixels are the scene's matter)."""
    lens = lens_from_intrinsics(camera.K, camera.width, camera.height)
    data.type = "PERSP"
    data.sensor_fit, data.sensor_width = "HORIZONTAL", SENSOR_WIDTH
    data.lens, data.shift_x, data.shift_y = lens.focal_mm, lens.shift_x, lens.shift_y


def _remove_earlier(scene: bpy.types.Scene, anchor: bpy.types.Object) -> int | None:
    """Delete this anchor's untouched cameras; the index of the one that is the scene's camera."""
    earlier = [o for o in tags.objects(scene, "", ROLE) if o.parent == anchor and _is_as_made(o)]
    users = bpy.data.user_map(subset=earlier) if earlier else {}
    bound = {marker.camera for each in bpy.data.scenes for marker in each.timeline_markers}
    earlier = [o for o in earlier if o not in bound and not any(map(_is_use, users.get(o, ())))]
    active = next((o.get(tags.VIEW, 0) for o in earlier if o == scene.camera), None)
    tags.remove_objects(iter(earlier))
    return active


def _is_as_made(thing: bpy.types.Object) -> bool:
    """Whether a camera has the name, pose and lens it was made with, and nothing was added."""
    data = camera_data(thing)
    added = (
        thing.animation_data,
        data.animation_data,
        thing.children,
        thing.constraints,
        data.background_images,
    )
    return (
        thing.name == thing.get(tags.NAME)
        and thing.get(_MADE) == _fingerprint(thing)
        and not any(added)
    )


def _is_use(user: bpy.types.ID) -> bool:
    """Whether a data-block that refers to a camera means that it is in use; a scene's does not."""
    return isinstance(
        user, (bpy.types.Object, bpy.types.NodeTree, bpy.types.Material, bpy.types.Action)
    )


def _fingerprint(thing: bpy.types.Object) -> str:
    """Hash of everything of a camera that the add-on sets and the user may change."""
    data = camera_data(thing)
    parts = [
        [
            list(row)
            for matrix in (thing.matrix_basis, thing.matrix_parent_inverse)
            for row in matrix
        ],
        [thing.rotation_mode, thing.parent_type, list(thing.get(SIZE, ()))],
        [
            data.name,
            data.type,
            data.lens,
            data.shift_x,
            data.shift_y,
            data.clip_start,
            data.clip_end,
        ],
        [data.sensor_fit, data.sensor_width, data.sensor_height],
        [data.dof.use_dof, data.dof.focus_distance, data.dof.aperture_fstop, data.dof.focus_object],
    ]
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def _collection(scene: bpy.types.Scene) -> bpy.types.Collection:
    for collection in scene.collection.children_recursive:
        if tags.is_marked(collection, "", ROLE):
            return collection
    collection = bpy.data.collections.new(COLLECTION)
    tags.mark(collection, "", ROLE)
    scene.collection.children.link(collection)
    return collection


def _free_prefix(title: str, views: int) -> str:
    """A prefix under which all names are free: Blender would append .001 to taken ones."""
    for number in count(1):
        prefix = title if number == 1 else f"{title} {number}"
        names = {f"{prefix} {index:03d}" for index in range(views)}
        if not any(name in bpy.data.objects or name in bpy.data.cameras for name in names):
            return prefix
    raise AssertionError


def _camera(name: str, anchor: bpy.types.Object, camera: HeadCamera) -> bpy.types.Object:
    data = bpy.data.cameras.new(name)
    thing = bpy.data.objects.new(name, data)
    thing.parent = anchor
    thing.matrix_parent_inverse = Matrix.Identity(4)
    thing.rotation_mode = "QUATERNION"
    thing.location, thing.rotation_quaternion, _ = (Matrix(camera.c2w) @ _AXES_FLIP).decompose()
    data.display_size = 0.2
    set_lens(data, camera)
    tags.mark(thing, "", ROLE)
    return thing


def _select(view_layer: bpy.types.ViewLayer, cameras: list[Any]) -> None:
    """Select these alone; those in a collection that the view layer leaves out cannot be."""
    view_layer.update()
    for thing in list(view_layer.objects.selected):
        thing.select_set(False, view_layer=view_layer)
    selectable = [c for c in cameras if c.name in view_layer.objects]
    for thing in selectable:
        thing.select_set(True, view_layer=view_layer)
    if selectable:
        view_layer.objects.active = selectable[0]
