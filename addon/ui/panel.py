# SPDX-License-Identifier: GPL-3.0-or-later
"""The "Head Views" tab of the 3D view's sidebar.  Drawing only: no network, no files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import bpy

from .. import run_watcher, settings, windows
from ..limits import DEFAULT_ENGINE
from ..scene import camera_path, look, viewing, views
from . import (
    anchor,
    engines,
    failures,
    head,
    packing,
    pictures,
    portrait,
    presets,
    run_words,
    sentences,
    server_page,
)

if TYPE_CHECKING:
    from bpy.types import Panel as _Panel
else:
    _Panel = object  # Blender would take a subclass of its own for one to register


class Tab(_Panel):
    """Base of the panels: the tab of the sidebar that shows them."""

    bl_space_type = "VIEW_3D"
    bl_region_type = "UI"
    bl_category = "Head Views"


class DP3D_PT_main(Tab, bpy.types.Panel):
    """Portrait, anchor, cameras, engine, and the one button."""

    bl_idname = "DP3D_PT_main"
    bl_label = "Head Views"

    def draw(self, context: bpy.types.Context) -> None:
        """Draw the panel."""
        scene, layout = context.scene, self.layout
        layout.use_property_split = True
        layout.use_property_decorate = False
        server_page.draw_server(layout, context)
        portrait.draw_portrait(layout, context)
        _draw_anchor(layout, scene)
        draw_cameras(layout, scene, scene.dp3d, "camera_source")
        _draw_engine(layout, context)
        _full_width_row(layout).prop(scene.dp3d, "then_mesh")
        draw_action(layout, context)
        _draw_failure(layout, context)
        _draw_pictures(layout, context)


class DP3D_PT_options(Tab, bpy.types.Panel):
    """Rarely changed settings."""

    bl_idname = "DP3D_PT_options"
    bl_parent_id = "DP3D_PT_main"
    bl_label = "Options"
    bl_options = {"DEFAULT_CLOSED"}
    bl_order = 1

    def draw_header_preset(self, context: bpy.types.Context) -> None:
        """The menu of named presets."""
        presets.DP3D_PT_presets.draw_panel_header(self.layout)

    def draw(self, context: bpy.types.Context) -> None:
        """Draw the engine's options, crop and head angles given by hand, and the output folder."""
        layout, s = self.layout, context.scene.dp3d
        layout.use_property_split = True
        layout.use_property_decorate = False
        column = layout.column(heading="Engine")
        engines.draw(column, context.scene)
        portrait.draw_crop(layout, context)
        for estimate in ("head_yaw", "head_pitch", "head_roll"):
            layout.prop(s, f"use_{estimate}")
            if getattr(s, f"use_{estimate}"):
                layout.prop(s, estimate)
        layout.prop(s, "output")


class DP3D_UL_results(bpy.types.UIList):
    """The scene's results, newest last."""

    bl_idname = "DP3D_UL_results"

    def draw_item(  # type: ignore[override]  # without the last two, which Blender leaves out
        self,
        context: bpy.types.Context,
        layout: bpy.types.UILayout,
        data: Any,
        item: Any,
        icon: int,
        active_data: Any,
        active_propname: str,
    ) -> None:
        """One result: its name, the score of its fit, and whether it has mesh and playback."""
        row = layout.row(align=True)
        exported = item.source == "exported"
        row.label(text=item.title or item.run_id[:8], icon="SCENE" if exported else "IMAGE_DATA")
        right = row.row(align=True)
        right.alignment = "RIGHT"
        if psnr := run_words.foreground_psnr(item.scores):
            right.label(text=f"{psnr:.0f} dB")
        if item.mesh:
            right.label(text="", icon="MESH_DATA")
        if item.rig:
            right.label(text="", icon="ARMATURE_DATA")
        if item.playback:
            right.label(text="", icon="PLAY")


class DP3D_PT_results(Tab, bpy.types.Panel):
    """The list of results, and the buttons of the chosen one."""

    bl_idname = "DP3D_PT_results"
    bl_parent_id = "DP3D_PT_main"
    bl_label = "Results"
    bl_order = 2

    def draw(self, context: bpy.types.Context) -> None:
        """Draw the list and the buttons of the chosen result."""
        scene, layout = context.scene, self.layout
        if not len(scene.dp3d_results):
            layout.label(text="Generate or export views first", icon="INFO")
            return
        row = layout.row()
        row.template_list(
            "DP3D_UL_results", "", scene, "dp3d_results", scene, "dp3d_result_index", rows=3
        )
        buttons = row.column(align=True)
        buttons.operator("dp3d.rerun", text="", icon="FILE_REFRESH").new_seed = False
        buttons.operator("dp3d.rerun", text="", icon="FORCE_TURBULENCE").new_seed = True
        buttons.operator("dp3d.open_folder", text="", icon="FILE_FOLDER")
        buttons.operator("dp3d.delete_result", text="", icon="TRASH")
        run = scene.dp3d_run
        layout.label(text=run_words.origin_text(run))
        grid: Any = layout.grid_flow(columns=2, even_columns=True, align=True)
        for what, text, icon, there in (
            ("VIEWS", "Views", "IMAGE_DATA", run.views or run.frames),
            ("MESH", "Mesh", "MESH_DATA", run.mesh),
            ("HEAD", "Rigged Head", "ARMATURE_DATA", run.rig),
            ("PLAYBACK", "Playback", "PLAY", run.playback),
        ):
            part = grid.row(align=True)
            part.enabled = bool(there)
            part.operator("dp3d.load_result", text=text, icon=icon).what = what
        row = layout.row(align=True)
        if viewing.is_looking(scene):
            row.operator("dp3d.restore_view", icon="LOOP_BACK")
        else:
            row.operator("dp3d.use_view_size", icon="OUTLINER_OB_CAMERA")
        shown = views.cameras_shown(scene, run.run_id)
        row.operator("dp3d.show_cameras", text="", icon="HIDE_OFF" if shown else "HIDE_ON")
        row.prop(scene.dp3d, "show_nearest_view", text="", icon="USER")
        packing.draw(layout, context)


class DP3D_PT_head(Tab, bpy.types.Panel):
    """Look and keys of the chosen result's rigged head."""

    bl_idname = "DP3D_PT_head"
    bl_parent_id = "DP3D_PT_main"
    bl_label = "Rigged Head"
    bl_order = 3

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Whether the chosen result has a rigged head."""
        return bool(context.scene.dp3d_run.rig)

    def draw(self, context: bpy.types.Context) -> None:
        """Draw the panel."""
        head.draw(self.layout, context)


class DP3D_PT_mesh(Tab, bpy.types.Panel):
    """Field and mesh of the chosen result."""

    bl_idname = "DP3D_PT_mesh"
    bl_parent_id = "DP3D_PT_main"
    bl_label = "Field and Mesh"
    bl_order = 4

    def draw(self, context: bpy.types.Context) -> None:
        """Draw the panel."""
        scene = context.scene
        layout, s, run = self.layout, scene.dp3d, scene.dp3d_run
        layout.use_property_split = True
        layout.use_property_decorate = False
        layout.prop(s, "fit_preset")
        layout.prop(s, "faces")
        layout.prop(s, "texture_size")
        row = layout.row(align=True)
        row.enabled = run_watcher.current() is None
        row.operator("dp3d.fit", icon="CHECKMARK" if run.fit else "NONE")
        row.operator("dp3d.import_mesh", icon="MESH_MONKEY")
        column = layout.column(align=True)
        column.enabled = run_watcher.current() is None
        column.operator("dp3d.save_fit", icon="FILE_TICK")
        for line in run_words.score_lines(run):
            layout.label(text=line, icon="CHECKMARK")
        layout.prop(s, "look")
        if run.mesh and s.look == "PHOTO" and (warning := look.view_transform_warning(scene)):
            sentences.draw(layout, context, warning, "COLOR")
            layout.operator("dp3d.use_standard")


class DP3D_PT_playback(Tab, bpy.types.Panel):
    """The field along the scene's camera."""

    bl_idname = "DP3D_PT_playback"
    bl_parent_id = "DP3D_PT_main"
    bl_label = "Play Back"
    bl_order = 5

    def draw(self, context: bpy.types.Context) -> None:
        """Draw the panel."""
        scene = context.scene
        layout, s, run = self.layout, scene.dp3d, scene.dp3d_run
        layout.use_property_split = True
        layout.use_property_decorate = False
        layout.prop(scene, "camera")
        row = layout.row(align=True)
        row.prop(scene, "frame_start", text="Scene Frames")
        row.prop(scene, "frame_end", text="")
        layout.prop(s, "playback_step")
        width, height = camera_path.render_size(scene)
        count = len(range(scene.frame_start, scene.frame_end + 1, s.playback_step))
        layout.label(text=f"{count} frames of {width} x {height}", icon="RENDER_ANIMATION")
        layout.prop(s, "playback_show")
        layout.prop(s, "playback_video")
        row = layout.row()
        row.scale_y = 1.2
        row.enabled = run_watcher.current() is None
        row.operator("dp3d.playback", icon="PLAY")
        if run.playback:
            where = layout.operator("dp3d.open_folder", text="Frames", icon="FILE_FOLDER")
            where.what = "PLAYBACK"


def _full_width_row(layout: Any) -> Any:
    """A row without the column for labels, beside which long words would be cut off."""
    row = layout.row()
    row.use_property_split = False
    return row


def _draw_anchor(layout: Any, scene: bpy.types.Scene) -> None:
    s = scene.dp3d
    row = layout.row(align=True)
    row.prop(s, "anchor")
    row.prop(s, "show_ghost", text="", icon="GHOST_ENABLED" if s.show_ghost else "GHOST_DISABLED")
    if s.anchor is None or scene not in s.anchor.users_scene:
        anchor.draw_add(layout)


def draw_cameras(layout: Any, scene: bpy.types.Scene, owner: Any, source: str) -> None:
    """Draw the choice of where cameras come from, and the settings of that source.

    Args:
        layout: where to draw.
        scene: which has the cameras.
        owner: property group with the choice.
        source: name of that property.

    """
    s, chosen = scene.dp3d, getattr(owner, source)
    _full_width_row(layout).prop(owner, source, expand=True)
    column = layout.column(align=True)
    if chosen == "PRESET":
        for name in ("preset", "views", "size"):
            column.prop(s, name)
        if s.preset in ("ORBIT", "ARC"):
            column.prop(s, "pitch")
        column.operator("dp3d.create_orbit_cameras", icon="OUTLINER_DATA_CAMERA")
    elif chosen == "SCENE":
        column.prop(scene, "camera")
        column.prop(s, "use_scene_range")
        if not s.use_scene_range:
            column.prop(s, "frame_start")
            column.prop(s, "frame_end")
        column.prop(s, "frame_step")


def _draw_engine(layout: Any, context: bpy.types.Context) -> None:
    s = context.scene.dp3d
    name = s.engine or DEFAULT_ENGINE
    engine = next((e for e in settings.ENGINES if e["name"] == name), {"name": name})
    row = layout.row(align=True)
    split = row.split(factor=0.4, align=True)
    label = split.row()
    label.alignment = "RIGHT"
    label.label(text="Engine")
    split.menu("DP3D_MT_engines", text=engines.title(engine))
    row.operator("dp3d.check_server", text="", icon="FILE_REFRESH")
    if engine.get("problem"):
        sentences.draw(layout, context, str(engine["problem"]), "INFO")
    row = layout.row(align=True)
    row.prop(s, "seed")
    row.prop(s, "seed_lock", text="", icon="LOCKED" if s.seed_lock else "UNLOCKED")
    row.operator("dp3d.new_seed", text="", icon="FILE_REFRESH")


def draw_action(layout: Any, context: bpy.types.Context) -> None:
    """Draw Generate or Cancel, in one place and never greyed, and the state of the run below it."""
    scene = context.scene
    run = scene.dp3d_run
    running = run_watcher.current(scene)
    row = layout.row()
    row.scale_y = 1.4
    if running is not None:
        running.cancel_button.drawn()
        row.operator("dp3d.cancel", text="Cancelling" if running.cancelling else "Cancel", icon="X")
        layout.progress(factor=run.fraction, type="BAR", text=run_words.progress_text(run))
        if times := run_words.time_text(run):
            layout.label(text=times, icon="TIME")
        if run.message and not run_words.message_repeats_progress(run):
            sentences.draw(layout, context, run.message)
        return
    row.operator("dp3d.generate", icon="PLAY")
    layout.operator("dp3d.import_rigged_head", icon="ARMATURE_DATA")
    if run.job_id:
        running_still = "A job of this file may still be running at the server."
        sentences.draw(layout, context, running_still, "INFO")
        row = layout.row(align=True)
        row.operator("dp3d.resume", icon="FILE_REFRESH")
        row.operator("dp3d.forget", text="", icon="X")
    elif run.state in ("succeeded", "cancelled") and not run.error_code:
        icon = "CHECKMARK" if run.state == "succeeded" else "X"
        sentences.draw(layout, context, run.message, icon)
        if run.state == "succeeded":
            _draw_next_steps(layout, scene)
    for warning in run.warnings.split("\n"):
        if warning:
            sentences.draw(layout, context, warning, "ERROR")


def _draw_next_steps(layout: Any, scene: bpy.types.Scene) -> None:
    """Buttons for what the message of a finished run names."""
    run = scene.dp3d_run
    column = layout.column(align=True)  # side by side their names would be cut off
    column.enabled = run_watcher.current() is None
    if run.kind == "views" and not viewing.is_looking(scene):
        column.operator("dp3d.use_view_size", icon="OUTLINER_OB_CAMERA")
    if run.kind in ("views", "fit", ""):  # none: an export of the scene
        column.operator("dp3d.import_mesh", icon="MESH_MONKEY")
    if run.kind in ("fit", "mesh"):
        column.operator("dp3d.playback", icon="PLAY")
    if run.kind == "render" and run.mesh:
        column.operator("dp3d.load_result", text="Show Mesh", icon="MESH_DATA").what = "MESH"


def _draw_pictures(layout: Any, context: bpy.types.Context) -> None:
    running = run_watcher.current(context.scene)
    paths = running.pictures if running is not None else run_watcher.last_pictures(context.scene)
    if paths:
        pictures.draw_strip(layout, context, paths)


def _draw_failure(layout: Any, context: bpy.types.Context) -> None:
    run = context.scene.dp3d_run
    if not run.error_code or failures.is_outdated(context.scene, run.error_code):
        return
    failures.draw(layout, context, run, "dp3d.forget")


def _draw_status(self: Any, context: bpy.types.Context) -> None:
    """Progress in the status bar, seen from every workspace."""
    for scene in bpy.data.scenes:
        if run_watcher.current(scene) is not None:
            run = scene.dp3d_run
            row = self.layout.row()
            row.ui_units_x = 16
            row.progress(factor=run.fraction, type="BAR", text=run_words.progress_text(run))


CLASSES = (
    DP3D_PT_main,
    DP3D_PT_options,
    DP3D_UL_results,
    DP3D_PT_results,
    DP3D_PT_head,
    DP3D_PT_mesh,
    DP3D_PT_playback,
)


def attach() -> None:
    """Add the progress of runs to the status bar."""
    windows.status_draw = _draw_status
    bpy.types.STATUSBAR_HT_header.append(_draw_status)


def detach() -> None:
    """Remove the progress of runs from the status bar."""
    windows.status_draw = None
    if _draw_status in getattr(bpy.types.STATUSBAR_HT_header.draw, "_draw_funcs", ()):
        bpy.types.STATUSBAR_HT_header.remove(_draw_status)
