# SPDX-License-Identifier: GPL-3.0-or-later
"""Buttons of the server's page: start and stop the server, check the setup, install parts."""

# No postponed annotations here: Blender reads property definitions from them.

from typing import TYPE_CHECKING

import bpy
from bpy.props import StringProperty

from .. import check, local_dp3d, preferences, run_records
from ..cancel_button import SECOND_CLICK_S
from ..link.errors import AddonError
from .operators import show_failure
from .server_page import TITLES, server_text

if TYPE_CHECKING:
    from bpy.stub_internal.rna_enums import OperatorReturnItems

_MENDED = ("server.", "addon.program", "addon.server", "addon.command", "addon.not")
"""Beginnings of the codes of failures that the buttons of this page mend."""
_SETUP = {"models": ("setup", "models"), "nerf": ("setup", "nerf")}


class DP3D_OT_start_server(bpy.types.Operator):
    """Start the dp3d server on this computer; it stops with Blender unless it is to be kept"""

    bl_idname = "dp3d.start_server"
    bl_label = "Start Server"

    def execute(self, context: bpy.types.Context) -> "set[OperatorReturnItems]":
        """Begin to start it; without a window, stay until it runs."""
        _forget_failures(context.scene)
        try:
            local_dp3d.start_server()
            if bpy.app.background:
                check.start(preferences.server()).wait()
                self.report({"INFO"}, server_text()[0])
        except AddonError as error:
            return show_failure(self, context.scene, error)
        return {"FINISHED"}


class DP3D_OT_stop_server(bpy.types.Operator):
    """Stop the server that Blender started; unfinished jobs go on at its next start"""

    bl_idname = "dp3d.stop_server"
    bl_label = "Stop Server"

    def execute(self, context: bpy.types.Context) -> "set[OperatorReturnItems]":
        """Ask it to stop; without a window, stay until it has."""
        # Stop stands where Start was pressed: the second click of a double click is not meant.
        if not bpy.app.background and local_dp3d.server_age_s() < SECOND_CLICK_S:
            return {"CANCELLED"}
        local_dp3d.stop_server()
        return {"FINISHED"}


class DP3D_OT_check_setup(bpy.types.Operator):
    """Look for dp3d on this computer, and for what it lacks"""

    bl_idname = "dp3d.check_setup"
    bl_label = "Check Setup"

    def execute(self, context: bpy.types.Context) -> "set[OperatorReturnItems]":
        """Begin; without a window, stay until the answer is there."""
        _forget_failures(context.scene)
        try:
            local_dp3d.check_setup()
        except AddonError as error:
            return show_failure(self, context.scene, error)
        return {"FINISHED"}


class DP3D_OT_run_setup(bpy.types.Operator):
    """Let dp3d download and install this, with progress; it can be cancelled at any time"""

    bl_idname = "dp3d.run_setup"
    bl_label = "Install"

    what: StringProperty(
        name="What",
        description="models, nerf, or the name of something that Check Setup found missing",
        default="models",
    )

    def invoke(
        self, context: bpy.types.Context, event: bpy.types.Event
    ) -> "set[OperatorReturnItems]":
        """Ask before a large download."""
        remedy = next(
            (str(f.get("remedy")) for f in local_dp3d.FINDINGS if f.get("name") == self.what), ""
        )
        if self.what == "models" or not bpy.app.online_access:
            return self.execute(context)
        return context.window_manager.invoke_confirm(
            self, event, title=self.bl_label, message=remedy, confirm_text=self.bl_label
        )

    def execute(self, context: bpy.types.Context) -> "set[OperatorReturnItems]":
        """Begin; without a window, stay until it is installed."""
        _forget_failures(context.scene)
        try:
            arguments = _setup_arguments(self.what)
            if not bpy.app.online_access:
                raise AddonError(
                    "addon.online_access_off",
                    "This is a download, and Blender's online access is off.",
                    "Switch on Preferences > System > Network > Allow Online Access, or copy the "
                    "command and run it in a terminal.",
                )
            local_dp3d.run_command(arguments, f"Install {TITLES.get(self.what, self.what)}")
        except AddonError as error:
            return show_failure(self, context.scene, error)
        return {"FINISHED"}


class DP3D_OT_cancel_setup(bpy.types.Operator):
    """Stop the command that runs; the next one goes on with what was downloaded"""

    bl_idname = "dp3d.cancel_setup"
    bl_label = "Cancel"

    def execute(self, context: bpy.types.Context) -> "set[OperatorReturnItems]":
        """Ask it to stop."""
        local_dp3d.cancel_command()
        return {"FINISHED"}


class DP3D_OT_copy_command(bpy.types.Operator):
    """Copy this command line, to run it in a terminal"""

    bl_idname = "dp3d.copy_command"
    bl_label = "Copy Command"

    text: StringProperty(name="Text", description="Line to copy")

    def execute(self, context: bpy.types.Context) -> "set[OperatorReturnItems]":
        """Put it into the clipboard."""
        context.window_manager.clipboard = self.text
        self.report({"INFO"}, "Copied")
        return {"FINISHED"}


def _forget_failures(scene: bpy.types.Scene) -> None:
    """Take away the panel's failure when a button of this page is to mend it."""
    if run_records.run(scene)["error_code"].startswith(_MENDED):
        run_records.clear_error(scene)


def _setup_arguments(what: str) -> tuple[str, ...]:
    """Arguments of dp3d that install something.

    Raises:
        AddonError: ``addon.nothing_to_install`` when nothing of that name is known.

    """
    for finding in local_dp3d.FINDINGS:
        command = finding.get("command")
        if finding.get("name") == what and isinstance(command, list):
            return tuple(map(str, command))
    if what in _SETUP:
        return _SETUP[what]
    raise AddonError(
        "addon.nothing_to_install",
        f"dp3d names no command that installs {what!r}.",
        "Press Check Setup in the add-on's preferences.",
    )


CLASSES = (
    DP3D_OT_start_server,
    DP3D_OT_stop_server,
    DP3D_OT_check_setup,
    DP3D_OT_run_setup,
    DP3D_OT_cancel_setup,
    DP3D_OT_copy_command,
)
