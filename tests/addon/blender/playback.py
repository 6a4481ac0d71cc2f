# SPDX-License-Identifier: GPL-3.0-or-later
"""A known head of the scene: exported, fitted, meshed, and played back along an animated camera.

The anchor is turned, scaled, parented and animated; the camera has a shift and a pixel aspect.
"""

import math
from pathlib import Path

import bpy
from common import enable_addon, main, make_anchor
from mathutils import Matrix, Vector

HEAD_FROM_IMPORTED = Matrix(((1, 0, 0, 0), (0, 0, 1, 0), (0, -1, 0, 0), (0, 0, 0, 1)))


def known_head(glb, anchor):
    """A head as any other object of an artist's scene."""
    bpy.ops.import_scene.gltf(filepath=glb)
    head = next(o for o in bpy.context.selected_objects if o.type == "MESH")
    head.parent, head.matrix_parent_inverse = anchor, Matrix.Identity(4)
    head.rotation_mode = "QUATERNION"
    head.matrix_basis = HEAD_FROM_IMPORTED
    return head


def animated_camera(scene, anchor, frames):
    camera = bpy.data.objects.new("mine", bpy.data.cameras.new("mine"))
    scene.collection.objects.link(camera)
    scene.camera = camera
    camera.rotation_mode = "QUATERNION"
    data = camera.data
    data.lens, data.shift_x, data.shift_y, data.sensor_fit = 80.0, 0.04, -0.03, "VERTICAL"
    for frame in frames:
        scene.frame_set(frame)
        world = anchor.matrix_world
        yaw = -0.8 + 0.25 * frame
        place = 2.4 * Vector((math.sin(yaw), 0.15, math.cos(yaw)))
        camera.location = world @ place
        camera.rotation_quaternion = (world.translation - camera.location).to_track_quat("-Z", "Y")
        camera.keyframe_insert("location", frame=frame)
        camera.keyframe_insert("rotation_quaternion", frame=frame)
    return camera


def export(scene, folder, source):
    scene.dp3d_export.folder, scene.dp3d_export.source = folder, source
    bpy.ops.dp3d.export_orbit()
    return scene.dp3d_export.exported_folder


def work(request):
    enable_addon(request["url"], request["token"])
    scene = bpy.context.scene
    folder = Path(request["folder"])
    anchor = make_anchor("everything")
    settings = scene.dp3d
    settings.anchor = anchor
    head = known_head(request["glb"], anchor)
    scene.render.engine = "BLENDER_WORKBENCH"
    scene.display.shading.light, scene.display.shading.color_type = "FLAT", "VERTEX"
    scene.display.render_aa = "8"
    frames = list(range(1, 8))
    scene.frame_start, scene.frame_end = frames[0], frames[-1]
    camera = animated_camera(scene, anchor, frames)
    render = scene.render
    render.resolution_x, render.resolution_y, render.resolution_percentage = 360, 240, 50
    render.pixel_aspect_x, render.pixel_aspect_y = 1.1, 1.0

    truth = export(scene, str(folder / "truth"), "SCENE")
    settings.preset, settings.views, settings.size = "CAPTURE", 24, request["size"]
    scene.frame_set(3)
    views = export(scene, str(folder / "views"), "PRESET")
    settings.fit_preset, settings.faces, settings.texture_size = request["preset"], 6000, 256
    bpy.ops.dp3d.import_mesh()
    run = scene.dp3d_run
    answer = {
        "state": run.state,
        "error": run.error_problem,
        "truth": truth,
        "views": views,
        "folder": run.folder,
        "mesh": run.mesh,
        "scores": run.scores,
        "results": [[r.title, r.source, bool(r.fit)] for r in scene.dp3d_results],
        "plays": [],
    }
    for step in (1, 3):
        settings.playback_step = step
        bpy.ops.dp3d.playback()
        background = camera.data.background_images[0]
        answer["plays"].append(
            {
                "folder": run.playback,
                "frames": frames[::step],
                "behind": [len(camera.data.background_images), background.image.source],
            }
        )
    head.data.calc_loop_triangles()
    local = HEAD_FROM_IMPORTED
    answer["vertices"] = [list(local @ v.co) for v in head.data.vertices]
    answer["faces"] = [list(t.vertices) for t in head.data.loop_triangles]
    answer["camera_kept"] = scene.camera == camera
    answer["frame"] = scene.frame_current
    return answer


main(work)
