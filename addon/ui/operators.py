# SPDX-License-Identifier: GPL-3.0-or-later
"""The buttons.  Each says in its tooltip what it does; failures stand in the panel.

No operator has a ``poll``: a button that poll() greys stays grey under the pointer after it
could be pressed again (seen on 4.3), so every condition is checked in ``execute``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import bpy

from .. import check, request, session
from ..link.errors import AddonError
from ..scene import anchor, tags
from ..scene import views as scene_views
from . import preferences


def _show(operator: bpy.types.Operator, scene: bpy.types.Scene, error: AddonError) -> set[str]:
    """Put a failure into the panel and into Blender's report (an exception for a script)."""
    run = scene.dp3d_run
    run.error_code, run.error_problem, run.error_remedy = error.code, error.problem, error.remedy
    operator.report({"ERROR"}, str(error))
    session.redraw()
    return {"CANCELLED"}


def _clear(scene: bpy.types.Scene) -> None:
    run = scene.dp3d_run
    run.error_code = run.error_problem = run.error_remedy = ""


class _StartsRun:
    """Base of the buttons that start a run: subclasses say which plan."""

    def plan(self, context: bpy.types.Context) -> tuple[Any, list[int], str]:
        """Plan, scene frame of each view, title of the run."""
        raise NotImplementedError

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Start; without a window, stay until the end."""
        scene = context.scene
        try:
            if session.current() is not None:
                raise AddonError(
                    "addon.busy",
                    "A run is going on already.",
                    "Wait for it, or press Cancel in the scene it belongs to.",
                )
            plan, frames, title = self.plan(context)
            _clear(scene)
            started = session.start(scene, preferences.server(), plan, frames, title)
            if bpy.app.background:
                session.wait(started)
        except AddonError as error:
            return _show(self, scene, error)
        return {"FINISHED"}


class DP3D_OT_generate(_StartsRun, bpy.types.Operator):
    """Generate the views; with the option set, fit them and import the mesh too"""

    bl_idname = "dp3d.generate"
    bl_label = "Generate"

    def plan(self, context: bpy.types.Context) -> tuple[Any, list[int], str]:
        """A new run."""
        plan, frames = request.new_views(context)
        return plan, frames, plan.portrait.stem if plan.portrait else "Views"


class _OnLastRun(_StartsRun):
    """Base of the buttons that go on from views that are there."""

    kinds: tuple[str, ...] = ()

    def plan(self, context: bpy.types.Context) -> tuple[Any, list[int], str]:
        """More of the last run."""
        run = context.scene.dp3d_run
        plan = request.later(context.scene, self.kinds)
        return plan, [int(f) for f in run.frames.split(",") if f], run.title


class DP3D_OT_fit(_OnLastRun, bpy.types.Operator):
    """Fit a radiance field to the views"""

    bl_idname = "dp3d.fit"
    bl_label = "Fit"
    kinds = ("fit",)


class DP3D_OT_import_mesh(_OnLastRun, bpy.types.Operator):
    """Make a textured mesh of the views."""

    bl_idname = "dp3d.import_mesh"
    bl_label = "Import Mesh"
    bl_description = (
        "Make a textured mesh of the views (fitting them first if that is not done) and "
        "import it at the head anchor, in place of an earlier one of the same run"
    )

    def plan(self, context: bpy.types.Context) -> tuple[Any, list[int], str]:
        """Only what is missing."""
        self.kinds = ("mesh",) if context.scene.dp3d_run.fit else ("fit", "mesh")
        return super().plan(context)


class DP3D_OT_resume(_StartsRun, bpy.types.Operator):
    """Watch the job this file remembers again: it went on while the file was closed"""

    bl_idname = "dp3d.resume"
    bl_label = "Resume Watching"

    def plan(self, context: bpy.types.Context) -> tuple[Any, list[int], str]:
        """The remembered run."""
        run = context.scene.dp3d_run
        return (
            request.resumed(context.scene),
            [int(f) for f in run.frames.split(",") if f],
            run.title,
        )


class DP3D_OT_cancel(bpy.types.Operator):
    """Stop the job at the server; what is finished stays there"""

    bl_idname = "dp3d.cancel"
    bl_label = "Cancel"

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Ask the server to stop."""
        running = session.current(context.scene)
        if running is not None:
            running.cancel()
        return {"FINISHED"}


class DP3D_OT_forget(bpy.types.Operator):
    """Clear the message"""

    bl_idname = "dp3d.forget"
    bl_label = "Dismiss"

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Clear error and remembered job."""
        _clear(context.scene)
        run = context.scene.dp3d_run
        if session.current(context.scene) is None and run.job_id:
            run.state, run.pending, run.job_id = "", "", ""
        return {"FINISHED"}


class DP3D_OT_add_anchor(bpy.types.Operator):
    """Add an empty at the 3D cursor that says where the head is."""

    bl_idname = "dp3d.add_anchor"
    bl_label = "Add Head Anchor"
    bl_description = (
        "Add an empty at the 3D cursor that says where the head is: upright, life size, "
        "its face towards the front view"
    )
    bl_options = {"REGISTER", "UNDO"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Add it and choose it."""
        scene = context.scene
        scene.dp3d.anchor = anchor.add(scene, scene.cursor.location)
        context.view_layer.update()
        _clear(scene)
        return {"FINISHED"}


class DP3D_OT_load_views(bpy.types.Operator):
    """Put the cameras and frames of the last run into the scene again"""

    bl_idname = "dp3d.load_views"
    bl_label = "Load Views Again"
    bl_options = {"REGISTER", "UNDO"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Load them from the run's folder."""
        run = context.scene.dp3d_run
        fields = {name: getattr(run, name) for name in ("folder", "run_id", "title", "frames")}
        try:
            session.place_views(context.scene, fields)
        except AddonError as error:
            return _show(self, context.scene, error)
        _clear(context.scene)
        return {"FINISHED"}


class DP3D_OT_use_view_size(bpy.types.Operator):
    """Set the render size and pixel aspect to those of the views."""

    bl_idname = "dp3d.use_view_size"
    bl_label = "Look Through Views"
    bl_description = (
        "Set the render size and pixel aspect to those of the views, and look through the"
        " animated camera, so that frame and scene coincide"
    )
    bl_options = {"REGISTER", "UNDO"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Set size and camera."""
        scene = context.scene
        run = scene.dp3d_run
        try:
            view = scene_views.read_views(Path(bpy.path.abspath(run.folder)))[0]
        except AddonError as error:
            return _show(self, scene, error)
        render = scene.render
        render.resolution_x, render.resolution_y = view.width, view.height
        render.resolution_percentage = 100
        render.pixel_aspect_x, render.pixel_aspect_y = scene_views.pixel_aspect(view)
        for player in tags.objects(scene, run.run_id, "player"):
            scene.camera = player
        area = context.area
        if area is not None and area.type == "VIEW_3D":
            area.spaces.active.region_3d.view_perspective = "CAMERA"
        return {"FINISHED"}


class DP3D_OT_check_server(bpy.types.Operator):
    """Ask the server who it is and which engines it has"""

    bl_idname = "dp3d.check_server"
    bl_label = "Check Server"

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Begin the check; without a window, wait for the answer."""
        _clear(context.scene)
        begun = check.start(preferences.server())
        if bpy.app.background:
            try:
                begun.wait()
            except AddonError as error:
                return _show(self, context.scene, error)
            self.report({"INFO"}, begun.report)
        return {"FINISHED"}


CLASSES = (
    DP3D_OT_generate,
    DP3D_OT_fit,
    DP3D_OT_import_mesh,
    DP3D_OT_resume,
    DP3D_OT_cancel,
    DP3D_OT_forget,
    DP3D_OT_add_anchor,
    DP3D_OT_load_views,
    DP3D_OT_use_view_size,
    DP3D_OT_check_server,
)
