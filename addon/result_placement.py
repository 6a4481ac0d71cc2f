# SPDX-License-Identifier: GPL-3.0-or-later
"""Adds views, mesh, rigged head and playback of a run to the scene.  Main thread only."""

from __future__ import annotations

from typing import Any

import bpy

from . import run_records, settings, windows
from .scene import anchor as head_anchor
from .scene import look, nearest_view, playback, rigged_head, tags, viewing
from .scene import mesh as scene_mesh
from .scene import views as scene_views


def place_views(scene: bpy.types.Scene, run: dict[str, Any]) -> None:
    """Add a run's views at the scene's anchor, and show them.

    Args:
        scene: which gets the cameras.
        run: fields of ``HeadViewsRun``.

    """
    anchor = head_anchor.required(scene)
    frames = [int(f) for f in run["frames"].split(",") if f]
    folder = run_records.absolute(run["folder"])
    scene_views.load(scene, anchor, folder, run["run_id"], run["title"], frames)
    nearest_view.forget(folder)  # it may have held other views, or none
    count = len(scene_views.read_views(folder))
    viewing.hide_parent_lines(scene)
    viewing.set_timeline(scene, frames if len(frames) == count else range(1, count + 1))
    viewing.frame_head(scene, anchor)


def place_mesh(scene: bpy.types.Scene, run: dict[str, Any]) -> None:
    """Add a run's mesh at the scene's anchor, and show it.

    Args:
        scene: which gets the mesh.
        run: fields of ``HeadViewsRun``.

    """
    anchor = head_anchor.required(scene)
    with windows.context_of(scene):
        objects = scene_mesh.load(
            scene,
            bpy.context.view_layer,
            anchor,
            run_records.absolute(run["mesh"]),
            run["run_id"],
            run["title"],
        )
    look.apply(objects, scene.dp3d.look)
    _step_aside(scene)  # the head is what is looked at now
    tags.show(scene, run["run_id"], "mesh", True)
    viewing.show_texture(scene, lit=scene.dp3d.look == look.LIT)
    viewing.frame_head(scene, anchor)


def place_head(scene: bpy.types.Scene, run: dict[str, Any]) -> None:
    """Add a run's rigged head at the scene's anchor, and show it.

    Args:
        scene: which gets the head.
        run: fields of ``HeadViewsRun``.

    """
    anchor = head_anchor.required(scene)
    with windows.context_of(scene):
        rigged_head.load(
            scene,
            bpy.context.view_layer,
            anchor,
            run_records.absolute(run["rig"]),
            run["run_id"],
            run["title"],
            scene.dp3d.look,
        )
    _step_aside(scene)
    tags.show(scene, run["run_id"], rigged_head.ROLE, True)
    viewing.hide_parent_lines(scene)
    viewing.show_texture(scene, lit=scene.dp3d.look == look.LIT)
    viewing.frame_head(scene, anchor)


def place_playback(scene: bpy.types.Scene, run: dict[str, Any], frames: list[int]) -> list[str]:
    """Show the frames of a played back field as the scene's settings say.

    Meshes at the anchor, which would cover them, and the cameras of views are hidden;
    ``place_mesh`` shows a mesh again.

    Returns:
        Warnings: cameras that are no longer in the scene.

    """
    gone: list[str] = []
    folder = run_records.absolute(run["playback"])
    show = scene.dp3d.playback_show
    run_id, title = run["run_id"], run["title"]
    if show == "FILES":
        return gone
    if show == "BEHIND":
        names = playback.read_cameras(folder)
        playback.cameras_of(scene, names, folder)  # before anything is taken away
        playback.remove(scene, run_id)
        gone = playback.show_behind_all(scene, names, folder, frames, run_id, title)
    else:
        anchor = head_anchor.required(scene)
        playback.remove(scene, run_id)
        playback.show_plane(scene, anchor, folder, frames, run_id, title)
    _step_aside(scene)
    if frames:
        hold = frames[1] - frames[0] if len(frames) > 1 else 1
        viewing.set_timeline(scene, [frames[0], frames[-1] + hold - 1])
    return [f"The playback is not behind {name}, which is no longer in the scene." for name in gone]


def _step_aside(scene: bpy.types.Scene) -> None:
    """Hide the cameras of all views, and the heads that hang on the scene's anchor."""
    for run_id in tags.runs(scene):
        tags.show(scene, run_id, "view", False)
        if scene.dp3d.anchor is not None:
            for role in ("mesh", rigged_head.ROLE):
                tags.show(scene, run_id, role, False, under=scene.dp3d.anchor)


def apply_look(scene: bpy.types.Scene) -> None:
    """Set the chosen run's mesh and rigged head to the look of the scene's settings."""
    run_id = run_records.run(scene)["run_id"]
    objects = list(tags.objects(scene, run_id, "mesh")) if run_id else []
    look.apply(objects, scene.dp3d.look)
    rigged = list(tags.objects(scene, run_id, rigged_head.ROLE)) if run_id else []
    rigged_head.apply_look(rigged, scene.dp3d.look)
    if objects or rigged:
        viewing.show_texture(scene, lit=scene.dp3d.look == look.LIT)


def attach() -> None:
    """Listen for changes of the look."""
    settings.listen("look", apply_look)


def detach() -> None:
    """Stop listening."""
    settings.stop_listening("look", apply_look)
