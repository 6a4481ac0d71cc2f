# SPDX-License-Identifier: GPL-3.0-or-later
"""The "Head Views" tab of the 3D view's sidebar.  Drawing only: no network, no files."""

from __future__ import annotations

import textwrap
from typing import Any

import bpy

from .. import session, settings

_STAGES = {
    "portrait": "Portrait",
    "views": "Views",
    "fit": "Fit",
    "mesh": "Mesh",
    "": "Starting",
}


class _Tab:
    bl_space_type = "VIEW_3D"
    bl_region_type = "UI"
    bl_category = "Head Views"


class DP3D_PT_main(_Tab, bpy.types.Panel):
    """Portrait, anchor, cameras, and the one button."""

    bl_idname = "DP3D_PT_main"
    bl_label = "Head Views"

    def draw(self, context: bpy.types.Context) -> None:
        """Draw the panel."""
        scene, layout = context.scene, self.layout
        layout.use_property_split = True
        layout.use_property_decorate = False
        s = scene.dp3d
        layout.prop(s, "portrait")
        layout.prop(s, "anchor")
        if s.anchor is None or scene not in s.anchor.users_scene:
            layout.operator("dp3d.add_anchor", icon="EMPTY_ARROWS")
        _cameras(layout, scene)
        row = layout.row(align=True)
        row.prop(s, "engine")
        row.operator("dp3d.check_server", text="", icon="FILE_REFRESH")
        for report in settings.SERVER_REPORT:
            _text(layout, context, report, "CHECKMARK")
        for engine in settings.ENGINES:
            if engine["name"] == s.engine and engine.get("problem"):
                _text(layout, context, str(engine["problem"]), "INFO")
        _wide(layout).prop(s, "then_mesh")
        _action(layout, context)
        _error(layout, context)


class DP3D_PT_results(_Tab, bpy.types.Panel):
    """What to do with finished views."""

    bl_idname = "DP3D_PT_results"
    bl_parent_id = "DP3D_PT_main"
    bl_label = "Mesh"

    def draw(self, context: bpy.types.Context) -> None:
        """Draw the panel."""
        layout, s, run = self.layout, context.scene.dp3d, context.scene.dp3d_run
        layout.use_property_split = True
        layout.use_property_decorate = False
        layout.prop(s, "fit_preset")
        layout.prop(s, "faces")
        layout.prop(s, "texture_size")
        if not run.views:
            layout.label(text="Generate views first", icon="INFO")
            return
        row = layout.row(align=True)
        row.operator("dp3d.fit", icon="CHECKMARK" if run.fit else "NONE")
        row.operator("dp3d.import_mesh", icon="MESH_MONKEY")
        column = layout.column(align=True)
        column.operator("dp3d.use_view_size", icon="OUTLINER_OB_CAMERA")
        column.operator("dp3d.load_views", icon="IMAGE_DATA")


class DP3D_PT_options(_Tab, bpy.types.Panel):
    """What is rarely changed."""

    bl_idname = "DP3D_PT_options"
    bl_parent_id = "DP3D_PT_main"
    bl_label = "Options"
    bl_options = {"DEFAULT_CLOSED"}

    def draw(self, context: bpy.types.Context) -> None:
        """Draw the panel."""
        layout, s = self.layout, context.scene.dp3d
        layout.use_property_split = True
        layout.use_property_decorate = False
        layout.prop(s, "seed")
        for estimate in ("crop", "head_yaw", "head_pitch", "head_roll"):
            layout.prop(s, f"use_{estimate}")
            if getattr(s, f"use_{estimate}"):
                layout.prop(s, estimate)
        layout.prop(s, "output")


def _wide(layout: Any) -> Any:
    """A row without the column for labels: long words would be cut off beside it."""
    row = layout.row()
    row.use_property_split = False
    return row


def _cameras(layout: Any, scene: bpy.types.Scene) -> None:
    s = scene.dp3d
    _wide(layout).prop(s, "camera_source", expand=True)
    column = layout.column(align=True)
    if s.camera_source == "PRESET":
        column.prop(s, "preset")
        column.prop(s, "views")
        column.prop(s, "size")
        if s.preset in ("ORBIT", "ARC"):
            column.prop(s, "pitch")
        return
    column.prop(scene, "camera")
    column.prop(s, "use_scene_range")
    if not s.use_scene_range:
        column.prop(s, "frame_start")
        column.prop(s, "frame_end")
    column.prop(s, "frame_step")


def _action(layout: Any, context: bpy.types.Context) -> None:
    """Generate or Cancel, in one place and never greyed."""
    run = context.scene.dp3d_run
    running = session.current(context.scene)
    row = layout.row()
    row.scale_y = 1.4
    if running is not None:
        row.operator("dp3d.cancel", text="Cancelling" if running.cancelling else "Cancel", icon="X")
        stage = _STAGES.get(run.stage, run.stage.capitalize())
        layout.progress(factor=run.fraction, type="BAR", text=f"{stage} {_count(run)}")
        if run.message:
            _text(layout, context, run.message)
        return
    row.operator("dp3d.generate", icon="PLAY")
    if run.job_id:
        _text(layout, context, "A job of this file may still be running at the server.", "INFO")
        row = layout.row(align=True)
        row.operator("dp3d.resume", icon="FILE_REFRESH")
        row.operator("dp3d.forget", text="", icon="X")
    elif run.state in ("succeeded", "cancelled") and not run.error_code:
        layout.label(text=run.message, icon="CHECKMARK" if run.state == "succeeded" else "X")
    for warning in run.warnings.split("\n"):
        if warning:
            _text(layout, context, warning, "ERROR")


def _count(run: Any) -> str:
    text = f"{run.step} of {run.of}" if run.of > 1 else ""
    if run.eta_s >= 0:
        seconds = round(run.eta_s)
        left = f"{seconds // 60} min {seconds % 60} s" if seconds >= 60 else f"{seconds} s"
        text += f", {left} left"
    return text.strip(", ")


def _error(layout: Any, context: bpy.types.Context) -> None:
    run = context.scene.dp3d_run
    if not run.error_code:
        return
    box = layout.box()
    _text(box, context, run.error_problem, "ERROR")
    _text(box, context, run.error_remedy)
    row = box.row()
    code = row.row()
    code.active = False
    code.label(text=run.error_code)
    row.operator("dp3d.forget", text="", icon="X", emboss=False)


def _text(layout: Any, context: bpy.types.Context, text: str, icon: str = "NONE") -> None:
    """A sentence over as many lines as the sidebar's width asks for (labels do not wrap)."""
    width = context.region.width / max(0.1, context.preferences.system.ui_scale)
    column = layout.column(align=True)
    column.scale_y = 0.8
    for line in textwrap.wrap(text, max(16, int(width / 7.2) - 4), break_on_hyphens=False):
        column.label(text=line, icon=icon)
        icon = "BLANK1" if icon != "NONE" else "NONE"


CLASSES = (DP3D_PT_main, DP3D_PT_results, DP3D_PT_options)
