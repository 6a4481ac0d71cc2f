# SPDX-License-Identifier: GPL-3.0-or-later
"""Adds a view set to the scene: cameras under the anchor, with the frames as their backgrounds.

Cameras come from the view set's ``cameras.json`` (head space, OpenCV axes).  A camera object is
parented to the anchor with an identity parent inverse, so its local matrix *is* its pose in head
space, and its world pose is anchor @ pose.  Views of an animated anchor hold at the frame they
were taken at.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, NamedTuple

import bpy
from mathutils import Matrix

from ..link.errors import AddonError
from . import files, sequence, tags
from .lens import SENSOR_WIDTH, lens_from_intrinsics
from .object_data import camera_data

MAX_OBJECTS = 72
"""More views than this get the animated camera only: an outliner of hundreds helps nobody."""

_AXES_FLIP = Matrix.Diagonal((1.0, -1.0, -1.0, 1.0))


Source = Literal["FILE", "SEQUENCE"]
"""What an image shows: one picture, or a numbered sequence."""


class View(NamedTuple):
    """One view of a view set."""

    c2w: list[list[float]]
    K: list[list[float]]
    width: int
    height: int
    image: Path


def read_views(folder: Path, document: dict[str, Any] | None = None) -> list[View]:
    """Views of a downloaded view set.

    Args:
        folder: the view set.
        document: what its ``cameras.json`` holds, where it was read already.

    Raises:
        AddonError: ``viewset.not_found`` or ``viewset.invalid``.

    """
    try:
        if document is None:
            document = json.loads((folder / "cameras.json").read_text("utf-8"))
        axes = document.get("coordinates", {}).get("camera_axes")
        world = document.get("coordinates", {}).get("world")
        if document["schema"] != "dp3d.cameras/1" or (axes, world) != ("opencv", "head"):
            raise ValueError(f"{document['schema']}, {axes} axes in {world} space")
        images = frame_paths(folder, len(document["cameras"]))
        return [
            View(c["c2w"], c["K"], int(c["width"]), int(c["height"]), image)
            for c, image in zip(document["cameras"], images, strict=True)
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


def frame_paths(folder: Path, count: int) -> list[Path]:
    """Picture files of a view set: those with alpha where all of them exist."""
    names = [f"{index:04d}.png" for index in range(count)]
    rgba = folder / "rgba"
    complete = all((rgba / name).is_file() for name in names)
    return [(rgba if complete else folder / "frames") / name for name in names]


def load(
    scene: bpy.types.Scene,
    anchor: bpy.types.Object,
    folder: Path,
    run_id: str,
    title: str,
    frames: Sequence[int] = (),
) -> list[bpy.types.Object]:
    """Put a view set into the scene; cameras of an earlier import of the run are reused.

    A reused camera keeps its name if the user changed it, its collection, and what points at
    it; its pose, lens and picture are those of the view again.

    Args:
        scene: where to.
        anchor: the head anchor.
        folder: the view set.
        run_id: what the objects are marked with.
        title: name of the run, which collection and objects are named after.
        frames: scene frame of each view; where they do not increase (cameras at one moment), or
            are not as many as the views, the views play from frame 1 on.

    Returns:
        The camera objects: one animated camera, then (up to 72 views) one per view.

    Raises:
        AddonError: ``viewset.not_found`` or ``viewset.invalid``.

    """
    views = read_views(folder)
    frames = playing_frames(frames, len(views))
    tags.purge(run_id)
    collection = tags.collection(scene, run_id, title)
    place = _Place(scene, collection, anchor, run_id, title)
    cameras = [_player(place, views, frames)]
    singles = views if len(views) <= MAX_OBJECTS else []
    for index, (view, frame) in enumerate(zip(singles, frames, strict=False)):
        camera = place.camera("view", f"View {index:03d}", index)
        camera[tags.FRAME] = frame
        _set(camera, view)
        _background(place, camera, view, "FILE", f"View {index:03d}")
        cameras.append(camera)
    surplus = tags.originals(scene, run_id, "view")
    tags.remove_objects(camera for index, camera in surplus.items() if index >= len(singles))
    return cameras


def playing_frames(frames: Sequence[int], count: int) -> list[int]:
    """Scene frames at which views play: the given ones, or one after the other from 1 on."""
    if len(frames) != count or any(b <= a for a, b in pairwise(frames)):
        return list(range(1, count + 1))
    return list(frames)


class _Place:
    """Where the cameras of one import go, and which of them are there already."""

    def __init__(
        self,
        scene: bpy.types.Scene,
        collection: bpy.types.Collection,
        anchor: bpy.types.Object,
        run_id: str,
        title: str,
    ) -> None:
        self.collection, self.anchor = collection, anchor
        self.run_id, self.title = run_id, title
        self._existing = {role: tags.originals(scene, run_id, role) for role in ("view", "player")}

    def camera(self, role: str, what: str, index: int = 0) -> bpy.types.Object:
        """A camera under the anchor, the existing one where there is one."""
        label = tags.label(self.title, what)
        camera = self._existing[role].get(index)
        if camera is None or camera.type != "CAMERA":
            data = bpy.data.cameras.new(label)
            camera = bpy.data.objects.new(label, data)
            # Blender draws a camera in its parent's scale; the canonical one is 2.7 away.
            data.display_size = 0.2
            self.collection.objects.link(camera)
        elif not tags.is_ours(data := camera_data(camera)):
            # of an early version, which marked objects only
            data.background_images.clear()
            data.animation_data_clear()
        tags.mark(camera, self.run_id, role)
        tags.mark(data, self.run_id, "data")
        camera[tags.VIEW] = index
        tags.name(camera, label)
        tags.name(data, label)
        camera.rotation_mode = "QUATERNION"
        camera.parent, camera.parent_type = self.anchor, "OBJECT"
        camera.matrix_parent_inverse = Matrix.Identity(4)
        camera.scale = 1, 1, 1
        camera.delta_location, camera.delta_scale = (0, 0, 0), (1, 1, 1)
        camera.delta_rotation_quaternion = 1, 0, 0, 0
        return camera


def show_cameras(scene: bpy.types.Scene, run_id: str, visible: bool) -> None:
    """Show or hide the cameras of a run's views in the 3D view; the player stays as it is.

    Blender draws no background of a hidden camera, and the player is there to be looked through.
    """
    tags.show(scene, run_id, "view", visible)


def cameras_shown(scene: bpy.types.Scene, run_id: str) -> bool:
    """Whether any camera of a run's views can be seen in the scene's first view layer."""
    layer = scene.view_layers[0]
    cameras = (c for c in tags.objects(scene, run_id, "view") if c.name in layer.objects)
    return any(not camera.hide_get(view_layer=layer) for camera in cameras)


def local_matrix(c2w: Sequence[Sequence[float]]) -> Matrix:
    """Local matrix, under the anchor, of a camera with an OpenCV pose in head space."""
    return Matrix(c2w) @ _AXES_FLIP


def pixel_aspect(view: View) -> tuple[float, float]:
    """Pixel aspect (x, y) of the render settings that shows the view undistorted, both >= 1."""
    aspect = lens_from_intrinsics(view.K, view.width, view.height).pixel_aspect
    return (1.0, aspect) if aspect >= 1 else (1.0 / aspect, 1.0)


def plane_matrix(view: View) -> Matrix:
    """Local matrix, under the anchor, of a unit square that fills a view at the head's distance."""
    pose = local_matrix(view.c2w)
    distance = -pose.inverted().translation.z
    if distance < 0.01:  # the head is beside or behind the camera
        distance = max(pose.translation.length, 0.01)
    fx, fy, cx, cy = view.K[0][0], view.K[1][1], view.K[0][2], view.K[1][2]
    centre = Matrix.Translation(
        (
            (view.width / 2 - cx) / fx * distance,
            (cy - view.height / 2) / fy * distance,
            -distance,
        )
    )
    size = Matrix.Diagonal((view.width / fx * distance, view.height / fy * distance, 1.0, 1.0))
    return pose @ centre @ size


def _set(camera: bpy.types.Object, view: View) -> None:
    location, rotation, _ = local_matrix(view.c2w).decompose()
    camera.location, camera.rotation_quaternion = location, rotation
    lens = lens_from_intrinsics(view.K, view.width, view.height)
    data = camera_data(camera)
    data.sensor_fit, data.sensor_width = "HORIZONTAL", SENSOR_WIDTH
    data.lens, data.shift_x, data.shift_y = lens.focal_mm, lens.shift_x, lens.shift_y


def _background(
    place: _Place, camera: bpy.types.Object, view: View, source: Source, what: str
) -> Any:
    data = camera_data(camera)
    data.show_background_images = True
    background = next(
        (b for b in data.background_images if b.image and tags.is_ours(b.image, place.run_id)), None
    )
    label = tags.label(place.title, what)
    earlier = None if background is None else background.image
    image = load_image(view.image, source, place.run_id, "frames", label, earlier)
    if background is None:
        background = data.background_images.new()
        background.image = image
        background.alpha = 1.0
        # Full width in every landscape scene, as the horizontal sensor fit wants it.
        background.frame_method = "CROP"
    return background


def load_image(
    path: Path,
    source: Source,
    run_id: str,
    role: str,
    label: str,
    earlier: bpy.types.Image | None = None,
) -> bpy.types.Image:
    """A picture file as an image of a run, the earlier image made to show it where there is one.

    Args:
        path: the file, the first one of a sequence.
        source: one picture, or the first of a sequence.
        run_id: of the run.
        role: the image's.
        label: its name.
        earlier: the image of an earlier import.

    Raises:
        AddonError: ``viewset.invalid`` when the file cannot be opened.

    """
    try:
        if not path.is_file():
            raise RuntimeError(f"no file {path}")
        if earlier is None:
            # Never an existing one: it could be the sequence, which begins with the same file.
            image = bpy.data.images.load(files.stored(path), check_existing=False)
        else:
            image = earlier
            if image.packed_file is not None:
                image.unpack(method="REMOVE")
            image.filepath = files.stored(path)
    except RuntimeError as error:
        raise AddonError(
            "viewset.invalid", f"The frame {path} cannot be opened.", "Generate the views again."
        ) from error
    image.source = source
    image.alpha_mode = "STRAIGHT"
    image.reload()
    tags.mark(image, run_id, role)
    tags.name(image, label)
    return image


# -- the animated camera -----------------------------------------------------------------------

_POSE = ("location", "rotation_quaternion")
_LENS = ("lens", "shift_x", "shift_y")


def _player(place: _Place, views: Sequence[View], frames: Sequence[int]) -> bpy.types.Object:
    """One camera that jumps from view to view, the frames behind it as an image sequence."""
    camera = place.camera("player", "Player")
    data = camera_data(camera)
    animate(camera, _POSE, [])
    animate(data, _LENS, [])
    poses, lenses = [], []
    for view in views:
        _set(camera, view)
        poses.append([*camera.location, *camera.rotation_quaternion])
        lenses.append([data.lens, data.shift_x, data.shift_y])
    for owner, paths, values in ((camera, _POSE, poses), (data, _LENS, lenses)):
        animate(owner, paths, frames, values)
        mark_action(owner, place.run_id, tags.label(place.title, "Player"))
    background = _background(place, camera, views[0], "SEQUENCE", "Player")
    sequence.show(background.image_user, frames)
    return camera


def animate(
    owner: bpy.types.ID,
    paths: Sequence[str],
    frames: Sequence[int],
    values: Sequence[Sequence[float]] = (),
) -> None:
    """Key properties of an ID so that they hold from each frame to the next one.

    Keys that were there are replaced, those of other properties stay.

    Args:
        owner: object, camera data or node tree.
        paths: properties, in the order of the values.
        frames: where the keys stand.
        values: of each frame, one number after the other.

    """
    for curves, curve in list(_curves(owner)):
        if curve.data_path in paths:
            curves.remove(curve)
    for path in paths if frames else ():
        owner.keyframe_insert(path, frame=frames[0])
    number = {}
    column = 0
    for path in paths:
        for axis in range(_length(owner, path)):
            number[path, axis] = column
            column += 1
    for _, curve in list(_curves(owner)):
        place = number.get((curve.data_path, curve.array_index))
        if place is None:
            continue
        keys = curve.keyframe_points
        keys.clear()
        keys.add(len(frames))
        for key, frame, row in zip(keys, frames, values, strict=True):
            key.co = frame, row[place]
            key.interpolation = "CONSTANT"
        curve.update()


def mark_action(owner: Any, run_id: str, label: str) -> None:
    """Mark and name the action an ID uses, if it has one of its own."""
    action = owner.animation_data.action if owner.animation_data else None
    if action is not None:
        tags.mark(action, run_id, "action")
        tags.name(action, label)


def _length(owner: bpy.types.ID, path: str) -> int:
    value = owner.path_resolve(path)
    return len(value) if hasattr(value, "__len__") else 1


def _curves(owner: Any) -> Iterator[tuple[Any, bpy.types.FCurve]]:
    """Animation curves of an ID with their container.

    From 4.4 on an action has slots, and object and camera share one: only the ID's own slot.
    """
    animation = owner.animation_data
    if animation is None or animation.action is None:
        return
    action, slot = animation.action, getattr(animation, "action_slot", None)
    if slot is None and hasattr(action, "fcurves"):
        for curve in action.fcurves:
            yield action.fcurves, curve
        return
    for layer in action.layers if slot is not None else ():
        for strip in layer.strips:
            bag = strip.channelbag(slot)
            for curve in bag.fcurves if bag is not None else ():
                yield bag.fcurves, curve
