# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the script of docs/blender.md in a Blender with the extension installed from its zip."""

import sys

import bpy
from common import main


def work(request):
    bpy.ops.extensions.package_install_files(
        filepath=request["zip"], repo="user_default", enable_on_install=True
    )
    sys.argv = ["blender", "--", request["photo"], request["folder"]]
    exec(compile(request["text"], "head.py", "exec"), {})
    scene = bpy.context.scene
    return {
        "roles": sorted(o.get("dp3d_role", "") for o in scene.objects),
        "state": scene.dp3d_run.state,
        "blend": bpy.data.filepath,
    }


main(work)
