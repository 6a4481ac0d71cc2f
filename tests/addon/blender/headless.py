# SPDX-License-Identifier: GPL-3.0-or-later
"""The script of docs/blender.md, then what it left in the scene; also what goes wrong well."""

import math
from pathlib import Path

import bpy
from common import enable_addon, main, rows


def failure(operator):
    """Code, problem, remedy as the panel shows them after a button failed."""
    try:
        operator()
    except RuntimeError:
        run = bpy.context.scene.dp3d_run
        return [run.error_code, run.error_problem, run.error_remedy]
    return None


def work(request):
    enable_addon(request["url"], request["token"])
    scene = bpy.context.scene
    report = {"no_portrait": failure(bpy.ops.dp3d.generate)}
    scene.dp3d.portrait = request["portrait"]
    report["no_anchor"] = failure(bpy.ops.dp3d.generate)
    scene.cursor.location = (1.0, 2.0, 1.6)
    bpy.ops.dp3d.add_anchor()
    scene.dp3d.anchor.scale.x = 0.7
    bpy.context.view_layer.update()
    report["bad_anchor"] = failure(bpy.ops.dp3d.generate)
    scene.dp3d.anchor.scale.x = 0.5
    bpy.context.view_layer.update()
    report["no_views"] = failure(bpy.ops.dp3d.import_mesh)
    report["no_result"] = failure(bpy.ops.dp3d.rerun)

    settings = scene.dp3d
    settings.output = request["folder"]
    settings.preset, settings.views, settings.size = "ARC", 5, 96
    # a crop may begin outside the photo
    settings.use_crop, settings.crop = True, (-20, 10, 500)
    settings.use_head_yaw, settings.head_yaw = True, math.radians(-10)
    settings.use_head_pitch, settings.head_pitch = True, math.radians(4)
    assert bpy.ops.dp3d.generate() == {"FINISHED"}
    run = scene.dp3d_run
    folder = Path(run.folder)
    report["run"] = {
        n: getattr(run, n) for n in ("state", "pending", "job_id", "error_code", "views")
    }
    report["folder"] = str(folder)
    report["files"] = sorted(
        p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()
    )

    cameras = [o for o in scene.objects if o.get("dp3d_role") == "view"]
    report["cameras"] = [
        {"world": rows(o.matrix_world), "lens": o.data.lens, "parent": o.parent.name}
        for o in cameras
    ]
    report["anchor"] = rows(settings.anchor.matrix_world)
    # renamed and removed things are no reason to fail
    settings.anchor.name = "Somebody"
    bpy.data.objects.remove(cameras[0])
    assert bpy.ops.dp3d.load_result(what="VIEWS") == {"FINISHED"}
    report["again"] = sum(o.get("dp3d_role") == "view" for o in scene.objects)
    assert bpy.ops.dp3d.use_view_size() == {"FINISHED"}
    report["render"] = [scene.render.resolution_x, scene.render.resolution_y, scene.camera.name]
    bpy.data.objects.remove(settings.anchor)
    report["anchor_gone"] = failure(bpy.ops.dp3d.generate)
    report["anchor_gone_load"] = failure(bpy.ops.dp3d.load_result)

    bpy.ops.dp3d.add_anchor()
    settings.camera_source = "SCENE"
    scene.camera = None
    report["no_camera"] = failure(bpy.ops.dp3d.generate)
    scene.camera = bpy.data.objects.new("ortho", bpy.data.cameras.new("ortho"))
    scene.collection.objects.link(scene.camera)
    scene.camera.data.type = "ORTHO"
    report["ortho"] = failure(bpy.ops.dp3d.generate)
    settings.use_scene_range, settings.frame_start, settings.frame_end = False, 5, 4
    scene.camera.data.type = "PERSP"
    report["empty_range"] = failure(bpy.ops.dp3d.generate)
    settings.camera_source, settings.engine = "PRESET", "nonsense"
    report["engine"] = failure(bpy.ops.dp3d.generate)
    return report


main(work)
