# SPDX-License-Identifier: GPL-3.0-or-later
"""Further photos of the person: chosen, sent with a run, repeated with it, missing."""

import bpy
from common import enable_addon, main


def refusal(call, **arguments):
    """Code of the failure that a button reports."""
    try:
        call(**arguments)
    except RuntimeError:
        return bpy.context.scene.dp3d_run.error_code
    return ""


def work(request):
    enable_addon(request["url"], request["token"])
    from addon import portrait_file, settings

    scene = bpy.context.scene
    bpy.ops.dp3d.add_anchor()
    chosen = scene.dp3d
    chosen.portrait, chosen.output = request["portrait"], request["folder"]
    chosen.preset, chosen.views, chosen.size = "ARC", 2, 64
    out = {"before_check": portrait_file.takes_further_photos(scene)}
    bpy.ops.dp3d.check_server()
    out["after_check"] = portrait_file.takes_further_photos(scene)
    bpy.ops.dp3d.choose_portrait(filepath=request["left"], target="LEFT")
    bpy.ops.dp3d.choose_portrait(filepath=request["back"], target="BACK")
    out["generated"] = [refusal(bpy.ops.dp3d.generate), scene.dp3d_run.state]
    out["run"] = scene.dp3d_run.folder
    out["warnings"] = scene.dp3d_run.warnings
    scene.dp3d_portrait.further_back = ""
    bpy.ops.dp3d.rerun(new_seed=True)
    out["again"] = scene.dp3d_run.folder
    scene.dp3d_portrait.further_right = "/nowhere/right.png"
    out["missing"] = refusal(bpy.ops.dp3d.generate)
    settings.ENGINES[:] = [{**engine, "references": 1} for engine in settings.ENGINES]
    out["one_photo"] = [portrait_file.takes_further_photos(scene), refusal(bpy.ops.dp3d.generate)]
    out["alone"] = scene.dp3d_run.folder
    return out


main(work)
