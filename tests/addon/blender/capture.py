# SPDX-License-Identifier: GPL-3.0-or-later
"""A face capture on a rigged head in the scene, beside the animation of the GLB itself."""

from pathlib import Path

import bpy
from common import enable_addon, main, make_anchor, rows, update


def at(time, skin, armature):
    scene = bpy.context.scene
    frame = time * scene.render.fps
    scene.frame_set(int(frame), subframe=frame % 1)
    update()
    keys = skin.data.shape_keys.key_blocks
    bone = armature.pose.bones["head"]
    return {
        "keys": {block.name: block.value for block in keys if block.value > 1e-4},
        "turn": rows((bone.matrix @ bone.bone.matrix_local.inverted()).to_3x3()),
    }


def refusal(**arguments):
    try:
        bpy.ops.dp3d.play_capture(**arguments)
    except RuntimeError:
        return bpy.context.scene.dp3d_run.error_code
    return ""


def work(request):
    enable_addon()
    from addon import run_records
    from addon.scene import rigged_head

    scene = bpy.context.scene
    scene.frame_start = 0
    out = {"none": refusal(filepath=request["csv"])}
    anchor = make_anchor("turned")
    run_records.set_run(scene, run_id="run")
    armature, *meshes = rigged_head.load(
        scene, bpy.context.view_layer, anchor, Path(request["plain"]), "run", "Head", "PHOTO"
    )
    out["bad"] = refusal(filepath=request["plain"])
    bpy.ops.dp3d.play_capture(filepath=request["csv"])
    bpy.ops.dp3d.play_capture(filepath=request["csv"])  # again, in place of the first
    out["end"] = scene.frame_end
    out["ours"] = [at(time, meshes[0], armature) for time in request["times"]]
    before = set(bpy.data.objects)
    bpy.ops.import_scene.gltf(filepath=request["animated"])
    new = set(bpy.data.objects) - before
    armature = next(thing for thing in new if thing.type == "ARMATURE")
    skin = next(t for t in new if t.type == "MESH" and t.name.startswith("skin"))
    out["glb"] = [at(time, skin, armature) for time in request["times"]]
    return out


main(work)
