# SPDX-License-Identifier: GPL-3.0-or-later
"""A mesh under given anchors: where its vertices stand, and at which pixels a camera sees them."""

from pathlib import Path

import bpy
from bpy_extras.object_utils import world_to_camera_view
from common import enable_addon, main, rows, update
from mathutils import Matrix, Vector


def work(request):
    enable_addon()
    from addon.scene import camera_check, camera_path, tags
    from addon.scene import mesh as scene_mesh

    out = []
    for number, (matrix, eye) in enumerate(zip(request["anchors"], request["eyes"], strict=True)):
        bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
        scene, layer = bpy.context.scene, bpy.context.view_layer
        anchor = bpy.data.objects.new("anchor", None)
        scene.collection.objects.link(anchor)
        anchor.matrix_world = Matrix(matrix)
        camera = bpy.data.objects.new("camera", bpy.data.cameras.new("camera"))
        scene.collection.objects.link(camera)
        scene.camera = camera
        scene.render.resolution_x, scene.render.resolution_y = 512, 512
        camera.data.lens, camera.data.sensor_width = 85.0, 36.0
        camera.data.shift_x = 0.05
        update()
        place = anchor.matrix_world @ Vector(eye)
        turn = (anchor.matrix_world.translation - place).to_track_quat("-Z", "Y")
        camera.matrix_world = Matrix.Translation(place) @ turn.to_matrix().to_4x4()
        camera.data.clip_start = 1e-3 * (place - anchor.matrix_world.translation).length
        settings = scene.dp3d
        settings.anchor = anchor
        settings.camera_source, settings.use_scene_range = "SCENE", False
        settings.frame_start, settings.frame_end, settings.frame_step = 1, 1, 1
        update()
        path = camera_check.scene_path(
            scene, layer, camera_path.frame_numbers(scene), must_show_head=False
        )
        scene_mesh.load(scene, layer, anchor, Path(request["glb"]), str(number), "head")
        update()
        (imported,) = [o for o in tags.objects(scene, str(number), "mesh") if o.type == "MESH"]
        evaluated = imported.evaluated_get(layer.depsgraph)
        vertices = [evaluated.matrix_world @ v.co for v in imported.data.vertices]
        seen = [world_to_camera_view(scene, camera, v) for v in vertices]
        out.append(
            {
                "anchor": rows(anchor.matrix_world),
                "path": path,
                "vertices": [list(v) for v in vertices],
                "pixels": [(v.x * path["width"], (1 - v.y) * path["height"]) for v in seen],
            }
        )
    return out


main(work)
