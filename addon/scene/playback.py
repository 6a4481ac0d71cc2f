# SPDX-License-Identifier: GPL-3.0-or-later
"""Shows rendered frames of a radiance field: behind the user's camera, or on a plane.

The frames have alpha and were rendered with the camera's projection.  As a background they fill
the camera's frame.  The plane is at the head's distance, faces the camera of each frame, and fills
the camera's frame, so both show the same picture.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import bpy
from mathutils import Matrix

from ..link.errors import AddonError
from . import sequence, tags, viewing
from . import views as scene_views
from .object_data import camera_data, mesh_data, scene_cameras

FRAMES_FILE = "scene_frames.json"
"""File beside the frames of a playback: scene frame and camera of each."""

_POSE = ("location", "rotation_quaternion", "scale")

_uids: dict[tuple[str, str], int] = {}
"""``session_uid`` of a camera by folder and name, to find a camera that is renamed during its run.

Holds the playbacks of this session of Blender."""


def show_behind(
    scene: bpy.types.Scene,
    camera: bpy.types.Object,
    folder: Path,
    frames: Sequence[int],
    run_id: str,
    title: str,
) -> bpy.types.Image:
    """Show a playback behind a camera of the user; its other backgrounds are not changed.

    Args:
        scene: the camera's scene.
        camera: camera object.
        folder: view set of the frames.
        frames: scene frame of each, increasing.
        run_id: of the run; its earlier playback behind this camera is replaced.
        title: name of the run.

    Raises:
        AddonError: ``viewset.invalid`` when a frame cannot be opened.

    """
    data = camera_data(camera)
    sequence.realign(data, tags.sequences_behind(data))
    background = next(iter(tags.playback_backgrounds(data, run_id)), None)
    path = scene_views.frame_paths(folder, len(frames))[0]
    earlier = None if background is None else background.image
    label = tags.label(title, "Playback")
    image = scene_views.load_image(path, "SEQUENCE", run_id, "playback", label, earlier)
    if background is None:
        background = data.background_images.new()
        background.image = image
    # The frame has the camera's own projection: it fills the frame whatever its shape.
    background.frame_method, background.alpha = "STRETCH", 1.0
    background.show_background_image = data.show_background_images = True
    sequence.show(background.image_user, frames)
    write_frames(folder, frames)
    return image


def cameras_of(
    scene: bpy.types.Scene, names: Sequence[str], folder: Path
) -> dict[str, bpy.types.Object | None]:
    """Cameras that a playback was rendered through, by name; None for one that is gone.

    Args:
        scene: the cameras' scene.
        names: name of the camera of each frame (``read_cameras``); where none is known (a folder
            of an early version) the artist's camera of now is taken.
        folder: view set of the frames.

    Raises:
        AddonError: ``addon.camera_missing`` when none of them is in the scene.

    """
    cameras = {name: _camera(scene, folder, name) for name in names if name}
    if not cameras and (own := viewing.own_camera(scene)) is not None and own.type == "CAMERA":
        cameras = {own.name: own}
    if not any(cameras.values()):
        which = f" ({', '.join(map(repr, cameras))})" if cameras else ""
        raise AddonError(
            "addon.camera_missing",
            f"No camera that the playback was rendered through is in the scene{which}.",
            "Bring the camera back, or set Show under Play Back to Image Plane, and press "
            "Playback under Results.",
        )
    return cameras


def show_behind_all(
    scene: bpy.types.Scene,
    names: Sequence[str],
    folder: Path,
    frames: Sequence[int],
    run_id: str,
    title: str,
) -> list[str]:
    """Show a playback behind each of the cameras that it was rendered through.

    Every background holds all frames: it shows the one of the current scene frame, whichever
    camera that was taken with.

    Args:
        scene: the cameras' scene.
        names: name of the camera of each frame (``read_cameras``); where none is known (a
            folder of an early version) the artist's camera of now is taken.
        folder: view set of the frames.
        frames: scene frame of each, increasing.
        run_id: of the run; its earlier playback behind these cameras is replaced.
        title: name of the run.

    Returns:
        Names of cameras that are no longer in the scene.

    Raises:
        AddonError: ``addon.camera_missing`` when none of them is; ``viewset.invalid``.

    """
    cameras = cameras_of(scene, names, folder)
    there = {name: camera for name, camera in cameras.items() if camera is not None}
    gone = [name for name in cameras if name not in there]
    for camera in there.values():
        show_behind(scene, camera, folder, frames, run_id, title)
    if any(names):
        now = [there[name].name if name in there else name for name in names]
        write_frames(folder, frames, cameras=now)
    return gone


def show_plane(
    scene: bpy.types.Scene,
    anchor: bpy.types.Object,
    folder: Path,
    frames: Sequence[int],
    run_id: str,
    title: str,
    cameras: dict[str, Any] | None = None,
) -> bpy.types.Object:
    """Show a playback on a plane at the head that faces the camera of each frame.

    Args:
        scene: where to.
        anchor: the head anchor.
        folder: view set of the frames.
        frames: scene frame of each, increasing.
        run_id: of the run; its earlier plane is replaced.
        title: name of the run.
        cameras: what the folder's ``cameras.json`` holds, where it was read already.

    Raises:
        AddonError: ``viewset.not_found`` or ``viewset.invalid``.

    """
    views = scene_views.read_views(folder, cameras)
    label = tags.label(title, "Playback Plane")
    plane = tags.originals(scene, run_id, "plane").get(0)
    if plane is None or plane.type != "MESH" or not tags.is_ours(plane.data, run_id):
        plane = bpy.data.objects.new(label, _quad(label))
        tags.collection(scene, run_id, title).objects.link(plane)
        tags.mark(plane.data, run_id, "data")
    tags.mark(plane, run_id, "plane")
    for thing in (plane, mesh_data(plane)):
        tags.name(thing, label)
    plane.parent, plane.matrix_parent_inverse = anchor, Matrix.Identity(4)
    plane.rotation_mode = "QUATERNION"
    # A picture is no body: no shadow, no light from it.
    plane.visible_shadow = plane.visible_diffuse = False
    _material(mesh_data(plane), views[0].image, frames, run_id, label)
    poses = []
    for view in views:
        location, rotation, scale = scene_views.plane_matrix(view).decompose()
        poses.append([*location, *rotation, *scale])
    scene_views.animate(plane, _POSE, frames, poses)
    scene_views.mark_action(plane, run_id, label)
    write_frames(folder, frames)
    return plane


def remove(scene: bpy.types.Scene, run_id: str) -> int:
    """Remove a run's playback, backgrounds and plane; how many there were."""
    planes = tags.originals(scene, run_id, "plane").values()
    return tags.remove_backgrounds(scene, run_id) + tags.remove_objects(planes)


def realign(scene: bpy.types.Scene) -> None:
    """Realign each playback with its background after the user removed another one."""
    for camera in scene_cameras(scene):
        sequence.realign(camera, tags.sequences_behind(camera))


def write_frames(folder: Path, frames: Sequence[int], cameras: Sequence[str] | None = None) -> None:
    """Write the scene frames of a playback beside it; a folder that refuses it is no failure.

    Args:
        folder: of the playback; made where it does not exist.
        frames: scene frame of each picture.
        cameras: name of the camera of each; None: those written before stay.

    """
    for name in set(cameras or ()):
        if (camera := bpy.data.objects.get(name)) is not None:
            _uids[str(folder), name] = camera.session_uid
    names = read_cameras(folder) if cameras is None else list(cameras)
    document = {"frames": list(frames), "cameras": names}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / FRAMES_FILE).write_text(json.dumps(document), "utf-8")
    except OSError:
        return


def read_cameras(folder: Path) -> list[str]:
    """Name of the camera that each picture was taken with; empty where its folder does not say."""
    try:
        cameras = json.loads((folder / FRAMES_FILE).read_text("utf-8"))["cameras"]
        return [str(name) for name in cameras]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def _camera(scene: bpy.types.Scene, folder: Path, name: str) -> bpy.types.Object | None:
    """The camera of that name in a scene, or the one that had it when the name was written."""
    uid = _uids.get((str(folder), name))
    known = next((o for o in scene.objects if o.session_uid == uid), None)
    thing = known or scene.objects.get(name)
    return thing if thing is not None and thing.type == "CAMERA" else None


def read_frames(folder: Path) -> list[int]:
    """Scene frames of a playback's pictures; from 1 on where its folder does not say."""
    try:
        frames = json.loads((folder / FRAMES_FILE).read_text("utf-8"))["frames"]
        return [int(frame) for frame in frames]
    except (OSError, ValueError, KeyError, TypeError):
        return list(range(1, len(scene_views.read_views(folder)) + 1))


def _quad(label: str) -> bpy.types.Mesh:
    mesh = bpy.data.meshes.new(label)
    corners = [(-0.5, -0.5, 0), (0.5, -0.5, 0), (0.5, 0.5, 0), (-0.5, 0.5, 0)]
    mesh.from_pydata(corners, [], [(0, 1, 2, 3)])
    layer = mesh.uv_layers.new(name="UVMap")
    for loop, (u, v) in zip(layer.data, ((0, 0), (1, 0), (1, 1), (0, 1)), strict=True):
        loop.uv = u, v
    return mesh


def _material(
    mesh: bpy.types.Mesh, path: Path, frames: Sequence[int], run_id: str, label: str
) -> None:
    """Emission of the sequence where it is opaque; nothing where it is clear."""
    material = mesh.materials[0] if len(mesh.materials) else None
    if material is None or not tags.is_ours(material, run_id):
        material = bpy.data.materials.new(label)
        mesh.materials.clear()
        mesh.materials.append(material)
        tags.mark(material, run_id, "data")
    tags.name(material, label)
    if material.node_tree is None:
        material.use_nodes = True
    tree: Any = material.node_tree
    earlier = next((i for i in tags.images_of(material) if tags.is_ours(i, run_id)), None)
    image = scene_views.load_image(path, "SEQUENCE", run_id, "frames", label, earlier)
    for node in tree.nodes:
        if node.bl_idname == "ShaderNodeTexImage":
            sequence.remove(node.image_user)
    tree.nodes.clear()
    texture = tree.nodes.new("ShaderNodeTexImage")
    texture.name, texture.image, texture.extension = "dp3d Frames", image, "EXTEND"
    emission = tree.nodes.new("ShaderNodeEmission")
    clear = tree.nodes.new("ShaderNodeBsdfTransparent")
    mix = tree.nodes.new("ShaderNodeMixShader")
    output = tree.nodes.new("ShaderNodeOutputMaterial")
    for column, node in enumerate((texture, emission, clear, mix, output)):
        node.location = 300 * column - 600, 200 * (column == 2)
    tree.links.new(texture.outputs["Color"], emission.inputs["Color"])
    tree.links.new(texture.outputs["Alpha"], mix.inputs[0])
    tree.links.new(clear.outputs[0], mix.inputs[1])
    tree.links.new(emission.outputs[0], mix.inputs[2])
    tree.links.new(mix.outputs[0], output.inputs["Surface"])
    if hasattr(material, "surface_render_method"):
        material.surface_render_method = "BLENDED"
    if (cycles := getattr(material, "cycles", None)) is not None:
        cycles.emission_sampling = "NONE"
    sequence.show(texture.image_user, frames)
