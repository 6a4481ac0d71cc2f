# SPDX-License-Identifier: GPL-3.0-or-later
"""Every sensor fit x size x pixel aspect x shift x percentage, over all sorts of anchors.

Reports the path the add-on would send, and where Blender itself sees known head points.
"""

import itertools

import bpy
from bpy_extras.object_utils import world_to_camera_view
from common import ANCHORS, enable_addon, main, make_anchor
from mathutils import Vector

POINTS = [(0, 0, 0), (0.2, 0.1, 0.3), (-0.25, 0.3, 0.1), (0.1, -0.3, -0.2), (0.02, 0.4, 0.24)]


def look_at(camera, target):
    camera.rotation_mode = "QUATERNION"
    camera.rotation_quaternion = (target - camera.location).to_track_quat("-Z", "Y")


def work(request):
    enable_addon()
    from addon.scene import camera_check, camera_path

    cases = []
    for kind in ANCHORS:
        bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
        scene = bpy.context.scene
        anchor = make_anchor(kind)
        camera = bpy.data.objects.new("camera", bpy.data.cameras.new("camera"))
        scene.collection.objects.link(camera)
        scene.camera = camera
        if kind == "parented":  # a camera rig under a scaled parent
            rig = bpy.data.objects.new("rig", None)
            scene.collection.objects.link(rig)
            rig.scale, rig.rotation_euler = (0.4,) * 3, (0.2, 0.1, 0.5)
            camera.parent = rig
        settings = scene.dp3d
        settings.anchor = anchor
        settings.camera_source, settings.use_scene_range = "SCENE", False
        settings.frame_start, settings.frame_end, settings.frame_step = 1, 10, 9
        for fit, size, pixel, shift, percentage in itertools.product(
            ("AUTO", "HORIZONTAL", "VERTICAL"),
            ((640, 480), (480, 640), (512, 512)),
            ((1.0, 1.0), (1.5, 1.0), (1.0, 2.0)),
            ((0.0, 0.0), (0.12, -0.2)),
            (100, 50, 25),
        ):
            render, data = scene.render, camera.data
            render.resolution_x, render.resolution_y = size
            render.pixel_aspect_x, render.pixel_aspect_y = pixel
            render.resolution_percentage = percentage
            data.sensor_fit, (data.shift_x, data.shift_y) = fit, shift
            data.sensor_width, data.sensor_height, data.lens = 36.0, 20.0, 45.0
            world = anchor.matrix_world
            scale = world.to_scale().x
            camera.matrix_world = camera.matrix_world.Translation(
                world @ Vector((0.6 * len(cases) % 1.7 - 0.8, 0.5, 3.0))
            ).copy()
            bpy.context.view_layer.update()
            turn = (world.translation - camera.matrix_world.translation).to_track_quat("-Z", "Y")
            camera.matrix_world = (
                camera.matrix_world.Translation(camera.matrix_world.translation)
                @ turn.to_matrix().to_4x4()
            )
            data.clip_start = 0.01 * scale
            path = camera_check.scene_path(
                scene,
                bpy.context.view_layer,
                camera_path.frame_numbers(scene),
                must_show_head=False,
            )
            seen = []
            for frame in camera_path.frame_numbers(scene):
                scene.frame_set(frame)
                pixels = []
                for point in POINTS:
                    at = world_to_camera_view(scene, camera, anchor.matrix_world @ Vector(point))
                    pixels.append((at.x * path["width"], (1 - at.y) * path["height"], at.z))
                seen.append(pixels)
            cases.append(
                {"path": path, "seen": seen, "label": [kind, fit, size, pixel, shift, percentage]}
            )
    return {"points": POINTS, "cases": cases}


main(work)
