# SPDX-License-Identifier: GPL-3.0-or-later
"""The buttons that start, cancel and show runs.  The panel shows their failures.

No operator has a ``poll``: a button that poll() greys stays grey under the pointer after it
could be pressed again (seen on 4.3), so every condition is checked in ``execute``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import bpy
from bpy.props import BoolProperty, EnumProperty, StringProperty

from .. import check, preferences, request, result_placement, run_records, run_watcher, windows
from ..cancel_button import SECOND_CLICK_S
from ..link.errors import AddonError
from ..scene import playback, tags, viewing, views

if TYPE_CHECKING:
    from bpy.stub_internal.rna_enums import OperatorReturnItems
    from bpy.types import Operator as _Operator
else:
    _Operator = object  # Blender would take a subclass of its own for one to register


def show_failure(
    operator: bpy.types.Operator, scene: bpy.types.Scene, error: AddonError
) -> set[OperatorReturnItems]:
    """Put a failure into the panel and into Blender's report (an exception for a script)."""
    run_records.set_error(scene, error.code, error.problem, error.remedy)
    operator.report({"ERROR"}, str(error))
    windows.redraw()
    return {"CANCELLED"}


class StartsRun(_Operator):
    """Base of the buttons that start a run: subclasses say which."""

    def request(self, context: bpy.types.Context) -> request.Request:
        """Plan of the run, scene frame of each view, title."""
        raise NotImplementedError

    def invoke(
        self, context: bpy.types.Context, event: bpy.types.Event
    ) -> set[OperatorReturnItems]:
        """A press of the button; the second click of a double click is no start of its own."""
        running = run_watcher.current(context.scene)
        if running is not None and running.age_s < SECOND_CLICK_S:
            return {"CANCELLED"}
        return self.execute(context)

    def execute(self, context: bpy.types.Context) -> set[OperatorReturnItems]:
        """Start; without a window, stay until the end."""
        scene = context.scene
        try:
            if run_watcher.current() is not None:
                raise AddonError(
                    "addon.busy",
                    "A run is going on already.",
                    "Wait for it, or press Cancel in the scene it belongs to.",
                )
            wanted = self.request(context)
            run_records.clear_error(scene)
            started = run_watcher.start(scene, preferences.server(), wanted)
            if bpy.app.background:
                run_watcher.wait(started)
        except AddonError as error:
            return show_failure(self, scene, error)
        return {"FINISHED"}


class DP3D_OT_generate(StartsRun, bpy.types.Operator):
    """Generate the views; with the option set, fit them and import the mesh too"""

    bl_idname = "dp3d.generate"
    bl_label = "Generate Head Views"

    def request(self, context: bpy.types.Context) -> request.Request:
        """A new run."""
        return request.new_views(context)


class DP3D_OT_fit(StartsRun, bpy.types.Operator):
    """Fit a radiance field to the views of the chosen result"""

    bl_idname = "dp3d.fit"
    bl_label = "Fit"

    def request(self, context: bpy.types.Context) -> request.Request:
        """The fit of the chosen result's views."""
        return request.later(context.scene, ("fit",))


class DP3D_OT_import_mesh(StartsRun, bpy.types.Operator):
    """Make a textured mesh of the chosen result."""

    bl_idname = "dp3d.import_mesh"
    bl_label = "Import Mesh"
    bl_description = (
        "Make a textured mesh of the chosen result (fitting its views first if that is not done) "
        "and import it at the head anchor, in place of an earlier one of the same run"
    )

    def request(self, context: bpy.types.Context) -> request.Request:
        """The mesh, after the fit where that is missing."""
        return request.later(context.scene, request.missing_kinds(context.scene, "mesh"))


class DP3D_OT_import_rigged_head(StartsRun, bpy.types.Operator):
    """Make a head with shape keys and bones of the portrait."""

    bl_idname = "dp3d.import_rigged_head"
    bl_label = "Import Rigged Head"
    bl_description = (
        "Make a head with shape keys and bones of the portrait (and further photos) and import it "
        "at the head anchor, in place of an earlier one of these photos"
    )

    def request(self, context: bpy.types.Context) -> request.Request:
        """The head of the chosen photos."""
        return request.rigged_head(context)


class DP3D_OT_playback(StartsRun, bpy.types.Operator):
    """Render the chosen result's field along the scene's camera."""

    bl_idname = "dp3d.playback"
    bl_label = "Play Back"
    bl_description = (
        "Render the fitted field along the scene's camera over the scene's frame range (fitting "
        "first if that is not done) and show the frames"
    )

    def request(self, context: bpy.types.Context) -> request.Request:
        """The frames, after the fit where that is missing."""
        return request.playback(context)


class DP3D_OT_save_fit(StartsRun, bpy.types.Operator):
    """Fetch the fit's files."""

    bl_idname = "dp3d.save_fit"
    bl_label = "Save Fit"
    bl_description = (
        "Fetch the chosen result's fit into its folder, for dp3d render, dp3d mesh and ns-train"
    )

    def request(self, context: bpy.types.Context) -> request.Request:
        """The fit's files, after the fit where that is missing."""
        return request.later(context.scene, request.missing_kinds(context.scene, "save_fit"))


class DP3D_OT_rerun(StartsRun, bpy.types.Operator):
    """Generate the views of a result once more, with its photo, cameras and options"""

    bl_idname = "dp3d.rerun"
    bl_label = "Run Again"

    run_id: StringProperty(
        description="The result; empty: the highlighted one", options={"SKIP_SAVE"}
    )
    new_seed: BoolProperty(name="New Seed", description="Draw another seed", options={"SKIP_SAVE"})

    def request(self, context: bpy.types.Context) -> request.Request:
        """The recipe of that result."""
        run_id = self.run_id or run_records.highlighted(context.scene)
        return request.again(context.scene, run_id, self.new_seed)


class DP3D_OT_resume(StartsRun, bpy.types.Operator):
    """Watch the job this file remembers again: it went on while the file was closed"""

    bl_idname = "dp3d.resume"
    bl_label = "Resume Watching"

    def request(self, context: bpy.types.Context) -> request.Request:
        """The remembered run."""
        return request.resumed(context.scene)


class DP3D_OT_cancel(bpy.types.Operator):
    """Stop the job at the server; what is finished stays there"""

    bl_idname = "dp3d.cancel"
    bl_label = "Cancel"

    def invoke(
        self, context: bpy.types.Context, event: bpy.types.Event
    ) -> set[OperatorReturnItems]:
        """A press of the button; the second click of a double click is ignored."""
        running = run_watcher.current(context.scene)
        if running is not None and running.cancel_button.is_second_click():
            return {"CANCELLED"}
        return self.execute(context)

    def execute(self, context: bpy.types.Context) -> set[OperatorReturnItems]:
        """Ask the server to stop."""
        running = run_watcher.current(context.scene)
        if running is not None:
            running.cancel()
        return {"FINISHED"}


class DP3D_OT_forget(bpy.types.Operator):
    """Clear the message"""

    bl_idname = "dp3d.forget"
    bl_label = "Dismiss"

    def execute(self, context: bpy.types.Context) -> set[OperatorReturnItems]:
        """Clear error and remembered job."""
        scene = context.scene
        run_records.clear_error(scene)
        if run_watcher.current(scene) is None and run_records.run(scene)["job_id"]:
            run_records.set_run(scene, state="", pending="", job_id="", job_kind="")
        windows.redraw()
        return {"FINISHED"}


_KIND_OF = {"VIEWS": "views", "MESH": "mesh", "HEAD": "head", "PLAYBACK": "render"}
"""Kinds of runs by the part of a result that they make."""


class DP3D_OT_load_result(bpy.types.Operator):
    """Put what the chosen result brought into the scene again, from its folder"""

    bl_idname = "dp3d.load_result"
    bl_label = "Load Again"
    bl_options = {"REGISTER", "UNDO"}

    what: EnumProperty(
        name="What",
        description="Part of the result",
        items=(
            ("VIEWS", "Views", "Cameras and frames"),
            ("MESH", "Mesh", "The textured mesh"),
            ("HEAD", "Rigged Head", "The head with shape keys and bones"),
            ("PLAYBACK", "Playback", "The frames of the field"),
        ),
    )

    def execute(self, context: bpy.types.Context) -> set[OperatorReturnItems]:
        """Load it; no server is asked."""
        scene = context.scene
        run = run_records.run(scene)
        try:
            if self.what == "VIEWS":
                result_placement.place_views(scene, run)
            elif self.what == "MESH":
                result_placement.place_mesh(scene, run)
            elif self.what == "HEAD":
                result_placement.place_head(scene, run)
            else:
                if scene.dp3d.playback_show == "FILES":
                    scene.dp3d.playback_show = "BEHIND"  # asked for again, it is to be seen
                result_placement.place_playback(scene, run, playback_frames(scene, run))
        except AddonError as error:
            return show_failure(self, scene, error)
        run_records.clear_error(scene)
        if run_watcher.current(scene) is None:  # what the end of the last run said is past
            kind = _KIND_OF[self.what]
            run_records.set_run(
                scene, kind=kind, state="succeeded", message=f"{self.what.capitalize()} loaded"
            )
        return {"FINISHED"}


def playback_frames(scene: bpy.types.Scene, run: dict[str, Any]) -> list[int]:
    """Scene frames of a playback's pictures, as its folder says."""
    return playback.read_frames(run_records.absolute(run["playback"]))


class DP3D_OT_open_folder(bpy.types.Operator):
    """Show the chosen result's folder in the file manager"""

    bl_idname = "dp3d.open_folder"
    bl_label = "Open Folder"

    what: EnumProperty(
        name="What",
        description="Which folder",
        items=(
            ("RUN", "Run", "Folder of the run"),
            ("PLAYBACK", "Playback", "Folder of the played back frames"),
        ),
        options={"SKIP_SAVE"},
    )

    def execute(self, context: bpy.types.Context) -> set[OperatorReturnItems]:
        """Open it."""
        scene = context.scene
        run = run_records.run(scene)
        listed = run_records.result(scene, run_records.highlighted(scene)) or run
        text = run["playback"] if self.what == "PLAYBACK" else listed["folder"]
        folder = run_records.absolute(text)
        if not text or not folder.is_dir():
            error = AddonError(
                "viewset.not_found",
                f"The folder {folder} is not there.",
                "Generate the views again, or delete this result from the list.",
            )
            return show_failure(self, context.scene, error)
        bpy.ops.wm.path_open(filepath=str(folder))
        return {"FINISHED"}


class DP3D_OT_delete_result(bpy.types.Operator):
    """Remove a result from the scene and from the list; its folder stays on disk."""

    bl_idname = "dp3d.delete_result"
    bl_label = "Delete Result"
    bl_description = (
        "Remove the chosen result from the list, and its cameras, mesh and playback from the "
        "scene; its folder stays on disk"
    )

    run_id: StringProperty(
        description="The result; empty: the highlighted one", options={"SKIP_SAVE"}
    )

    def invoke(
        self, context: bpy.types.Context, event: bpy.types.Event
    ) -> set[OperatorReturnItems]:
        """Ask first."""
        return context.window_manager.invoke_confirm(self, event)

    def execute(self, context: bpy.types.Context) -> set[OperatorReturnItems]:
        """Delete it."""
        scene = context.scene
        run_id = self.run_id or run_records.highlighted(scene)
        if not run_id:
            return {"CANCELLED"}
        running = run_watcher.current(scene)
        if running is not None and running.plan.run_id == run_id:
            error = AddonError(
                "addon.busy", "This result is being worked on.", "Cancel the run first."
            )
            return show_failure(self, scene, error)
        viewing.restore(scene, None)
        playback.remove(scene, run_id)
        tags.delete_run(scene, run_id)
        run_records.remove(scene, run_id)
        if not bpy.app.background:
            bpy.ops.ed.undo_push(message="Delete Result")
        windows.redraw()
        return {"FINISHED"}


class DP3D_OT_show_cameras(bpy.types.Operator):
    """Show or hide the cameras of the chosen result's views"""

    bl_idname = "dp3d.show_cameras"
    bl_label = "Show Cameras"
    bl_options = {"REGISTER", "UNDO"}

    def execute(self, context: bpy.types.Context) -> set[OperatorReturnItems]:
        """Turn it round."""
        scene = context.scene
        run_id = run_records.run(scene)["run_id"]
        views.show_cameras(scene, run_id, not views.cameras_shown(scene, run_id))
        return {"FINISHED"}


class DP3D_OT_use_view_size(bpy.types.Operator):
    """Look through the animated camera of the views."""

    bl_idname = "dp3d.use_view_size"
    bl_label = "Look Through Views"
    bl_description = (
        "Look through the views' animated camera at their own size, so that frames and scene "
        "coincide; the scene's camera and render size come back with Stop Looking"
    )
    bl_options = {"REGISTER", "UNDO"}

    def execute(self, context: bpy.types.Context) -> set[OperatorReturnItems]:
        """Set size and camera."""
        scene = context.scene
        try:
            viewing.look_through(scene, run_records.run(scene), context.area)
        except AddonError as error:
            return show_failure(self, scene, error)
        return {"FINISHED"}


class DP3D_OT_restore_view(bpy.types.Operator):
    """Give the scene its own camera, render size and frame range back"""

    bl_idname = "dp3d.restore_view"
    bl_label = "Stop Looking"
    bl_options = {"REGISTER", "UNDO"}

    def execute(self, context: bpy.types.Context) -> set[OperatorReturnItems]:
        """Restore them."""
        viewing.restore(context.scene, context.area)
        return {"FINISHED"}


class DP3D_OT_check_server(bpy.types.Operator):
    """Ask the server who it is and which engines it has"""

    bl_idname = "dp3d.check_server"
    bl_label = "Check Server"

    def execute(self, context: bpy.types.Context) -> set[OperatorReturnItems]:
        """Begin the check; without a window, wait for the answer."""
        run_records.clear_error(context.scene)
        begun = check.start(preferences.server())
        if bpy.app.background:
            try:
                begun.wait()
            except AddonError as error:
                return show_failure(self, context.scene, error)
            self.report({"INFO"}, begun.report)
        return {"FINISHED"}


class DP3D_OT_use_standard(bpy.types.Operator):
    """Set the scene's view transform to Standard, which shows the photo's colours unchanged"""

    bl_idname = "dp3d.use_standard"
    bl_label = "Use Standard"
    bl_options = {"REGISTER", "UNDO"}

    def execute(self, context: bpy.types.Context) -> set[OperatorReturnItems]:
        """Set it."""
        view = context.scene.view_settings
        view.view_transform, view.look = "Standard", "None"
        view.exposure, view.gamma, view.use_curve_mapping = 0.0, 1.0, False
        return {"FINISHED"}


CLASSES = (
    DP3D_OT_generate,
    DP3D_OT_fit,
    DP3D_OT_import_mesh,
    DP3D_OT_import_rigged_head,
    DP3D_OT_playback,
    DP3D_OT_save_fit,
    DP3D_OT_rerun,
    DP3D_OT_resume,
    DP3D_OT_cancel,
    DP3D_OT_forget,
    DP3D_OT_load_result,
    DP3D_OT_open_folder,
    DP3D_OT_delete_result,
    DP3D_OT_show_cameras,
    DP3D_OT_use_view_size,
    DP3D_OT_restore_view,
    DP3D_OT_check_server,
    DP3D_OT_use_standard,
)
