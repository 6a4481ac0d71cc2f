# SPDX-License-Identifier: GPL-3.0-or-later
"""Install the built extension as a user does, switch it on and off, use it once."""

import bpy
from common import main


def work(request):
    bpy.ops.extensions.package_install_files(
        filepath=request["zip"], repo="user_default", enable_on_install=True
    )
    module = "bl_ext.user_default.dp3d_head_views"
    entry = bpy.context.preferences.addons[module]
    bpy.ops.dp3d.add_anchor()
    scene = bpy.context.scene
    scene.dp3d.portrait = __file__
    folder = str(__import__(module, fromlist=["request"]).request.output_folder("", "0" * 32))
    report = {
        "url": entry.preferences.server_url,
        "anchor": scene.dp3d.anchor.name,
        "panel": hasattr(bpy.types, "DP3D_PT_main"),
        "folder": folder,
    }
    bpy.ops.preferences.addon_disable(module=module)
    report["panel_after"] = hasattr(bpy.types, "DP3D_PT_main")
    report["scene_after"] = hasattr(bpy.types.Scene, "dp3d")
    bpy.ops.preferences.addon_enable(module=module)
    report["anchor_again"] = bpy.context.scene.dp3d.anchor.name
    return report


main(work)
