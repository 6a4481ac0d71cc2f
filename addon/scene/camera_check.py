# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks cameras before a run starts, and names those that are unsuitable, with their frames.

Camera and head anchor are evaluated once per frame, hidden or not.  The matrices that are checked
are those that are sent to the server.
"""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import bpy
from mathutils import Matrix, Vector

from ..limits import PATH_SIDE, PATH_VIEWS
from ..link.errors import AddonError
from . import anchor as head_anchor
from . import camera_path
from .object_data import camera_data

HEAD_MIDDLE = (0.0, 0.06, 0.0)
"""Middle between chin and crown, head space."""
HEAD_RADII = (0.19, 0.27, 0.25)
"""Half axes of the canonical head about that middle (x, y, z), head units."""
SEEN_RADIUS = 0.33
"""Radius of the ball around the origin of head space that holds the head, head units."""

_OF_THE_HEAD = ("addon.camera_in_head", "addon.camera_misses_head")
"""Error codes of valid cameras that do not show the head."""
_KINDS = {"ORTHO": "orthographic", "PANO": "panoramic", "CUSTOM": "a custom camera"}


class Shot(NamedTuple):
    """One camera at one frame, as Blender evaluates it."""

    camera: str
    """Name of the camera; empty where the scene has none."""
    frame: int
    kind: str
    """Type of its lens (``PERSP``, ...); empty where there is no camera in the scene."""
    camera_world: Matrix = Matrix()
    anchor_world: Matrix = Matrix()
    projection: Matrix = Matrix()


class Problem(NamedTuple):
    """A fault of one camera, and the frames at which it has it."""

    code: str
    sentence: str
    """With ``{at}`` where the frames belong."""
    remedy: str
    frames: list[int]

    def __str__(self) -> str:
        return self.sentence.format(at=frames_in_words(self.frames))


# -- what the buttons call ---------------------------------------------------------------------


def scene_path(
    scene: bpy.types.Scene,
    view_layer: bpy.types.ViewLayer,
    frames: Sequence[int],
    *,
    must_show_head: bool = True,
) -> dict[str, Any]:
    """``dp3d.blender-path/1`` of the scene's camera at some frames, every camera checked.

    The camera may change by markers, and both camera and anchor may be animated, parented or
    constrained: each frame is evaluated.

    Args:
        scene: which has the camera.
        view_layer: in which it is evaluated.
        frames: scene frames.
        must_show_head: refuse a camera that stands in the head or looks past it; a playback may
            leave the head.

    Raises:
        AddonError: see :func:`refuse`; ``addon.anchor_missing``; ``camera.anchor_not_uniform``.

    """
    shots = scene_shots(scene, view_layer, frames)
    faults = judge(shots, *camera_path.render_size(scene))
    refuse([f for f in faults if must_show_head or f.code not in _OF_THE_HEAD])
    return document(scene, shots)


def selected_path(scene: bpy.types.Scene, view_layer: bpy.types.ViewLayer) -> dict[str, Any]:
    """``dp3d.blender-path/1`` of all selected cameras at the current frame, by name.

    Raises:
        AddonError: ``addon.no_camera_selected``; ``addon.bad_range`` for more cameras than
            ``PATH_VIEWS``; otherwise as :func:`scene_path`.

    """
    shots = selected_shots(scene, view_layer)
    refuse(judge(shots, *camera_path.render_size(scene)))
    return document(scene, shots)


def problems(
    scene: bpy.types.Scene, view_layer: bpy.types.ViewLayer, frames: Sequence[int] | None
) -> list[str]:
    """Sentences about the unsuitable cameras, each with the camera's name and frames.

    Args:
        scene: which has the cameras.
        view_layer: in which they are evaluated.
        frames: frames of the scene's camera; None judges the selected cameras instead.

    Raises:
        AddonError: ``addon.anchor_missing``, ``addon.no_camera_selected``.

    """
    shots = (
        selected_shots(scene, view_layer)
        if frames is None
        else scene_shots(scene, view_layer, frames)
    )
    return [str(problem) for problem in judge(shots, *camera_path.render_size(scene))]


def camera_names(
    scene: bpy.types.Scene, view_layer: bpy.types.ViewLayer, frames: Sequence[int]
) -> list[str]:
    """Name of the camera that is the scene's at each frame; empty where there is none.

    Args:
        scene: whose markers may bind cameras.
        view_layer: in which the frames are evaluated.
        frames: scene frames.

    Raises:
        AddonError: ``addon.anchor_missing``.

    """
    if not any(marker.camera is not None for marker in scene.timeline_markers):
        return [scene.camera.name if scene.camera else ""] * len(frames)
    return [shot.camera for shot in scene_shots(scene, view_layer, frames)]


def refuse(faults: Sequence[Problem]) -> None:
    """Raise the first problem, and count the others.

    Raises:
        AddonError: ``addon.bad_size``, ``addon.camera_missing``, ``camera.not_perspective``,
            ``addon.camera_in_head`` or ``addon.camera_misses_head``.

    """
    if not faults:
        return
    first, others = faults[0], len(faults) - 1
    count = f" ({others} more such problem{'s' if others > 1 else ''})" if others else ""
    raise AddonError(first.code, f"{str(first)[:-1]}{count}.", first.remedy)


def document(scene: bpy.types.Scene, shots: Iterable[Shot]) -> dict[str, Any]:
    """``dp3d.blender-path/1`` of evaluated cameras.

    Raises:
        AddonError: ``camera.anchor_not_uniform``.

    """
    width, height = camera_path.render_size(scene)
    frames = []
    for shot in shots:
        head_anchor.check(shot.anchor_world)
        frames.append(
            {
                "camera_world": camera_path.rows(shot.camera_world),
                "anchor_world": camera_path.rows(shot.anchor_world),
                "projection": camera_path.rows(shot.projection),
            }
        )
    return {"schema": "dp3d.blender-path/1", "width": width, "height": height, "frames": frames}


# -- reading -----------------------------------------------------------------------------------


def scene_shots(
    scene: bpy.types.Scene, view_layer: bpy.types.ViewLayer, frames: Sequence[int]
) -> list[Shot]:
    """The scene's camera and anchor at each frame; frame and camera are put back afterwards."""
    anchor = head_anchor.required(scene)
    cameras = [scene.camera, *(marker.camera for marker in scene.timeline_markers)]
    camera, current, subframe = scene.camera, scene.frame_current, scene.frame_subframe
    shots = []
    with _evaluated(scene, [anchor, *cameras]):
        try:
            for number in frames:
                scene.frame_set(number)
                depsgraph = view_layer.depsgraph
                depsgraph.update()
                shots.append(_shot(scene, depsgraph, scene.camera, anchor))
        finally:
            scene.frame_set(current, subframe=subframe)
            if scene.camera != camera:  # a marker's instead of the one chosen at this frame
                scene.camera = camera
    return shots


def selected_shots(scene: bpy.types.Scene, view_layer: bpy.types.ViewLayer) -> list[Shot]:
    """The selected cameras and the anchor at the current frame."""
    cameras = selected_cameras(view_layer)
    if not cameras:
        raise AddonError(
            "addon.no_camera_selected",
            "No camera is selected.",
            "Select the cameras in the 3D view or the outliner, or choose a preset.",
        )
    if len(cameras) > PATH_VIEWS.high:
        raise AddonError(
            "addon.bad_range",
            f"{len(cameras)} cameras are selected; {PATH_VIEWS} are possible.",
            "Select fewer cameras.",
        )
    anchor = head_anchor.required(scene)
    with _evaluated(scene, [anchor, *cameras]):
        depsgraph = view_layer.depsgraph
        depsgraph.update()
        return [_shot(scene, depsgraph, camera, anchor) for camera in cameras]


@contextlib.contextmanager
def _evaluated(scene: bpy.types.Scene, things: Iterable[bpy.types.Object | None]) -> Iterator[None]:
    """Let Blender evaluate objects of a scene for as long as the block runs, hidden or not.

    What the monitor icon or an excluded collection hides is not evaluated: its pose would be the
    same at every frame.  It is once a visible object depends on it, with all its own parents.
    """
    helper = bpy.data.objects.new(".dp3d evaluated", None)
    helper.is_runtime_data = True
    try:
        for thing in {t.session_uid: t for t in things if t and scene in t.users_scene}.values():
            helper.constraints.new("COPY_TRANSFORMS").target = thing
        scene.collection.objects.link(helper)
        yield
    finally:
        bpy.data.objects.remove(helper)


def selected_cameras(view_layer: bpy.types.ViewLayer) -> list[bpy.types.Object]:
    """Selected cameras, by name as people count: ``Cam 2`` before ``Cam 10``."""
    cameras = [
        thing
        for thing in view_layer.objects
        if thing.type == "CAMERA" and thing.select_get(view_layer=view_layer)
    ]
    return sorted(cameras, key=lambda camera: natural(camera.name))


def natural(name: str) -> list[tuple[int, int, str]]:
    """Sort key of a name that compares its digits as numbers."""
    parts = re.split(r"(\d+)", name.casefold())
    return [(0, int(p), "") if p.isdecimal() else (1, 0, p) for p in parts if p]


def _shot(
    scene: bpy.types.Scene,
    depsgraph: bpy.types.Depsgraph,
    camera: bpy.types.Object | None,
    anchor: bpy.types.Object,
) -> Shot:
    frame = scene.frame_current
    if camera is None or camera.type != "CAMERA" or scene not in camera.users_scene:
        return Shot(camera.name if camera else "", frame, "")
    evaluated = camera.evaluated_get(depsgraph)
    width, height = camera_path.render_size(scene)
    projection = evaluated.calc_matrix_camera(
        depsgraph,
        x=width,
        y=height,
        scale_x=scene.render.pixel_aspect_x,
        scale_y=scene.render.pixel_aspect_y,
    )
    return Shot(
        camera.name,
        frame,
        camera_data(evaluated).type,
        evaluated.matrix_world.copy(),
        anchor.evaluated_get(depsgraph).matrix_world.copy(),
        projection.copy(),
    )


# -- judging -----------------------------------------------------------------------------------


def judge(shots: Sequence[Shot], width: int, height: int) -> list[Problem]:
    """Problems of evaluated cameras: one per camera and kind, with all its frames."""
    faults: dict[tuple[str, str], Problem] = {}
    if not (PATH_SIDE.holds(width) and PATH_SIDE.holds(height)):
        faults["", "size"] = Problem(
            "addon.bad_size",
            f"The render size is {width} x {height} pixels; {PATH_SIDE} are possible on a side.",
            "Change the resolution or its percentage (Output properties, Format).",
            [],
        )
    for shot in shots:
        fault = _fault(shot)
        if fault is not None:
            faults.setdefault((shot.camera, fault.code), fault).frames.append(shot.frame)
    return list(faults.values())


def _fault(shot: Shot) -> Problem | None:
    name = shot.camera.replace("{", "{{").replace("}", "}}")
    if not shot.kind:
        sentence = (
            f"The scene's camera {name!r} was taken out of the scene {{at}}."
            if name
            else "The scene has no camera {at}."
        )
        remedy = "Set the scene's camera (Scene properties, Camera), or choose a preset."
        return Problem("addon.camera_missing", sentence, remedy, [])
    if shot.kind != "PERSP":
        kind = _KINDS.get(shot.kind, "no perspective camera")
        sentence = f"The camera {name!r} is {kind} {{at}}."
        remedy = "Set its lens type to Perspective (Camera properties, Lens)."
        return Problem("camera.not_perspective", sentence, remedy, [])
    try:
        view = _head_to_camera(shot)
    except ValueError:  # an anchor or camera of size 0 is refused by name elsewhere
        return None
    eye = view.inverted().translation
    from_middle = ((e - m) / r for e, m, r in zip(eye, HEAD_MIDDLE, HEAD_RADII, strict=True))
    if sum(part**2 for part in from_middle) < 1:
        sentence = f"The camera {name!r} stands inside the head {{at}}."
        remedy = "Move it away from the head anchor, or make the anchor smaller."
        return Problem("addon.camera_in_head", sentence, remedy, [])
    if not sees(view, shot.projection):
        sentence = f"The camera {name!r} does not see the head {{at}}."
        remedy = "Turn it to the head anchor, or leave it out."
        return Problem("addon.camera_misses_head", sentence, remedy, [])
    return None


def _head_to_camera(shot: Shot) -> Matrix:
    """Head space to the camera's axes (OpenGL), in head units."""
    scale = abs(shot.anchor_world.to_3x3().determinant()) ** (1 / 3)
    location, rotation, _ = shot.camera_world.decompose()  # a camera's own scale does not count
    pose = Matrix.LocRotScale(location, rotation, Vector((scale,) * 3))
    return pose.inverted() @ shot.anchor_world


def sees(view: Matrix, projection: Matrix) -> bool:
    """Whether any part of the ball around the head lies in a camera's picture.

    Args:
        view: head space to the camera's axes (x right, y up, looks along -z), head units.
        projection: of ``Object.calc_matrix_camera``; clipping distances do not matter.

    """
    centre = view.translation
    if centre.length <= SEEN_RADIUS:
        return True
    if centre.z >= 0:
        return False
    # The ray of the picture that passes closest to the head's centre, about: the centre's own
    # place in the picture, moved to the border where it lies outside.
    x = projection[0][0] * centre.x / -centre.z - projection[0][2]
    y = projection[1][1] * centre.y / -centre.z - projection[1][2]
    x, y = (min(1.0, max(-1.0, value)) for value in (x, y))
    ray = Vector(
        ((x + projection[0][2]) / projection[0][0], (y + projection[1][2]) / projection[1][1], -1.0)
    )
    return math.sin(centre.angle(ray)) * centre.length < SEEN_RADIUS


def frames_in_words(frames: Sequence[int]) -> str:
    """``at frame 3``, ``at frames 3 to 9`` or ``at 4 frames from 3 to 12``."""
    if not frames:
        return ""
    first, last = min(frames), max(frames)
    if first == last:
        return f"at frame {first}"
    if len(frames) == last - first + 1:
        return f"at frames {first} to {last}"
    return f"at {len(frames)} frames from {first} to {last}"
