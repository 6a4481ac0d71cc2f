# SPDX-License-Identifier: GPL-3.0-or-later
"""A glowing ball really rendered (Cycles), where percentages round and pixels are not square."""

from pathlib import Path

import bpy
from common import enable_addon, main, make_anchor
from mathutils import Vector

BALL = (0.16, 0.22, 0.1)
CASES = (
    # size, percentage, pixel aspect, sensor fit, shift
    ((322, 241), 33, (1.0, 1.0), "AUTO", (0.0, 0.0)),
    ((241, 322), 33, (1.0, 1.0), "AUTO", (0.1, -0.05)),
    ((199, 333), 45, (1.0, 1.6), "VERTICAL", (-0.08, 0.1)),
    ((333, 199), 45, (1.4, 1.0), "HORIZONTAL", (0.05, 0.12)),
)


def glowing_ball(anchor):
    bpy.ops.mesh.primitive_uv_sphere_add(radius=0.02, segments=48, ring_count=24)
    ball = bpy.context.object
    ball.parent, ball.location = anchor, BALL
    material = bpy.data.materials.new("glow")
    material.use_nodes = True
    nodes = material.node_tree.nodes
    nodes.clear()
    glow = nodes.new("ShaderNodeEmission")
    out = nodes.new("ShaderNodeOutputMaterial")
    material.node_tree.links.new(glow.outputs[0], out.inputs[0])
    ball.data.materials.append(material)


def centroid(path):
    """Centre of the light in a picture, pixels from the top left corner, and the size."""
    image = bpy.data.images.load(str(path))
    width, height = image.size
    values = list(image.pixels)[0::4]
    total = sum(values)
    u = sum(v * (i % width + 0.5) for i, v in enumerate(values)) / total
    v = sum(v * (height - i // width - 0.5) for i, v in enumerate(values)) / total
    return [u, v], [width, height]


def work(request):
    enable_addon()
    from addon.scene import camera_check, camera_path

    scene = bpy.context.scene
    anchor = make_anchor("turned")
    glowing_ball(anchor)
    camera = bpy.data.objects.new("camera", bpy.data.cameras.new("camera"))
    scene.collection.objects.link(camera)
    scene.camera = camera
    camera.location = anchor.matrix_world @ Vector((0.5, 0.4, 2.6))
    towards = anchor.matrix_world.translation - camera.location
    camera.rotation_euler = towards.to_track_quat("-Z", "Y").to_euler()
    camera.data.lens = 70
    settings = scene.dp3d
    settings.anchor, settings.camera_source = anchor, "SCENE"
    settings.use_scene_range, settings.frame_start, settings.frame_end = False, 1, 1
    render = scene.render
    render.engine, scene.cycles.samples, scene.cycles.use_denoising = "CYCLES", 64, False
    render.filter_size = 1.0
    # A linear picture: a view transform would move the centre of light.
    render.image_settings.file_format, render.image_settings.color_depth = "OPEN_EXR", "32"
    cases = []
    for index, (size, percentage, pixel, fit, shift) in enumerate(CASES):
        render.resolution_x, render.resolution_y = size
        render.resolution_percentage = percentage
        render.pixel_aspect_x, render.pixel_aspect_y = pixel
        camera.data.sensor_fit, (camera.data.shift_x, camera.data.shift_y) = fit, shift
        path = Path(request["folder"]) / f"{index}.exr"
        render.filepath = str(path)
        bpy.ops.render.render(write_still=True)
        at, rendered = centroid(path)
        cases.append(
            {
                "path": camera_check.scene_path(
                    scene,
                    bpy.context.view_layer,
                    camera_path.frame_numbers(scene),
                    must_show_head=False,
                ),
                "centroid": at,
                "size": rendered,
                "label": [size, percentage, pixel, fit, shift],
            }
        )
    return {"ball": BALL, "cases": cases}


main(work)
