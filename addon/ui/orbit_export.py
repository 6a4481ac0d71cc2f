# SPDX-License-Identifier: GPL-3.0-or-later
"""The panel of *Export Orbit Renders*: settings, buttons and progress."""

# No postponed annotations here: Blender reads property definitions from them.

from typing import TYPE_CHECKING, Any

import bpy
from bpy.props import BoolProperty

from .. import export_record, exporting
from ..cancel_button import CancelButton
from ..link.errors import AddonError
from ..scene import orbit_cameras
from ..scene.orbit_export import OrbitExport
from . import failures, panel, pictures, run_words, sentences

if TYPE_CHECKING:
    from bpy.stub_internal.rna_enums import OperatorReturnItems

_cancel_button = CancelButton()


def _fail(
    operator: bpy.types.Operator, scene: bpy.types.Scene, error: AddonError
) -> "set[OperatorReturnItems]":
    export_record.put(
        scene,
        state="failed",
        message="",
        error_code=error.code,
        error_problem=error.problem,
        error_remedy=error.remedy,
    )
    operator.report({"ERROR"}, str(error))
    return {"CANCELLED"}


class DP3D_OT_export_orbit(bpy.types.Operator):
    """Render the scene from cameras around the head."""

    bl_idname = "dp3d.export_orbit"
    bl_label = "Export Orbit Renders"
    bl_description = (
        "Render this scene with its own render engine from all these cameras, into a folder of "
        "frames with alpha and exact cameras that Fit takes. The same export again renders only "
        "what is missing"
    )

    start_over: BoolProperty(
        name="Start Over",
        description="Render all frames anew, in place of the export in this folder",
        options={"SKIP_SAVE"},
    )

    @classmethod
    def description(cls, context: bpy.types.Context, properties: Any) -> str:
        """Tooltip: what the button at hand does."""
        if properties.start_over:
            return "Render all frames anew, in place of the earlier export in this folder"
        return cls.bl_description

    def execute(self, context: bpy.types.Context) -> "set[OperatorReturnItems]":
        """Start; without a window, stay until the end."""
        scene = context.scene
        try:
            export = exporting.start(context, start_over=self.start_over)
        except AddonError as error:
            return _fail(self, scene, error)
        _cancel_button.reset()
        if not bpy.app.background:
            exporting.follow()
            return {"FINISHED"}
        try:
            while exporting.advance(export):
                pass
        finally:
            exporting.cancel()  # an interrupt from the keyboard
        if export.error is not None:
            return _fail(self, scene, export.error)
        if export.state == "cancelled":
            self.report({"WARNING"}, scene.dp3d_export.message)
            return {"CANCELLED"}
        return {"FINISHED"}


class DP3D_OT_cancel_export(bpy.types.Operator):
    """Stop the export, also the render that is going on; finished frames are kept"""

    bl_idname = "dp3d.cancel_export"
    bl_label = "Cancel"

    def invoke(
        self, context: bpy.types.Context, event: bpy.types.Event
    ) -> "set[OperatorReturnItems]":
        """Pass over the second half of a double click on Export."""
        if _cancel_button.is_second_click():
            return {"CANCELLED"}
        return self.execute(context)

    def execute(self, context: bpy.types.Context) -> "set[OperatorReturnItems]":
        """Stop."""
        exporting.cancel()
        return {"FINISHED"}


class DP3D_OT_dismiss_export(bpy.types.Operator):
    """Clear the message of the export"""

    bl_idname = "dp3d.dismiss_export"
    bl_label = "Dismiss"

    def execute(self, context: bpy.types.Context) -> "set[OperatorReturnItems]":
        """Clear it."""
        export_record.put(
            context.scene, error_code="", error_problem="", error_remedy="", message=""
        )
        return {"FINISHED"}


class DP3D_OT_create_orbit_cameras(bpy.types.Operator):
    """Make real cameras of the preset."""

    bl_idname = "dp3d.create_orbit_cameras"
    bl_label = "Create Orbit Cameras"
    bl_description = (
        "Make real, editable cameras of the preset under the head anchor, selected and in a "
        "collection of their own. Those made for this anchor before are replaced where they are "
        "as they were made; edited ones and copies stay"
    )
    bl_options = {"REGISTER", "UNDO"}

    def execute(self, context: bpy.types.Context) -> "set[OperatorReturnItems]":
        """Make them."""
        scene, settings = context.scene, context.scene.dp3d
        try:
            cameras = orbit_cameras.create(scene, context.view_layer, settings)
        except AddonError as error:
            return _fail(self, scene, error)
        self.report({"INFO"}, f"{len(cameras)} cameras made and selected")
        return {"FINISHED"}


class DP3D_PT_export(panel.Tab, bpy.types.Panel):
    """The scene itself as a view set."""

    bl_idname = "DP3D_PT_export"
    bl_parent_id = "DP3D_PT_main"
    bl_label = "Export Orbit Renders"
    bl_options = {"DEFAULT_CLOSED"}
    bl_order = 6

    def draw(self, context: bpy.types.Context) -> None:
        """Draw the panel."""
        scene, layout = context.scene, self.layout
        layout.use_property_split = True
        layout.use_property_decorate = False
        settings = scene.dp3d_export
        running = exporting.current(scene)
        column = layout.column()
        column.active = running is None
        _draw_settings(column, scene)
        row = layout.row()
        row.scale_y = 1.4
        if running is not None:
            _cancel_button.drawn()
            row.operator("dp3d.cancel_export", icon="X")
            _draw_progress(layout, running)
            return
        row.operator("dp3d.export_orbit", icon="RENDER_ANIMATION").start_over = False
        over = settings.error_code in ("viewset.mismatch", "addon.scene_changed")
        if over or settings.state == "succeeded":
            again = layout.operator("dp3d.export_orbit", text="Start Over", icon="FILE_REFRESH")
            again.start_over = True
        if settings.message and not settings.error_code:
            icon = "CHECKMARK" if settings.state == "succeeded" else "INFO"
            sentences.draw(layout, context, settings.message, icon)
        for warning in filter(None, settings.warnings.split("\n")):
            sentences.draw(layout, context, warning, "ERROR")
        if settings.error_code:
            failures.draw(layout, context, settings, "dp3d.dismiss_export")


def _draw_settings(layout: Any, scene: bpy.types.Scene) -> None:
    settings = scene.dp3d_export
    panel.draw_cameras(layout, scene, settings, "source")
    layout.prop(settings, "look")
    column = layout.column()
    column.prop(settings, "use_compositing")
    column.prop(settings, "use_transforms")
    layout.prop(settings, "folder")


def _draw_progress(layout: Any, export: OrbitExport) -> None:
    text = export_record.message(export)
    eta = export.eta_s
    if eta >= 0:
        text += f", {run_words.duration(round(eta))} left"
    of = len(export.cameras) if export.state == "preparing" else export.done
    layout.progress(factor=of / max(1, export.views), type="BAR", text=text)
    if export.picture is not None and (icon := pictures.thumbnail(export.picture)):
        layout.template_icon(icon_value=icon, scale=8.0)


CLASSES = (
    DP3D_OT_export_orbit,
    DP3D_OT_cancel_export,
    DP3D_OT_dismiss_export,
    DP3D_OT_create_orbit_cameras,
    DP3D_PT_export,
)
