# SPDX-License-Identifier: GPL-3.0-or-later
"""Preferences of the add-on: path of dp3d, server, token, and the page of the local server."""

import os

import bpy
from bpy.props import BoolProperty, StringProperty

from .. import local_dp3d, run_records
from ..link.client import DEFAULT_URL, is_loopback
from ..link.storage import token_file
from ..preferences import ADDON
from ..settings import PATH_OPTIONS, SERVER_REPORT
from . import server_page


def _path_changed(self: "HeadViewsPreferences", context: bpy.types.Context) -> None:
    local_dp3d.path_changed()


def _address_changed(self: "HeadViewsPreferences", context: bpy.types.Context) -> None:
    local_dp3d.address_changed()


def _keep_changed(self: "HeadViewsPreferences", context: bpy.types.Context) -> None:
    local_dp3d.SERVER.keep(self.keep_server)


class HeadViewsPreferences(bpy.types.AddonPreferences):
    """Where dp3d and its server are."""

    bl_idname = ADDON

    dp3d_path: StringProperty(
        name="dp3d",
        description=(
            "Folder of dp3d, the Python it is installed in, or the dp3d program; empty: the usual "
            "places are searched"
        ),
        subtype="FILE_PATH",
        options=PATH_OPTIONS,
        update=_path_changed,
    )
    keep_server: BoolProperty(
        name="Keep Server",
        description="Let the server that Start Server started go on after Blender has ended",
        update=_keep_changed,
    )
    server_url: StringProperty(
        name="Server",
        description="Address of the server: Start Server uses its port, 'dp3d serve' prints it",
        default=DEFAULT_URL,
        update=_address_changed,
    )
    token: StringProperty(
        name="Token",
        description="Empty: the token file of a server on this computer is used",
        subtype="PASSWORD",
        update=_address_changed,
    )

    def draw(self, context: bpy.types.Context) -> None:
        """Draw the settings, the server and the page of what is missing."""
        layout = self.layout
        column = layout.column()
        column.use_property_split = True
        column.prop(self, "dp3d_path")
        column.prop(self, "keep_server")
        column.prop(self, "server_url")
        column.prop(self, "token")
        notes = layout.column(align=True)
        notes.active = False
        if os.environ.get("DP3D_TOKEN"):
            notes.label(text="The environment variable DP3D_TOKEN is set and wins", icon="INFO")
        elif self.token:
            notes.label(text="Blender keeps this token unencrypted in userpref.blend", icon="INFO")
        elif is_loopback(self.server_url):
            notes.label(text=f"Token file: {token_file()}", icon="INFO")
        if not is_loopback(self.server_url):
            notes.label(text="Another computer: needs Blender's online access", icon="INTERNET")
        layout.operator("dp3d.check_server", icon="LINKED")
        run = run_records.run(context.scene)
        if run["error_code"].startswith(("server.", "addon.")):
            layout.label(text=run["error_problem"], icon="ERROR")
            layout.label(text=run["error_remedy"], icon="BLANK1")
        for report in SERVER_REPORT:
            layout.label(text=report, icon="CHECKMARK")
        server_page.draw_page(layout, context)


CLASSES = (HeadViewsPreferences,)
