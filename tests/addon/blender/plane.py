# SPDX-License-Identifier: GPL-3.0-or-later
"""The playback's plane, rendered through the artist's camera: the frames themselves."""

from pathlib import Path

import bpy
from common import enable_addon, main, make_anchor
from mathutils import Vector


def work(request):
    enable_addon()
    from addon.scene import camera_check, playback

    scene = bpy.context.scene
    anchor = scene.dp3d.anchor = make_anchor("everything")
    camera = bpy.data.objects.new("camera", bpy.data.cameras.new("camera"))
    scene.collection.objects.link(camera)
    scene.camera = camera
    data = camera.data
    data.lens, data.shift_x, data.shift_y = 55, 0.07, -0.11
    scene.render.resolution_x, scene.render.resolution_y = request["size"]
    scene.render.pixel_aspect_y = 1.25
    frames = request["frames"]
    for frame in frames:
        scene.frame_set(frame)
        world = anchor.matrix_world
        camera.location = world @ Vector((0.1 * frame, 0.3, 2.2 + 0.05 * frame))
        aim = world.translation + Vector((0.02, 0, 0.01))
        camera.rotation_euler = (aim - camera.location).to_track_quat("-Z", "Y").to_euler()
        for path in ("location", "rotation_euler"):
            camera.keyframe_insert(path, frame=frame)
    if request["step"] == "path":
        return camera_check.scene_path(scene, bpy.context.view_layer, frames, must_show_head=False)
    folder = Path(request["folder"])
    playback.show_plane(scene, anchor, folder, frames, "run", "Anna")
    render = scene.render
    render.engine, scene.cycles.samples, scene.cycles.use_denoising = "CYCLES", 1, False
    render.film_transparent, render.image_settings.color_mode = True, "RGBA"
    scene.view_settings.view_transform = "Standard"
    scene.cycles.pixel_filter_type, scene.cycles.filter_width = "BLACKMAN_HARRIS", 0.01
    for index, frame in enumerate(frames):
        scene.frame_set(frame)
        scene.render.filepath = str(folder / f"rendered{index}.png")
        bpy.ops.render.render(write_still=True)
    return None


main(work)
