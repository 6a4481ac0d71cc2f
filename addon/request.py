# SPDX-License-Identifier: GPL-3.0-or-later
"""From what the panel says to a plan the run can follow.  Main thread only."""

from __future__ import annotations

import math
import tempfile
import uuid
from pathlib import Path
from typing import Any

import bpy

from .link.errors import AddonError
from .link.run import Plan
from .scene import anchor as head_anchor
from .scene import camera_path

KINDS = ("views", "fit", "mesh")


def new_views(context: bpy.types.Context) -> tuple[Plan, list[int]]:
    """Plan of Generate, and the scene frame of each view (empty for a preset).

    Raises:
        AddonError: for anything the panel's settings lack (see ``camera_path`` and below).

    """
    scene = context.scene
    settings = scene.dp3d
    portrait = _portrait(settings.portrait)
    head_anchor.check(_world(context, head_anchor.required(scene)))
    frames: list[int] = []
    if settings.camera_source == "SCENE":
        cameras = camera_path.scene_path(scene, context.view_layer)
        frames = camera_path.frame_numbers(scene)
    else:
        cameras = camera_path.preset(scene)
    run_id = uuid.uuid4().hex
    views = {
        "cameras": cameras,
        "engine": settings.engine or "preview",
        "seed": settings.seed,
        "crop": list(settings.crop) if settings.use_crop else None,
        **{
            f"{angle}_deg": math.degrees(getattr(settings, f"head_{angle}"))
            if getattr(settings, f"use_head_{angle}")
            else None
            for angle in ("yaw", "pitch", "roll")
        },
    }
    plan = Plan(
        run_id=run_id,
        kinds=KINDS if settings.then_mesh else KINDS[:1],
        folder=output_folder(settings.output, run_id),
        portrait=portrait,
        params={"views": views, **_later(settings)},
    )
    return plan, frames


def later(scene: bpy.types.Scene, kinds: tuple[str, ...]) -> Plan:
    """Plan of Fit or Import Mesh on the scene's last run.

    Raises:
        AddonError: ``addon.no_views`` before there are views.

    """
    run = scene.dp3d_run
    if not run.views:
        raise AddonError(
            "addon.no_views", "There are no views to fit yet.", "Generate the views first."
        )
    head_anchor.required(scene)
    return _going_on(scene, kinds)


def resumed(scene: bpy.types.Scene) -> Plan:
    """Plan that takes up the run a .blend remembers.

    Raises:
        AddonError: ``addon.nothing_to_resume``.

    """
    run = scene.dp3d_run
    kinds = tuple(k for k in run.pending.split(",") if k in KINDS)
    if not kinds or not run.job_id or run.job_kind != kinds[0]:
        raise AddonError(
            "addon.nothing_to_resume",
            "This scene remembers no job that could still be running.",
            "Press Generate to start one.",
        )
    return _going_on(scene, kinds, run.job_id)


def _going_on(scene: bpy.types.Scene, kinds: tuple[str, ...], resume_job: str = "") -> Plan:
    run = scene.dp3d_run
    return Plan(
        run_id=run.run_id,
        kinds=kinds,
        folder=Path(bpy.path.abspath(run.folder)),
        params=_later(scene.dp3d),
        views=run.views,
        fit=run.fit,
        resume_job=resume_job,
    )


def output_folder(chosen: str, run_id: str) -> Path:
    """Folder of a run: the chosen one, beside the .blend, or the extension's own, in this order."""
    if chosen:
        if chosen.startswith("//") and not bpy.data.filepath:
            raise AddonError(
                "output.not_writable",
                "The output folder is relative to a .blend file that is not saved yet.",
                "Save the .blend file, or choose an absolute folder.",
            )
        return Path(bpy.path.abspath(chosen)) / run_id[:12]
    if bpy.data.filepath:
        return Path(bpy.path.abspath("//")) / "dp3d" / run_id[:12]
    try:
        own = bpy.utils.extension_path_user(__package__, path="runs", create=True)
    except ValueError:  # registered by a script, not installed as an extension
        own = str(Path(tempfile.gettempdir()) / "dp3d-runs")
    return Path(own) / run_id[:12]


def _portrait(text: str) -> Path:
    path = Path(bpy.path.abspath(text)) if text else None
    if path is None:
        raise AddonError(
            "portrait.not_found", "There is no portrait.", "Choose a photograph of one person."
        )
    if not path.is_file():
        raise AddonError(
            "portrait.not_found",
            f"There is no file {path}.",
            "Choose a picture file that exists.",
        )
    return path


def _world(context: bpy.types.Context, thing: bpy.types.Object) -> Any:
    return thing.evaluated_get(context.evaluated_depsgraph_get()).matrix_world


def _later(settings: Any) -> dict[str, dict[str, Any]]:
    return {
        "fit": {"preset": settings.fit_preset.lower(), "seed": settings.seed},
        "mesh": {"faces": settings.faces, "texture_size": settings.texture_size},
    }
