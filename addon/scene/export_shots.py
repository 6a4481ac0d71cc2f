# SPDX-License-Identifier: GPL-3.0-or-later
"""Options of an export, and the list of its shots, one per view."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import bpy
from mathutils import Matrix

from ..limits import PATH_SIDE, PATH_VIEWS
from ..link.errors import AddonError
from . import camera_check, camera_path
from .object_data import camera_data
from .orbit_cameras import SIZE
from .trajectories import HeadCamera, preset


class Options(NamedTuple):
    """What to export; everything else is the scene's."""

    source: str
    """PRESET, SCENE (the scene's camera over the frame range) or SELECTED (cameras)."""
    folder: Path
    title: str
    """Name of the export for people."""
    look: str = "STANDARD"
    """STANDARD (true colours, as a fit needs them) or SCENE (the scene's view transform)."""
    use_compositing: bool = False
    """Run compositor and sequencer over the renders."""
    transforms: bool = False
    """Write nerfstudio's ``transforms.json`` too."""
    start_over: bool = False
    """Render all frames anew, in place of an earlier export in the folder."""
    numbered: bool = False
    """Where the folder is another's, take its name with -2, -3, ... instead."""


class Shot(NamedTuple):
    """One view as Blender is to render it."""

    frame: float
    """Scene frame, with its subframe."""
    width: int
    height: int
    aspect: tuple[float, float]
    """Pixel aspect (x, y)."""
    camera_uid: int = 0
    """The scene's own camera to render through; 0: the temporary one."""
    camera_name: str = ""
    preset: HeadCamera | None = None
    """Of a preset: the camera in head space."""
    place: tuple[Matrix, float] | None = None
    """Of a preset: where the temporary camera stands, and the anchor's scale."""


def shots(scene: bpy.types.Scene, view_layer: bpy.types.ViewLayer, options: Options) -> list[Shot]:
    """What to render, in order, checked as far as it can be without evaluating the scene."""
    now = scene.frame_current_final
    width, height = camera_path.render_size(scene)
    aspect = (scene.render.pixel_aspect_x, scene.render.pixel_aspect_y)
    if options.source == "PRESET":
        settings = scene.dp3d
        cameras = preset(
            settings.preset.lower(),
            settings.views,
            settings.size,
            camera_path.preset_pitch_deg(settings),
        )
        return [Shot(now, c.width, c.height, (1.0, 1.0), preset=c) for c in cameras]
    if options.source == "SCENE":
        shots = [Shot(float(n), width, height, aspect) for n in camera_path.frame_numbers(scene)]
    else:
        shots = []
        for camera in _selected(view_layer):
            check_perspective(camera_data(camera), camera.name)
            size = list(camera.get(SIZE, ()))
            own = len(size) == 2
            shots.append(
                Shot(
                    now,
                    size[0] if own else width,
                    size[1] if own else height,
                    (1.0, 1.0) if own else aspect,
                    camera.session_uid,
                    camera.name,
                )
            )
    for shot in shots:
        if not (PATH_SIDE.holds(shot.width) and PATH_SIDE.holds(shot.height)):
            raise AddonError(
                "addon.bad_size",
                f"The frames would have {shot.width} x {shot.height} pixels; {PATH_SIDE} are "
                "possible on a side.",
                "Change the resolution or its percentage (Output properties, Format).",
            )
    return shots


def _selected(view_layer: bpy.types.ViewLayer) -> list[bpy.types.Object]:
    """Selected cameras by name; refused when there are none or too many."""
    cameras = camera_check.selected_cameras(view_layer)
    if not cameras:
        raise AddonError(
            "addon.no_camera_selected",
            "No camera is selected.",
            "Select the cameras to export, or press Create Orbit Cameras.",
        )
    if len(cameras) > PATH_VIEWS.high:
        raise AddonError(
            "addon.bad_range",
            f"{len(cameras)} cameras are selected; {PATH_VIEWS} are possible.",
            "Select fewer cameras.",
        )
    return cameras


def check_perspective(data: bpy.types.Camera, name: str) -> None:
    """Refuse orthographic and panoramic cameras.

    Raises:
        AddonError: ``camera.not_perspective``.

    """
    if data.type != "PERSP":
        raise AddonError(
            "camera.not_perspective",
            f"The camera {name!r} is not a perspective camera.",
            "Set its lens type to Perspective.",
        )
