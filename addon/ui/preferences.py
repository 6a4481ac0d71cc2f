# SPDX-License-Identifier: GPL-3.0-or-later
"""Preferences: address and token of the server."""

import os

import bpy
from bpy.props import StringProperty

from .. import settings
from ..link.client import DEFAULT_URL, Server, is_loopback
from ..link.storage import token_file

ADDON = __package__.rpartition(".")[0]
"""Name the extension is registered under."""


class HeadViewsPreferences(bpy.types.AddonPreferences):
    """Where the server is."""

    bl_idname = ADDON

    server_url: StringProperty(
        name="Server", description="Address that 'dp3d serve' prints", default=DEFAULT_URL
    )
    token: StringProperty(
        name="Token",
        description="Empty: the token file of a server on this computer is used",
        subtype="PASSWORD",
    )

    def draw(self, context: bpy.types.Context) -> None:
        """Draw address and token, and say which token counts."""
        layout = self.layout
        layout.use_property_split = True
        layout.prop(self, "server_url")
        layout.prop(self, "token")
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
        run = context.scene.dp3d_run
        if run.error_code:
            layout.label(text=run.error_problem, icon="ERROR")
            layout.label(text=run.error_remedy, icon="BLANK1")
        for report in settings.SERVER_REPORT:
            layout.label(text=report, icon="CHECKMARK")


def server() -> Server:
    """The server as configured now."""
    addon = bpy.context.preferences.addons.get(ADDON)
    online = bool(getattr(bpy.app, "online_access", False))
    if addon is None or addon.preferences is None:  # registered by a script, not installed
        return Server.configured(DEFAULT_URL, "", online)
    return Server.configured(addon.preferences.server_url, addon.preferences.token, online)


CLASSES = (HeadViewsPreferences,)
