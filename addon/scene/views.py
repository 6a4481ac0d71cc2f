# SPDX-License-Identifier: GPL-3.0-or-later
"""Finished views into the scene: cameras under the anchor, frames behind them.

Cameras come from the view set's ``cameras.json`` (head space, OpenCV axes).  A camera object is
parented to the anchor with an identity parent inverse, so its local matrix *is* its pose in head
space, and its world pose is anchor @ pose.  Views of an animated anchor hold at the frame they
were taken at.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import bpy
from mathutils import Matrix

from ..link.errors import AddonError
from . import tags
from .lens import SENSOR_WIDTH, lens_from_intrinsics

MAX_OBJECTS = 72
"""More views than this get the animated camera only: an outliner of hundreds helps nobody."""

_AXES_FLIP = Matrix.Diagonal((1.0, -1.0, -1.0, 1.0))


class View(NamedTuple):
    """One view of a view set."""

    c2w: list[list[float]]
    K: list[list[float]]
    width: int
    height: int
    image: Path


def read_views(folder: Path) -> list[View]:
    """Views of a downloaded view set.

    Raises:
        AddonError: ``viewset.not_found`` or ``viewset.invalid``.

    """
    try:
        document = json.loads((folder / "cameras.json").read_text("utf-8"))
        axes = document.get("coordinates", {}).get("camera_axes")
        world = document.get("coordinates", {}).get("world")
        if document["schema"] != "dp3d.cameras/1" or (axes, world) != ("opencv", "head"):
            raise ValueError(f"{document['schema']}, {axes} axes in {world} space")
        return [
            View(c["c2w"], c["K"], int(c["width"]), int(c["height"]), _frame_path(folder, i))
            for i, c in enumerate(document["cameras"])
        ]
    except OSError as error:
        raise AddonError(
            "viewset.not_found",
            f"There are no views in {folder} ({error.strerror}).",
            "Generate the views again.",
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise AddonError(
            "viewset.invalid",
            f"The views in {folder} cannot be used ({error}).",
            "Generate the views again.",
        ) from error


def _frame_path(folder: Path, index: int) -> Path:
    return folder / "frames" / f"{index:04d}.png"


def load(
    scene: bpy.types.Scene,
    anchor: bpy.types.Object,
    folder: Path,
    run_id: str,
    title: str,
    frames: Sequence[int] = (),
) -> list[bpy.types.Object]:
    """Put a view set into the scene, in place of an earlier import of the same run.

    Args:
        scene: where to.
        anchor: the head anchor.
        folder: the view set.
        run_id: what the objects are marked with.
        title: name of the collection.
        frames: scene frame of each view; without it the views play from frame 1.

    Returns:
        The camera objects: one animated camera, then (up to 72 views) one per view.

    """
    views = read_views(folder)
    if len(frames) != len(views):
        frames = range(1, len(views) + 1)
    tags.remove_objects(tags.objects(scene, run_id, "view"))
    tags.remove_objects(tags.objects(scene, run_id, "player"))
    collection = tags.collection(scene, run_id, title)
    cameras = [_player(collection, anchor, views, frames, run_id)]
    if len(views) <= MAX_OBJECTS:
        for index, (view, frame) in enumerate(zip(views, frames, strict=True)):
            camera = _camera(f"View {index:03d}", collection, anchor, run_id, "view")
            camera[tags.VIEW], camera[tags.FRAME] = index, frame
            _set(camera, view)
            _background(camera, view, _image(view.image, "FILE"))
            cameras.append(camera)
    return cameras


def local_matrix(c2w: Sequence[Sequence[float]]) -> Matrix:
    """Local matrix, under the anchor, of a camera with an OpenCV pose in head space."""
    return Matrix(c2w) @ _AXES_FLIP


def pixel_aspect(view: View) -> tuple[float, float]:
    """Pixel aspect (x, y) of the render settings that shows the view undistorted, both >= 1."""
    aspect = lens_from_intrinsics(view.K, view.width, view.height).pixel_aspect
    return (1.0, aspect) if aspect >= 1 else (1.0 / aspect, 1.0)


def _camera(
    name: str,
    collection: bpy.types.Collection,
    anchor: bpy.types.Object,
    run_id: str,
    role: str,
) -> bpy.types.Object:
    camera = bpy.data.objects.new(name, bpy.data.cameras.new(name))
    camera.rotation_mode = "QUATERNION"
    camera.parent = anchor
    camera.matrix_parent_inverse = Matrix.Identity(4)
    # Blender draws a camera in its parent's scale; the canonical one is 2.7 away.
    camera.data.display_size = 0.2
    tags.mark(camera, run_id, role)
    collection.objects.link(camera)
    return camera


def _set(camera: bpy.types.Object, view: View) -> None:
    location, rotation, _ = local_matrix(view.c2w).decompose()
    camera.location, camera.rotation_quaternion = location, rotation
    lens = lens_from_intrinsics(view.K, view.width, view.height)
    data = camera.data
    data.sensor_fit, data.sensor_width = "HORIZONTAL", SENSOR_WIDTH
    data.lens, data.shift_x, data.shift_y = lens.focal_mm, lens.shift_x, lens.shift_y


def _background(camera: bpy.types.Object, view: View, image: bpy.types.Image) -> Any:
    camera.data.show_background_images = True
    background = camera.data.background_images.new()
    background.image = image
    background.alpha = 1.0
    # Full width in every landscape scene, as the horizontal sensor fit wants it.
    background.frame_method = "CROP"
    return background


def _image(path: Path, source: str) -> bpy.types.Image:
    try:
        # Never an existing one: it could be the sequence, which begins with the same file.
        image = bpy.data.images.load(_stored(path), check_existing=False)
    except RuntimeError as error:
        raise AddonError(
            "viewset.invalid", f"The frame {path} cannot be opened.", "Generate the views again."
        ) from error
    image.source = source
    return image


def _stored(path: Path) -> str:
    """The path as the .blend shall keep it: relative to it where the frames lie beside it."""
    if bpy.data.filepath:
        blend = Path(bpy.data.filepath).parent
        if path.is_relative_to(blend):
            return bpy.path.relpath(str(path))
    return str(path)


# -- the animated camera -----------------------------------------------------------------------


def _player(
    collection: bpy.types.Collection,
    anchor: bpy.types.Object,
    views: Sequence[View],
    frames: Sequence[int],
    run_id: str,
) -> bpy.types.Object:
    """One camera that jumps from view to view, the frames behind it as an image sequence."""
    camera = _camera("Head Views Player", collection, anchor, run_id, "player")
    for view, frame in zip(views, frames, strict=True):
        _set(camera, view)
        for path in ("location", "rotation_quaternion"):
            camera.keyframe_insert(path, frame=frame)
        for path in ("lens", "shift_x", "shift_y"):
            camera.data.keyframe_insert(path, frame=frame)
    for owner in (camera, camera.data):
        for curve in _curves(owner):
            for key in curve.keyframe_points:
                key.interpolation = "CONSTANT"
    image = _image(views[0].image, "SEQUENCE")
    user = _background(camera, views[0], image).image_user
    user.frame_duration = len(views)
    user.frame_start = frames[0]
    # File 0000.png is shown where the sequence's frame number is 1 with an offset of -1.
    user.frame_offset = -1
    user.use_auto_refresh = True
    return camera


def _curves(owner: Any) -> list[bpy.types.FCurve]:
    """Animation curves of an ID, in the layout of Blender 4 or of 5."""
    animation = owner.animation_data
    if animation is None or animation.action is None:
        return []
    action = animation.action
    if hasattr(action, "fcurves"):
        return list(action.fcurves)
    bags = (
        strip.channelbag(animation.action_slot) for layer in action.layers for strip in layer.strips
    )
    return [curve for bag in bags if bag is not None for curve in bag.fcurves]
