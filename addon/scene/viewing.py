# SPDX-License-Identifier: GPL-3.0-or-later
"""Sets what the 3D views and the timeline show for a run's views, and restores it.

``look_through`` switches to the views' camera and render size, ``set_timeline`` to their frames,
``restore`` switches back.  The former values are kept in ``scene["dp3d_before"]``: they survive
saving, and an undo resets them together with the settings.  Undo does not cover 3D views, which are
found again by screen and area.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import bpy
from mathutils import Quaternion, Vector

from ..link.errors import AddonError
from . import sequence, tags
from . import views as scene_views
from .object_data import camera_data

BEFORE = "dp3d_before"
"""Custom property of a scene: the values that ``restore`` gives back."""
HEAD_RADIUS = 0.45
"""Radius of the ball around the anchor that holds head, hair and neck, head units."""

_SIZES = (
    ("resolution_x", "resolution_y"),
    ("resolution_percentage",),
    ("pixel_aspect_x", "pixel_aspect_y"),
)
"""Render settings of a view; those of one line are chosen together."""
_PREVIEW = ("use_preview_range", "frame_preview_start", "frame_preview_end")


# -- through the views and back --------------------------------------------------------------


def look_through(scene: bpy.types.Scene, run: Any, area: bpy.types.Area | None = None) -> None:
    """Look through the animated camera of a run's views, at their size.

    The scene's own camera, render size, preview range and the view of the area are remembered
    for ``restore``; looking again, or at another run, keeps what was remembered first, unless
    the user has chosen another camera or render size since.

    Args:
        scene: which has the views.
        run: mapping or properties with ``run_id`` and ``folder``.
        area: 3D view that looks; None: only the scene's settings change.

    Raises:
        AddonError: ``viewset.not_found``, ``viewset.invalid``, or ``addon.player_missing`` when
            the animated camera is not in the scene.

    """
    values = run if isinstance(run, dict) else {k: getattr(run, k) for k in ("run_id", "folder")}
    view = scene_views.read_views(Path(bpy.path.abspath(values["folder"])))[0]
    player = tags.originals(scene, values["run_id"], "player").get(0)
    if player is None:
        raise AddonError(
            "addon.player_missing",
            "The animated camera of the views is not in this scene.",
            "Load the views of this result again.",
        )
    render = scene.render
    look: dict[str, Any] = dict(_own_size(scene))
    own_scene_camera = own_camera(scene) if is_looking(scene) else scene.camera
    if own_scene_camera is not None:
        look["camera"] = own_scene_camera
    scene.camera = player
    render.resolution_x, render.resolution_y = view.width, view.height
    render.resolution_percentage = 100
    render.pixel_aspect_x, render.pixel_aspect_y = scene_views.pixel_aspect(view)
    look["ours"] = _size(scene)
    _remember(scene, "look", look)
    backgrounds = camera_data(player).background_images
    if len(backgrounds) and (frames := sequence.frames_of(backgrounds[0].image_user)):
        set_timeline(scene, frames)
    if area is not None and area.type == "VIEW_3D":
        _enter_camera_view(scene, area, player)


def restore(scene: bpy.types.Scene, area: bpy.types.Area | None = None) -> bool:
    """Restore camera, render size and preview range after ``look_through`` and ``set_timeline``.

    A camera, render size or preview range that the user chose meanwhile is kept.  A former camera
    that was deleted is not restored.

    Args:
        scene: the scene.
        area: 3D view that leaves the camera even when its own view is not remembered.

    Returns:
        Whether there was anything to give back.

    """
    before = _before(scene)
    if not before:
        return False
    look, timeline = before.get("look"), before.get("timeline")
    if look:
        for name, value in _own_size(scene).items():
            setattr(scene.render, name, value)
        scene.camera = own_camera(scene)
    if timeline and list(timeline["ours"]) == [
        scene.frame_preview_start,
        scene.frame_preview_end,
    ]:
        use, start, end = timeline["before"]
        # The start first would be clamped by the end that is still ours.
        scene.frame_preview_end = max(end, scene.frame_preview_start)
        scene.frame_preview_start, scene.frame_preview_end = start, end
        scene.use_preview_range = bool(use)
    areas = before.get("areas") or {}
    for key, view_area in _areas(scene):
        if key in areas:
            _leave_camera_view(view_area, areas[key])
        elif look and area is not None and view_area == area:
            _leave_camera_view(view_area, None)
    del scene[BEFORE]
    return True


def is_looking(scene: bpy.types.Scene) -> bool:
    """Whether ``restore`` has a camera and a render size to give back."""
    return "look" in _before(scene)


def own_camera(scene: bpy.types.Scene) -> bpy.types.Object | None:
    """The user's camera: the scene's, or the former one while a player replaces it.

    A player that was deleted meanwhile leaves no camera, and is as good as one.
    """
    if scene.camera is not None and not _is_player(scene.camera):
        return scene.camera
    return _in_scene(scene, _before(scene).get("look", {}).get("camera"))


@contextlib.contextmanager
def own_settings(scene: bpy.types.Scene) -> Iterator[None]:
    """Context with the user's camera and render size, for reading a camera path."""
    look = _before(scene).get("look")
    if not look:
        player = scene.camera if _is_player(scene.camera) else None
        if player is not None:
            scene.camera = None
        try:
            yield
        finally:
            if player is not None:
                scene.camera = player
        return
    camera, view_size = scene.camera, _size(scene)
    scene.camera = own_camera(scene)
    for name, value in _own_size(scene).items():
        setattr(scene.render, name, value)
    try:
        yield
    finally:
        scene.camera = camera
        for name, value in view_size.items():
            setattr(scene.render, name, value)


def set_timeline(scene: bpy.types.Scene, frames: Sequence[int]) -> None:
    """Set the preview range to the views' frames; the range that renders stays as it is."""
    if not frames:
        return
    first, last = min(frames), max(frames)
    ours = [first, last]
    timeline = _before(scene).get("timeline")
    if timeline is None or list(timeline["ours"]) != [
        scene.frame_preview_start,
        scene.frame_preview_end,
    ]:
        timeline = {"before": [int(getattr(scene, name)) for name in _PREVIEW]}
    _remember(scene, "timeline", {"before": list(timeline["before"]), "ours": ours})
    scene.use_preview_range = True
    scene.frame_preview_end = max(ours[1], scene.frame_preview_start)
    scene.frame_preview_start, scene.frame_preview_end = ours
    if not first <= scene.frame_current <= last:
        scene.frame_set(first)


# -- viewports -------------------------------------------------------------------------------


def frame_head(scene: bpy.types.Scene, anchor: bpy.types.Object) -> int:
    """Frame the head in the scene's 3D views that look through no camera.

    The direction of each view stays.

    Returns:
        How many views were moved.

    """
    for window in _windows(scene):
        window.view_layer.update()  # an anchor of this moment has no world matrix yet
    world = anchor.matrix_world
    radius = HEAD_RADIUS * world.median_scale
    count = 0
    for _, area in _areas(scene):
        region = next((r for r in area.regions if r.type == "WINDOW"), None)
        space = _view_3d(area)
        short = (
            1.0
            if region is None
            else min(region.width, region.height) / max(region.width, region.height, 1)
        )
        for view in _regions_3d(space):
            if view.view_perspective == "CAMERA":
                continue
            # Blender's views see 72 mm over the focal length along the longer side.
            half = 36.0 / space.lens * max(short, 0.1)
            view.view_location = world.translation
            view.view_distance = radius * (1 + half**2) ** 0.5 / half
            count += 1
        area.tag_redraw()
    return count


def show_texture(scene: bpy.types.Scene, *, lit: bool) -> int:
    """Show textures in the scene's solid-shaded 3D views; number of views switched.

    Args:
        scene: shown by the views.
        lit: light them; without, a texture has the colours of its file.

    """
    count = 0
    for _, area in _areas(scene):
        shading = _view_3d(area).shading
        light = shading.light
        if lit and light == "FLAT":
            light = "STUDIO"
        elif not lit and light == "STUDIO":
            light = "FLAT"
        if shading.type == "SOLID" and (shading.color_type, shading.light) != ("TEXTURE", light):
            shading.color_type, shading.light = "TEXTURE", light
            count += 1
    return count


def hide_parent_lines(scene: bpy.types.Scene) -> int:
    """Hide the relationship lines in the scene's 3D views; number of views switched.

    Every camera of a view has one, and all of them meet in the head.
    """
    count = 0
    for _, area in _areas(scene):
        overlay = _view_3d(area).overlay
        if overlay.show_relationship_lines:
            overlay.show_relationship_lines = False
            count += 1
    return count


def _windows(scene: bpy.types.Scene) -> list[bpy.types.Window]:
    manager = bpy.context.window_manager
    return [window for window in manager.windows if window.scene == scene] if manager else []


def _areas(scene: bpy.types.Scene) -> Iterator[tuple[str, bpy.types.Area]]:
    """3D views of the scene in all windows, with a name that survives saving."""
    for window in _windows(scene):
        for index, area in enumerate(window.screen.areas):
            if area.type == "VIEW_3D":
                yield f"{window.screen.name}/{index}", area


def _view_3d(area: bpy.types.Area) -> bpy.types.SpaceView3D:
    """Settings of the 3D view in an area."""
    space = area.spaces.active
    assert isinstance(space, bpy.types.SpaceView3D), area.type
    return space


def _regions_3d(space: bpy.types.SpaceView3D) -> list[bpy.types.RegionView3D]:
    quads = list(space.region_quadviews)
    return quads or [space.region_3d]


def _enter_camera_view(
    scene: bpy.types.Scene, area: bpy.types.Area, player: bpy.types.Object
) -> None:
    """Look through the player in a 3D view, and remember the view before."""
    space = _view_3d(area)
    view = space.region_3d
    key = next((key for key, other in _areas(scene) if other == area), "")
    areas = dict(_before(scene).get("areas") or {})
    if key and key not in areas:
        areas[key] = {
            "perspective": view.view_perspective,
            "rotation": list(view.view_rotation),
            "location": list(view.view_location),
            "distance": view.view_distance,
            "local": space.use_local_camera,
        }
        _remember(scene, "areas", areas)
    # Markers bind cameras anew at every frame; the area's own camera they do not touch.
    bound = any(marker.camera is not None for marker in scene.timeline_markers)
    space.use_local_camera = bound
    if bound:
        space.camera = player
    view.view_perspective = "CAMERA"


def _leave_camera_view(area: bpy.types.Area, remembered: Any) -> None:
    """Restore a 3D view after ``_enter_camera_view``; None: only leave the camera."""
    space = _view_3d(area)
    view = space.region_3d
    if remembered is None:
        view.view_perspective = "PERSP"
        return
    if space.use_local_camera and not remembered["local"]:
        space.use_local_camera = False
    if view.view_perspective != "CAMERA":
        return  # the artist has left the camera, by orbiting
    view.view_perspective = remembered["perspective"]
    if remembered["perspective"] != "CAMERA":
        view.view_rotation = Quaternion(remembered["rotation"])
        view.view_location = Vector(remembered["location"])
        view.view_distance = remembered["distance"]


# -- memory ----------------------------------------------------------------------------------


def _before(scene: bpy.types.Scene) -> dict[str, Any]:
    group = scene.get(BEFORE)
    return dict(group.items()) if group is not None else {}


def _remember(scene: bpy.types.Scene, key: str, values: dict[str, Any]) -> None:
    if scene.get(BEFORE) is None:
        scene[BEFORE] = {}
    scene[BEFORE][key] = values


def _size(scene: bpy.types.Scene) -> dict[str, float]:
    return {name: getattr(scene.render, name) for names in _SIZES for name in names}


def _own_size(scene: bpy.types.Scene) -> dict[str, float]:
    """The user's render size: the remembered one, as long as the scene still has the view's."""
    size = _size(scene)
    look = _before(scene).get("look")
    if not look:
        return size
    ours = look.get("ours") or size  # of an early version, which did not remember it
    for names in _SIZES:
        if all(size[name] == ours[name] for name in names):
            size.update({name: look[name] for name in names})
    return size


def _is_player(thing: bpy.types.Object | None) -> bool:
    return thing is not None and tags.is_marked(thing, None, "player")


def _in_scene(scene: bpy.types.Scene, thing: Any) -> bpy.types.Object | None:
    """The object, unless it was deleted (a property keeps a deleted one in memory)."""
    return thing if thing is not None and scene in thing.users_scene else None
